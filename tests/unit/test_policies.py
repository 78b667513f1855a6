"""Policies, parameters and responses as translation reads them, also where nobody checked them before."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ingress.options import Options, ServiceRef
from ingress.resources import (
    ConfigMap,
    IngressClass,
    IngressClassParameters,
    ObjectMeta,
    ObjectRef,
    Response,
    Snapshot,
    TrafficPolicy,
    TypedReference,
)
from ingress.translate.lookup import Objects
from ingress.translate.parameters import class_options, class_wishes
from ingress.translate.part import BackendKey
from ingress.translate.policies import attach, policy_problems, read_policy
from ingress.translate.responses import MAX_BODY, read_response
from ingress.translate.wishes import layered, policy_of
from proxy.table import Affinity, Balance, Ejection, HashPart, HeaderRules, Redirect, Respond

WEB = ObjectRef(kind="Ingress", namespace="default", name="web")
REFERENCE = TypedReference(api_group="pyngress.io", kind="Response", name="r")


def policy(name: str = "p", **spec: Any) -> TrafficPolicy:
    """As it comes from a cluster: typed, unchecked."""
    return msgspec.convert({"metadata": {"name": name, "namespace": "default"}, "spec": spec}, TrafficPolicy)


def response_of(*, maps: tuple[ConfigMap, ...] = (), **spec: Any) -> Any:
    stored = msgspec.convert({"metadata": {"name": "r", "namespace": "default"}, "spec": spec}, Response)
    config_maps = {("default", one.metadata.name): one for one in maps}
    objects = Objects(Snapshot(responses={("default", "r"): stored}, config_maps=config_maps))
    return read_response(REFERENCE, "default", objects)


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({"access": {"allow": ["10.0.0.0/33"]}}, "spec.access.allow[0]"),
        ({"access": {"deny": ["10.0.0.1", "x"]}}, "spec.access.deny[1]"),
        ({"rateLimit": {"requests": 1, "exempt": ["x"]}}, "spec.rateLimit.exempt[0]"),
        ({"rateLimit": {"requests": 1, "per": "Day"}}, "spec.rateLimit.per"),
        ({"cors": {"maxAge": "0s"}}, "spec.cors.maxAge"),
    ],
)
def test_bad_protection_of_a_cluster_closes(spec: dict[str, Any], place: str) -> None:
    """What the API server can not check closes the targets all the same, and is told."""
    reading = read_policy(policy(**spec))
    assert reading.refused
    assert [(problem.field, problem.reason) for problem in reading.problems] == [(place, "InvalidValue")]
    assert "503" in reading.problems[0].message


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({"timeouts": {"read": "0s"}}, "spec.timeouts.read"),
        ({"limits": {"bodySize": "9999999999g"}}, "spec.limits.bodySize"),
        ({"requestHeaders": {"set": [{"name": "Content_Length", "value": "1"}]}}, "spec.requestHeaders.set[0].name"),
        ({"responseHeaders": {"add": [{"name": "X", "value": "a\nb"}]}}, "spec.responseHeaders.add[0].value"),
        ({"requestHeaders": {"remove": ["Host"]}}, "spec.requestHeaders.remove[0]"),
        ({"balancing": {"method": "Hash"}}, "spec.balancing"),
        ({"ejection": {"baseTime": "x"}}, "spec.ejection.baseTime"),
        ({"affinity": {"cookie": {"maxAge": "x"}}}, "spec.affinity.cookie.maxAge"),
    ],
)
def test_other_bad_values_count_as_not_set(spec: dict[str, Any], place: str) -> None:
    """A bad value that protects nobody is told and left out; no rule reaches the table that could break framing."""
    reading = read_policy(policy(**spec))
    assert not reading.refused
    assert [problem.field for problem in reading.problems] == [place]
    assert policy_of(reading.wishes) == policy_of({})


def test_remembered_break_closes() -> None:
    """A policy that lost its protection when its file was read closes."""
    broken = msgspec.structs.replace(policy(), broken=("access",))
    assert read_policy(broken).refused
    assert attach([policy("good"), broken], WEB).refused


def test_header_rules_of_one_name_stay_together() -> None:
    """Removing and adding one name is one wish; names differ in more than case."""
    edits = {
        "remove": ["X-A"],
        "add": [{"name": "x-a", "value": "1"}],
        "set": [{"name": "X-B", "value": "2"}, {"name": "x-b", "value": "3"}],
    }
    rules = policy_of(read_policy(policy(responseHeaders=edits)).wishes).response_headers
    assert rules == HeaderRules(remove=("X-A",), set={"X-B": "3"}, add={"X-A": "1"})


def test_first_layer_wins_per_field() -> None:
    """Layers are laid over each other field by field, header by header."""
    high = read_policy(policy(timeouts={"read": "1s"}, responseHeaders={"remove": ["X-A"]})).wishes
    low = read_policy(
        policy(
            timeouts={"read": "2s", "send": "2s"},
            responseHeaders={"set": [{"name": "x-a", "value": "b"}, {"name": "X-C", "value": "d"}]},
        )
    ).wishes
    merged = policy_of(layered((high, low)))
    assert (merged.read_timeout, merged.send_timeout) == (1.0, 2.0)
    assert merged.response_headers == HeaderRules(remove=("X-A",), set={"X-C": "d"})


def test_conflict_is_told_once_per_place() -> None:
    """The loser hears of each part that it lost, not of each header; equal wishes are no conflict."""
    old = policy("old", retries={"attempts": 1}, responseHeaders={"remove": ["X-A", "X-B"]})
    headers = [{"name": "X-A", "value": "a"}, {"name": "X-B", "value": "b"}]
    young = policy("young", retries={"attempts": 1}, responseHeaders={"set": headers})
    attached = attach([old, young], WEB)
    assert [(problem.object.name, problem.field) for problem in attached.problems] == [
        ("young", "spec.responseHeaders")
    ]
    assert "TrafficPolicy default/old" in attached.problems[0].message
    assert attached.applied == ((("default", "old"), WEB), (("default", "young"), WEB))


def test_policy_without_target_is_told() -> None:
    """A policy that applies nowhere has a warning beside the problems of its values."""
    found = policy_problems(policy(timeouts={"read": "0s"}), ())
    assert [(problem.severity, problem.reason) for problem in found] == [
        ("error", "InvalidValue"),
        ("warning", "NoTarget"),
    ]
    assert policy_problems(policy(), (WEB,)) == ()


def test_clusters_of_different_shape_have_different_names() -> None:
    """No two ways to choose and leave out endpoints share a cluster, whatever texts they hold."""
    tricky = (
        Balance(method="hash", hash_key=(HashPart(source="host"), HashPart(source="text", name="&affinity=a"))),
        Balance(method="hash", hash_key=(HashPart(source="host"), HashPart(source="text", name="%26affinity=a"))),
        Balance(method="hash", hash_key=(HashPart(source="host"),)),
    )
    affinities = (
        None,
        Affinity(),
        Affinity(cookie="a"),
        Affinity(cookie="a&path=/b"),
        Affinity(cookie="a", path="/b"),
        Affinity(cookie="a", path="/b&max-age=1"),
        Affinity(cookie="a", path="/b", max_age=1),
        Affinity(cookie="a", max_age=0),
        Affinity(cookie="a", secure=False),
        Affinity(cookie="a", secure=True),
        Affinity(cookie="a", same_site="Lax"),
    )
    ejections = (Ejection(), Ejection(base_time=5.25), Ejection(consecutive_failures=0), Ejection(max_percent=1))
    keys = [
        BackendKey(namespace="n", service="s", port="80", balance=balance, affinity=affinity, ejection=ejection)
        for balance in tricky
        for affinity in affinities
        for ejection in ejections
    ]
    assert len({key.cluster for key in keys}) == len(keys)
    assert BackendKey(namespace="n", service="s", port="80").cluster == "n/s:80"


def classes_and_parameters(**parameters: dict[str, Any]) -> tuple[list[IngressClass], Objects]:
    """A class per parameters object, older first, that names it."""
    classes = [
        msgspec.convert(
            {
                "metadata": {"name": name, "creationTimestamp": f"2026-01-0{number}T00:00:00Z"},
                "spec": {
                    "controller": "pyngress.io/ingress-controller",
                    "parameters": {"apiGroup": "pyngress.io", "kind": "IngressClassParameters", "name": name},
                },
            },
            IngressClass,
        )
        for number, name in enumerate(parameters, start=1)
    ]
    found = {
        ("", name): msgspec.convert({"metadata": {"name": name}, "spec": spec}, IngressClassParameters)
        for name, spec in parameters.items()
    }
    return classes, Objects(Snapshot(class_parameters=found))


def test_oldest_class_decides_the_process() -> None:
    """Whatever the order they come in; the younger keeps what nobody older sets, and hears of the rest."""
    backend = {"namespace": "default", "name": "web", "port": 80}
    classes, objects = classes_and_parameters(
        old={"timeouts": {"header": "5s"}, "defaultBackend": backend},
        young={"timeouts": {"header": "6s", "tunnel": "1m"}, "defaultCertificate": {"namespace": "a", "name": "b"}},
    )
    options, problems = class_options(reversed(classes), objects, Options())
    assert (options.settings.header_timeout, options.settings.tunnel_timeout) == (5.0, 60.0)
    assert options.default_backend == ServiceRef(namespace="default", name="web", port="80")
    assert options.default_ssl_certificate == ("a", "b")
    assert [(problem.object.name, problem.field) for problem in problems] == [("young", "spec.timeouts.header")]


def test_without_parameters_the_options_hold() -> None:
    """No class, or one without parameters, changes nothing."""
    options = Options()
    plain = IngressClass(metadata=ObjectMeta(name="a"))
    assert class_options([plain], Objects(), options) == (options, ())
    assert class_options([], Objects(), options) == (options, ())
    assert class_wishes(None, Objects()) == class_wishes(plain, Objects()) == {}


def test_values_of_routes_are_not_settings() -> None:
    """What holds for the routes of a class does not reach those of another by way of the settings."""
    (ingress_class,), objects = classes_and_parameters(a={"timeouts": {"read": "5s"}, "sslRedirect": False})
    assert class_options([ingress_class], objects, Options()) == (Options(), ())
    assert class_wishes(ingress_class, objects) == {"read_timeout": 5.0, "ssl_redirect": False}


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("a.html", "text/html; charset=utf-8"),
        ("a.HTM", "text/html; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.xml", "application/xml"),
        ("a.js", "text/plain; charset=utf-8"),
        ("html", "text/html; charset=utf-8"),
        ("page", "text/plain; charset=utf-8"),
    ],
)
def test_type_of_a_body_follows_its_key(key: str, kind: str) -> None:
    """Unless a header says otherwise."""
    pages = ConfigMap(metadata=ObjectMeta(namespace="default", name="pages"), data={key: "x"})
    source = {"configMapKeyRef": {"name": "pages", "key": key}}
    answer = response_of(maps=(pages,), status=200, bodyFrom=source)
    assert answer.action.headers == {"Content-Type": kind}
    said = response_of(
        maps=(pages,), status=200, bodyFrom=source, headers=[{"name": "content-type", "value": "text/css"}]
    )
    assert said.action.headers == {"content-type": "text/css"}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({}, "BadResponse"),
        ({"status": 100}, "BadResponse"),
        ({"status": 304, "body": ""}, "BadResponse"),
        ({"status": 200, "body": "ä" * (MAX_BODY // 2 + 1)}, "BodyTooLarge"),
        ({"redirect": {"scheme": "https", "statusCode": 200}}, "BadResponse"),
    ],
)
def test_unusable_response_is_none(spec: dict[str, Any], reason: str) -> None:
    """What no response can be gives no action, and says why."""
    answer = response_of(**spec)
    assert answer.action is None
    assert [finding.reason for finding in answer.findings] == [reason]
    assert "503" in answer.findings[0].message


def test_largest_body_fits() -> None:
    """The bound is on bytes, and includes itself."""
    answer = response_of(status=200, body="ä" * (MAX_BODY // 2))
    assert isinstance(answer.action, Respond)


def test_bad_header_of_a_response_is_left_out() -> None:
    """The rest of the response serves; the header does not reach the table."""
    headers = [
        {"name": "Content-Length", "value": "1"},
        {"name": "X-A", "value": "a\r\nb"},
        {"name": "X-B", "value": "b"},
    ]
    answer = response_of(status=200, headers=headers)
    assert answer.action.headers == {"X-B": "b"}
    assert len(answer.findings) == 2


def test_response_without_body_has_no_type() -> None:
    """The standard page has its own."""
    answer = response_of(status=404)
    assert answer.action.headers == {}
    assert answer.action.body is None


def test_redirect_takes_one_path() -> None:
    """The type of the path says which of the two it is."""
    path = {"type": "ReplaceFullPath", "replaceFullPath": "/a", "replacePrefixMatch": "/b"}
    assert response_of(redirect={"path": path}).action == Redirect(replace_path="/a")
