"""The Translator: what it does again after a change and what not, clocks, failures, judgements."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ingress.options import Options
from ingress.resources import (
    Change,
    ConfigMap,
    Ingress,
    IngressBackend,
    IngressClass,
    IngressClassParameters,
    IngressClassSpec,
    IngressSpec,
    IngressTls,
    KubernetesObject,
    ObjectMeta,
    ObjectRef,
    Problem,
    Response,
    Secret,
    SliceEndpoint,
    TrafficPolicy,
    TypedReference,
    Wanted,
)
from ingress.resources.crd import (
    BodySource,
    ClassParametersSpec,
    ClassTimeouts,
    ConfigMapKey,
    PolicyTarget,
    PolicyTimeouts,
    ResponseSpec,
    TrafficPolicySpec,
)
from ingress.translate import Translation, Translator, memory
from ingress.translate.certificates import read_secret
from ingress.translate.lookup import Dependencies, Objects, Recorder
from proxy.table import ClientCertificates, Endpoint, Forward, Respond
from proxy.table.feed import ChangedKeys
from tests.unit.test_translate import CERTS, backend, ingress, rule, secret, service, slice_of

ALONE = Options(watch_ingress_without_class=True)


def change_of(value: KubernetesObject) -> Change:
    return Change(kind=type(value), key=(value.ref.namespace, value.ref.name), value=value)


def gone(value: KubernetesObject) -> Change:
    return Change(kind=type(value), key=(value.ref.namespace, value.ref.name), value=None)


def utc(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)


def update(translator: Translator, *objects: KubernetesObject, now: datetime.datetime | None = None) -> Translation:
    return translator.update([change_of(value) for value in objects], now=now)


def reasons(problems: tuple[Problem, ...]) -> list[str]:
    return [problem.reason for problem in problems]


def calls_of(action: Callable[[], object]) -> int:
    """How many Python functions were called."""
    count = 0

    def profile(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


def cluster_of(size: int) -> Translator:
    """A Translator with that many hosts, Services, slices and broken Ingresses."""
    translator = Translator(ALONE)
    objects: list[KubernetesObject] = []
    for number in range(size):
        name = f"web-{number}"
        objects += (
            ingress(name, rule(f"{name}.example.com", "/", to=backend(name))),
            ingress(f"broken-{number}", rule(f"broken-{number}.example.com", "no-slash")),
            service(name),
            slice_of(name, SliceEndpoint(addresses=("10.0.0.1",))),
        )
    update(translator, *objects)
    return translator


def test_work_for_one_change_does_not_grow_with_the_cluster() -> None:
    """A changed slice, and a changed Ingress, cost the same calls among 20 hosts as among 200."""
    slices = slice_of("web-7", SliceEndpoint(addresses=("10.0.0.2",)))
    edited = ingress("web-7", rule("web-7.example.com", "/other", to=backend("web-7")))
    few, many = (
        [
            calls_of(lambda: update(translator, slices)),  # noqa: B023 - called at once
            calls_of(lambda: update(translator, edited)),  # noqa: B023
        ]
        for translator in (cluster_of(20), cluster_of(200))
    )
    assert few == many
    assert few[0] < 150


def test_endpoint_change_touches_one_cluster() -> None:
    """Every other map and value is the very same as before."""
    translator = cluster_of(3)
    before = update(translator)
    after = update(translator, slice_of("web-1", SliceEndpoint(addresses=("10.0.0.2",))))
    assert after.changed == ChangedKeys(clusters=frozenset({"n/web-1:80"}))
    assert after.table.clusters["n/web-1:80"].endpoints == (Endpoint(address="10.0.0.2", port=8080),)
    assert after.table.hosts is before.table.hosts
    assert after.problems is before.problems
    assert after.served is before.served
    assert after.wanted is before.wanted


def test_nothing_new_is_no_change() -> None:
    """A repeated object, and one that differs in nothing that counts, leave the very same table."""
    translator = cluster_of(2)
    before = update(translator)
    again = update(translator, service("web-1"), ingress("web-0", rule("web-0.example.com", "/", to=backend("web-0"))))
    assert again.table is before.table
    assert again.changed == ChangedKeys()
    touched = msgspec.structs.replace(service("web-1"), metadata=ObjectMeta(namespace="n", name="web-1", uid="other"))
    assert not update(translator, touched).changed


def test_first_translation_does_not_say_what_changed() -> None:
    """There is nothing that it could differ from."""
    translator = Translator(ALONE)
    assert update(translator, service()).changed is None
    assert update(translator, service()).changed == ChangedKeys()


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        ("2019-12-31T23:59:59", ["CertificateNotYetValid"]),
        ("2020-01-01T00:00:00", []),
        ("2020-12-17T23:59:59", []),
        ("2020-12-18T00:00:00", ["CertificateExpiresSoon"]),
        ("2021-01-01T00:00:00", ["CertificateExpiresSoon"]),
        ("2021-01-01T00:00:01", ["CertificateExpired"]),
    ],
)
def test_verdict_on_a_certificate_follows_the_clock(now: str, reason: list[str]) -> None:
    """Valid for the year 2020: told 14 days ahead; without any change, and back in time as well."""
    translator = Translator(ALONE)
    routed = ingress("a", rule("old.example.com", "/"), tls=(IngressTls(hosts=("old.example.com",), secret_name="s"),))
    objects = (routed, secret("s", "expired"), service(), slice_of("web", SliceEndpoint(addresses=("10.0.0.1",))))
    for first in ("2015-01-01T00:00:00", "2020-06-01T00:00:00", "2030-01-01T00:00:00"):
        update(translator, *objects, now=utc(first))
        later = update(translator, now=utc(now))
        told = [one for one in later.problems if one.reason.startswith("Certificate")]
        assert reasons(tuple(told)) == reason
        assert later.changed == ChangedKeys()
        assert {one.severity for one in told} <= {"warning"}


def test_message_names_the_last_day() -> None:
    """So that it stays the same until that day, and is one Event."""
    reading = read_secret(("n", "s"), secret("s", "expired"), now=utc("2020-12-30"))
    (finding,) = reading.findings
    assert finding.message == "the certificate in Secret n/s expires on 2021-01-01 00:00 UTC"


def test_short_certificate_is_told_of_late() -> None:
    """One of six days would else be told of all its life: the last sixth is left, a day."""
    begin = utc("2026-01-01")
    short = made_secret(begin, begin + datetime.timedelta(days=6))
    quiet = read_secret(("n", "s"), short, now=utc("2026-01-05T23:59:00"))
    assert quiet.findings == ()
    assert quiet.changes_at == utc("2026-01-06")
    (finding,) = read_secret(("n", "s"), short, now=utc("2026-01-06T00:00:00")).findings
    assert finding.reason == "CertificateExpiresSoon"


def test_certificate_that_ends_before_it_begins_is_judged() -> None:
    """Dates that contradict each other are no reason to fail, today or later."""
    never = made_secret(utc("2027-01-01"), utc("2027-01-01"))
    facts = [read_secret(("n", "s"), never, now=now) for now in (utc("2026-01-01"), utc("2028-01-01"))]
    assert [one.findings[0].reason for one in facts] == ["CertificateNotYetValid", "CertificateExpired"]


def test_only_what_is_due_is_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes for two Secrets: none is read before a date comes, and then the one whose date it is."""
    translator = Translator(ALONE)
    tls = tuple(IngressTls(hosts=(f"{name}.example.com",), secret_name=name) for name in ("year", "century"))
    objects = (ingress("a", rule("a.example.com", "/"), tls=tls), secret("year", "expired"), secret("century", "foo"))
    update(translator, *objects, now=utc("2020-06-01"))
    read: list[str] = []

    def reading(key: tuple[str, str], *arguments: Any, **named: Any) -> Any:
        read.append(key[1])
        return read_secret(key, *arguments, **named)

    monkeypatch.setattr("ingress.translate.known_secrets.read_secret", reading)
    update(translator, now=utc("2020-12-01"))
    assert read == []
    update(translator, now=utc("2020-12-20"))
    update(translator, now=utc("2020-12-21"))
    assert read == ["year"]
    update(translator, now=utc("2021-02-01"))
    update(translator, now=utc("2090-02-01"))
    assert read == ["year", "year"]


def test_failure_loses_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a defect in the midst of a translation the next one holds all changes, and leaves nothing of what was."""
    translator = cluster_of(2)

    def routed(host: str) -> Ingress:
        return ingress("web-0", rule(host, "/"), tls=(IngressTls(hosts=(host,), secret_name="s"),))

    update(translator, routed("old.example.com"), secret("s", "foo"))
    with monkeypatch.context() as patched:

        def defect(*_: Any, **__: Any) -> None:
            raise RuntimeError("defect")

        patched.setattr(memory, "claim_names", defect)
        with pytest.raises(RuntimeError):
            update(translator, routed("new.example.com"))
    after = update(translator, service("new"))
    assert set(after.table.server_names) == {"new.example.com"}
    assert "old.example.com" not in after.table.hosts
    assert after.changed is None
    assert update(translator).changed == ChangedKeys()


def test_parameters_of_our_class_apply_to_the_whole_process() -> None:
    """From their first appearance, through each edit, and no longer once the class is gone."""
    translator = Translator(Options())
    reference = TypedReference(api_group="pyngress.io", kind="IngressClassParameters", name="p")
    ours = IngressClass(
        metadata=ObjectMeta(name="ours"),
        spec=IngressClassSpec(controller=Options().controller_name, parameters=reference),
    )

    def parameters(header: str) -> IngressClassParameters:
        spec = ClassParametersSpec(timeouts=ClassTimeouts(header=header))
        return IngressClassParameters(metadata=ObjectMeta(name="p"), spec=spec)

    assert reasons(update(translator, ours).problems) == ["ParametersNotFound"]
    assert update(translator, parameters("7s")).table.settings.header_timeout == 7.0
    assert translator.options.settings.header_timeout == 7.0
    after = update(translator, parameters("nonsense"))
    assert after.table.settings.header_timeout == Options().settings.header_timeout
    assert reasons(after.problems) == ["InvalidValue"]
    after = translator.update([gone(ours)], now=None)
    assert (after.problems, after.table.settings) == ((), Options().settings)


def test_policies_tell_where_they_apply() -> None:
    """By Ingress and by the Services that it forwards to; a policy that applies nowhere says so."""
    translator = cluster_of(2)
    policy = TrafficPolicy(
        metadata=ObjectMeta(namespace="n", name="p"),
        spec=TrafficPolicySpec(
            target_refs=(PolicyTarget(kind="Ingress", name="web-0"), PolicyTarget(kind="Service", name="web-1")),
            timeouts=PolicyTimeouts(read="5s"),
        ),
    )
    after = update(translator, policy)
    targets = (
        ObjectRef(kind="Ingress", namespace="n", name="web-0"),
        ObjectRef(kind="Service", namespace="n", name="web-1"),
    )
    assert after.policies == {("n", "p"): targets}
    assert after.changed == ChangedKeys(hosts=frozenset({"web-0.example.com", "web-1.example.com"}))
    after = translator.update([gone(ingress("web-0")), gone(ingress("web-1"))], now=None)
    assert after.policies == {}
    assert [problem.reason for problem in after.problems if problem.object == policy.ref] == ["NoTarget"]


def test_wanted_are_those_that_ours_name() -> None:
    """Secrets of our Ingresses and of the options, there or not; not those of others; no longer once nobody does."""
    options = msgspec.structs.replace(ALONE, default_ssl_certificate=("d", "default"))
    translator = Translator(options)
    ours = ingress("ours", rule("a.example.com", "/"), tls=(IngressTls(secret_name="mine"),))
    foreign = msgspec.structs.replace(
        ingress("foreign", tls=(IngressTls(secret_name="theirs"),)),
        spec=IngressSpec(ingress_class_name="other", tls=(IngressTls(secret_name="theirs"),)),
    )
    by_options = {Wanted(kind="Secret", namespace="d", name="default")}
    assert update(translator).wanted == by_options
    assert update(translator, ours, foreign).wanted == by_options | {Wanted(kind="Secret", namespace="n", name="mine")}
    assert translator.update([gone(ours)], now=None).wanted == by_options


def test_what_a_reading_asked_for_makes_it_stale() -> None:
    """By name and by namespace, there or not; a later reading's questions replace those before."""
    objects = Objects()
    objects.put(change_of(service("web")))
    recorder = Recorder(objects)
    assert recorder.get(Secret, ("n", "missing")) is None
    assert [one.metadata.name for one in recorder.in_namespace(type(service()), "n")] == ["web"]
    dependencies = Dependencies()
    dependencies.record(("n", "a"), recorder.asked)
    assert list(dependencies.on(Secret, ("n", "missing"))) == [("n", "a")]
    assert list(dependencies.on(type(service()), ("n", "new"))) == [("n", "a")]
    assert list(dependencies.on(Secret, ("n", "other"))) == []
    dependencies.record(("n", "a"), ())
    assert list(dependencies.on(Secret, ("n", "missing"))) == []


def test_listing_is_by_age_then_name_and_up_to_date() -> None:
    """Whatever the order in which objects came; a change after a listing is in the next one."""
    objects = Objects()
    for name, created in (("b", "2026-01-01T00:00:00Z"), ("a", "2026-01-01T00:00:00Z"), ("z", "2025-01-01T00:00:00Z")):
        metadata = ObjectMeta(namespace="n", name=name, creation_timestamp=created)
        objects.put(change_of(Secret(metadata=metadata)))
    assert [one.metadata.name for one in objects.in_namespace(Secret, "n")] == ["z", "a", "b"]
    objects.put(Change(kind=Secret, key=("n", "a"), value=None))
    assert [one.metadata.name for one in objects.in_namespace(Secret, "n")] == ["z", "b"]
    assert objects.in_namespace(Secret, "m") == ()


def test_new_ingress_is_judged_as_the_youngest() -> None:
    """Before the API server has given it a time: it loses what others have, and takes nothing."""
    translator = cluster_of(1)
    (problem,) = translator.judge(
        ingress(
            "aaa",
            rule("web-0.example.com", "/"),
        )
    )[:1]
    assert problem.object == ObjectRef(kind="Ingress", namespace="n", name="aaa")
    assert "PathConflict" in reasons(translator.judge(ingress("aaa", rule("web-0.example.com", "/"))))


def test_edit_is_not_judged_against_itself() -> None:
    """What an Ingress has already is no conflict with its new version."""
    translator = cluster_of(1)
    assert translator.judge(ingress("web-0", rule("web-0.example.com", "/", to=backend("web-0")))) == ()
    edited = ingress("web-0", rule("web-0.example.com", "/", "/more"), rule("broken-0.example.com", "/"))
    assert set(reasons(translator.judge(edited))) == {"ServiceNotFound"}


def test_secret_that_nobody_named_is_not_judged() -> None:
    """It is not read, so nothing is known of it; one that is named and missing is told."""
    translator = cluster_of(1)
    tls = (IngressTls(hosts=("web-0.example.com",), secret_name="s"),)
    routed = ingress("web-0", rule("web-0.example.com", "/"), tls=tls)
    assert "SecretNotFound" not in reasons(translator.judge(routed))
    update(translator, routed)
    assert "SecretNotFound" in reasons(translator.judge(routed))


def test_config_map_that_nobody_named_is_not_judged() -> None:
    """As with Secrets: once it is wanted and still missing, that is told."""
    translator = cluster_of(0)
    key = ConfigMapKey(name="pages", key="down.html")
    response = Response(
        metadata=ObjectMeta(namespace="n", name="down"),
        spec=ResponseSpec(status=503, body_from=BodySource(config_map_key_ref=key)),
    )
    reference = TypedReference(api_group="pyngress.io", kind="Response", name="down")
    routed = ingress("a", rule("a.example.com", "/", to=IngressBackend(resource=reference)))
    update(translator, response)
    assert translator.judge(routed) == ()
    assert Wanted(kind="ConfigMap", namespace="n", name="pages") in update(translator, routed).wanted
    assert reasons(translator.judge(routed)) == ["ConfigMapNotFound"]
    pages = ConfigMap(metadata=ObjectMeta(namespace="n", name="pages"), data={"down.html": "<p>Down</p>"})
    assert update(translator, pages).problems == translator.judge(routed) == ()


def test_what_is_not_read_yet_is_not_told_to_be_missing() -> None:
    """A Secret and a ConfigMap are looked for once an Ingress names them: only when that was done, and found nothing,
    is it a Problem; and no longer once they are there."""
    translator = Translator(ALONE)
    key = ConfigMapKey(name="pages", key="down.html")
    response = Response(
        metadata=ObjectMeta(namespace="n", name="down"),
        spec=ResponseSpec(status=503, body_from=BodySource(config_map_key_ref=key)),
    )
    to = IngressBackend(resource=TypedReference(api_group="pyngress.io", kind="Response", name="down"))
    tls = (IngressTls(hosts=("foo.example.com",), secret_name="s"),)
    routed = ingress("a", rule("foo.example.com", "/", to=to), tls=tls)
    nothing: frozenset[Wanted] = frozenset()
    first = translator.update([change_of(response), change_of(routed)], now=None, read=nothing)
    assert reasons(first.problems) == []
    assert translator.judge(routed) == ()
    assert {wanted.name for wanted in first.wanted} == {"pages", "s"}
    after = translator.update([], now=None, read=first.wanted)
    assert sorted(reasons(after.problems)) == ["ConfigMapNotFound", "SecretNotFound"]
    assert reasons(translator.update([], now=None, read=nothing).problems) == []
    pages = ConfigMap(metadata=ObjectMeta(namespace="n", name="pages"), data={"down.html": "<p>Down</p>"})
    found = translator.update([change_of(pages), change_of(secret("s", "foo"))], now=None, read=nothing)
    assert found.problems == ()
    assert translator.update([gone(pages)], now=None).problems != ()


def test_a_host_is_closed_until_the_secret_that_it_asks_by_is_read() -> None:
    """Not open for a moment at the start, nor told to be wrong; then open to those whom the Secret lets in."""
    translator = Translator(ALONE)
    routed = ingress("a", rule("foo.example.com", "/", to=backend("foo")), auth_tls_secret="s")
    first = translator.update([change_of(routed)], now=None, read=frozenset())
    assert [type(route.action) for route in first.table.hosts["foo.example.com"].routes] == [Respond]
    assert "SecretNotFound" not in reasons(first.problems)
    assert "SecretNotFound" not in reasons(translator.judge(routed))
    assert {wanted.name for wanted in first.wanted} == {"s"}
    assert "SecretNotFound" in reasons(translator.update([], now=None, read=first.wanted).problems)
    pem = (CERTS / "foo.crt").read_bytes()
    authority = Secret(metadata=ObjectMeta(namespace="n", name="s"), data={"ca.crt": pem})
    host = translator.update([change_of(authority)], now=None, read=first.wanted).table.hosts["foo.example.com"]
    assert [type(route.action) for route in host.routes] == [Forward]
    assert host.client_certificates == ClientCertificates(ca_pem=pem.decode())


def class_of(name: str, controller: str, *, default: bool = False) -> IngressClass:
    annotations = {"ingressclass.kubernetes.io/is-default-class": "true"} if default else {}
    metadata = ObjectMeta(name=name, annotations=annotations)
    return IngressClass(metadata=metadata, spec=IngressClassSpec(controller=controller))


def test_default_class_of_ours_takes_what_has_none() -> None:
    """From the moment it is marked, and no longer than that; a default class of others takes nothing to us."""
    translator = Translator(Options())
    plain = ingress("plain", rule("plain.example.com", "/"))
    marked = class_of("ours", Options().controller_name, default=True)
    assert update(translator, plain, class_of("other", "x/y", default=True)).served == ()
    assert update(translator, marked).served == (plain.ref,)
    assert update(translator, class_of("ours", Options().controller_name)).served == ()
    assert update(translator, marked).problems == update(translator).problems
    assert translator.update([gone(marked)], now=None).served == ()


def test_class_of_another_controller_is_none_of_our_business() -> None:
    """No route, no status, no Problem; in a cluster the old annotation of a class without an object likewise."""
    translator = Translator(Options())
    of_others = msgspec.structs.replace(ingress("a"), spec=IngressSpec(ingress_class_name="other"))
    legacy = msgspec.structs.replace(
        ingress("b", rule("b.example.com", "/")),
        metadata=ObjectMeta(namespace="n", name="b", annotations={"kubernetes.io/ingress.class": "gce"}),
    )
    after = update(translator, class_of("other", "x/y"), of_others, legacy)
    assert (after.served, after.problems, dict(after.table.hosts)) == ((), (), {})


def test_two_classes_of_ours_are_both_served() -> None:
    """And an Ingress of a class that does not exist is told."""
    translator = Translator(Options())
    classes = [class_of(name, Options().controller_name) for name in ("one", "two")]
    routed = [
        msgspec.structs.replace(ingress(name), spec=IngressSpec(ingress_class_name=name, rules=(rule(name, "/"),)))
        for name in ("one", "two", "three")
    ]
    after = update(translator, *classes, *routed)
    assert [ref.name for ref in after.served] == ["one", "two"]
    assert [problem.object.name for problem in after.problems if problem.reason == "ClassNotFound"] == ["three"]


def test_with_roles_in_namespaces_the_name_of_the_class_decides() -> None:
    """IngressClasses are not to be seen there: the one of the option is ours, of others nothing is known."""
    translator = Translator(Options(watch_namespaces=("n",)))
    routed = [
        msgspec.structs.replace(ingress(name), spec=IngressSpec(ingress_class_name=name, rules=(rule(name),)))
        for name in ("pyngress", "nginx")
    ]
    after = update(translator, *routed)
    assert [ref.name for ref in after.served] == ["pyngress"]
    assert after.problems == ()


def made_secret(begin: datetime.datetime, end: datetime.datetime) -> Secret:
    """A Secret with a new certificate for that time."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(end)
    chain = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Secret(metadata=ObjectMeta(namespace="n", name="s"), data={"tls.crt": chain, "tls.key": private})
