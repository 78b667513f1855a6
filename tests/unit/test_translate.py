"""What the golden cases of translation do not reach: objects that the API would refuse, clocks, memory, redaction."""

from __future__ import annotations

import datetime
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingress.options import Options, ServiceRef
from ingress.resources import (
    BackendPort,
    EndpointConditions,
    EndpointSlice,
    Ingress,
    IngressBackend,
    IngressHttp,
    IngressPath,
    IngressRule,
    IngressSpec,
    IngressTls,
    KubernetesObject,
    ObjectMeta,
    Secret,
    Service,
    ServiceBackend,
    ServicePort,
    ServiceSpec,
    SliceEndpoint,
    SlicePort,
    Snapshot,
    Source,
)
from ingress.translate import Translation, keypair, redact, translate
from ingress.translate.part import BackendKey, covers
from proxy.table import Balance, Certificate, Cluster, Endpoint, Forward, HashPart, Respond, Table

CERTS = Path(__file__).parents[1] / "golden" / "certs"


def backend(service: str = "web", *, number: int = 80, name: str = "") -> IngressBackend:
    return IngressBackend(service=ServiceBackend(name=service, port=BackendPort(number=number, name=name)))


def rule(host: str, *paths: str, to: IngressBackend | None = None) -> IngressRule:
    target = to or backend()
    return IngressRule(
        host=host, http=IngressHttp(paths=tuple(IngressPath(path=path, backend=target) for path in paths))
    )


def ingress(name: str = "a", *rules: IngressRule, tls: tuple[IngressTls, ...] = (), **annotations: str) -> Ingress:
    named = {"pyngress.io/" + key.replace("_", "-"): value for key, value in annotations.items()}
    return Ingress(
        metadata=ObjectMeta(namespace="n", name=name, annotations=named), spec=IngressSpec(rules=rules, tls=tls)
    )


def service(name: str = "web", **spec: Any) -> Service:
    given = {"ports": (ServicePort(port=80),), **spec}
    return Service(metadata=ObjectMeta(namespace="n", name=name), spec=ServiceSpec(**given))


def slice_of(name: str, *endpoints: SliceEndpoint, **fields: object) -> EndpointSlice:
    made = EndpointSlice(
        metadata=ObjectMeta(namespace="n", name=f"{name}-1", labels={"kubernetes.io/service-name": name}),
        ports=(SlicePort(port=8080),),
        endpoints=endpoints,
    )
    return msgspec.structs.replace(made, **fields)


def secret(name: str, chain: str, key: str = "") -> Secret:
    data = {"tls.crt": (CERTS / f"{chain}.crt").read_bytes(), "tls.key": (CERTS / f"{key or chain}.key").read_bytes()}
    return Secret(metadata=ObjectMeta(namespace="n", name=name), data=data)


def run(
    *objects: KubernetesObject, options: Options | None = None, now: datetime.datetime | None = None
) -> Translation:
    def of(kind: type) -> dict[tuple[str, str], object]:
        return {(one.ref.namespace, one.ref.name): one for one in objects if isinstance(one, kind)}

    snapshot = Snapshot(
        ingresses=of(Ingress),  # type: ignore[arg-type]  # chosen by kind
        services=of(Service),  # type: ignore[arg-type]
        endpoint_slices=of(EndpointSlice),  # type: ignore[arg-type]
        secrets=of(Secret),  # type: ignore[arg-type]
    )
    return translate(snapshot, options or Options(watch_ingress_without_class=True), now=now)


def reasons(translation: Translation) -> list[str]:
    return [problem.reason for problem in translation.problems]


def endpoints(*objects: KubernetesObject) -> tuple[Endpoint, ...]:
    translation = run(ingress("a", rule("a.example.com", "/")), *objects)
    return translation.table.clusters["n/web:80"].endpoints


def test_hosts_are_lower_case() -> None:
    """Two spellings of a host are one host, in rules and in tls."""
    spelled = ingress(
        "a", rule("A.Example.COM", "/x"), rule("a.example.com", "/y"), tls=(IngressTls(hosts=("A.EXAMPLE.com",)),)
    )
    table = run(spelled, service()).table
    assert list(table.hosts) == ["a.example.com"]
    assert [(route.path, route.https_redirect) for route in table.hosts["a.example.com"].routes] == [
        ("/x", True),
        ("/y", True),
    ]


@pytest.mark.parametrize(
    "host",
    ["*", "1.2.3.4", "[::1]", "a:80", "a..b", ".a", "a.", "a_b", "\u212a.example.com", "x" * 300, "a/b", "\udc80"],
)
def test_bad_hosts_cost_their_own_rule(host: str) -> None:
    """A host that is none is told, in rules and in tls; the other host serves. A Kelvin sign is no k."""
    broken = ingress("a", rule(host, "/"), rule("good.example.com", "/"), tls=(IngressTls(hosts=(host,)),))
    translation = run(broken, service())
    assert list(translation.table.hosts) == ["good.example.com"]
    assert reasons(translation).count("BadHost") == 2
    assert not translation.table.hosts["good.example.com"].routes[0].https_redirect


@pytest.mark.parametrize("path", ["foo", "/\udc80", "/a\nb", "/a\\b", "/..", "/%00"])
def test_bad_paths_cost_their_own_route(path: str) -> None:
    """A path that no request can have is told and left out."""
    translation = run(ingress("a", rule("a.example.com", path, "/good")), service())
    assert [route.path for route in translation.table.hosts["a.example.com"].routes] == ["/good"]
    assert reasons(translation).count("BadPath") == 1


@pytest.mark.parametrize(
    "target",
    [IngressBackend(), backend(number=0), backend(number=80, name="http")],
)
def test_backend_without_a_meaning_answers_503(target: IngressBackend) -> None:
    """Neither a Service, nor exactly one of port name and number: 503 and a Problem, no cluster."""
    translation = run(ingress("a", rule("a.example.com", "/", to=target)), service())
    (route,) = translation.table.hosts["a.example.com"].routes
    assert isinstance(route.action, Respond)
    assert route.action.status == 503
    assert reasons(translation) == ["BadBackend"]
    assert translation.table.clusters == {}


@pytest.mark.parametrize(
    ("conditions", "used"),
    [
        (EndpointConditions(), True),
        (EndpointConditions(ready=True, serving=False), True),
        (EndpointConditions(ready=False), False),
        (EndpointConditions(ready=False, terminating=True), False),
        (EndpointConditions(ready=False, serving=True), False),
        (EndpointConditions(ready=False, serving=True, terminating=True), True),
    ],
)
def test_conditions(conditions: EndpointConditions, used: bool) -> None:
    """The truth table of a lone endpoint; a serving one that terminates is used since nothing else is there."""
    found = endpoints(service(), slice_of("web", SliceEndpoint(addresses=("10.0.0.1",), conditions=conditions)))
    assert bool(found) is used


@pytest.mark.parametrize(
    "fields",
    [
        {"address_type": "FQDN"},
        {"ports": (SlicePort(name="other", port=8080),)},
        {"ports": (SlicePort(port=8080, protocol="UDP"),)},
        {"ports": (SlicePort(),)},
        {"ports": (SlicePort(port=0),)},
        {"ports": (SlicePort(port=65536),)},
        {"endpoints": (SliceEndpoint(addresses=("not-an-address",)),)},
        {"endpoints": (SliceEndpoint(addresses=("fe80::1%eth0",)),)},
        {"endpoints": (SliceEndpoint(),)},
    ],
)
def test_unusable_addresses_are_no_endpoints(fields: dict[str, object]) -> None:
    """Names, other ports, other protocols, impossible numbers: nothing that could be dialled by mistake."""
    usable = slice_of("web", SliceEndpoint(addresses=("10.0.0.1", "10.0.0.2")))
    assert endpoints(service(), usable) == (Endpoint(address="10.0.0.1", port=8080),)
    assert endpoints(service(), msgspec.structs.replace(usable, **fields)) == ()


@pytest.mark.parametrize("name", ["api.example.org.", "API.Example.org"])
def test_external_names_are_spelled_once(name: str) -> None:
    """Case and a trailing dot do not matter."""
    found = endpoints(service(type="ExternalName", external_name=name, ports=()))
    assert found == (Endpoint(address="api.example.org", port=80),)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "localhost.",
        "LOCALHOST",
        "x.localhost",
        "::1",
        "[::1]",
        "2130706433",
        "127.1",
        "0x7f000001",
        "a b",
        "localhost.localdomain",
        "a.0x1",
    ],
)
def test_external_names_that_lead_here_are_refused(name: str) -> None:
    """Loopback by name or by an address in any spelling gives no endpoint."""
    translation = run(
        ingress("a", rule("a.example.com", "/")), service(type="ExternalName", external_name=name, ports=())
    )
    assert translation.table.clusters["n/web:80"].endpoints == ()
    assert reasons(translation) == ["ExternalNameRefused"]


def test_expiry_needs_a_clock() -> None:
    """Without ``now`` dates are not judged; at the last second a certificate is valid, a second later not."""
    parts = (ingress("a", tls=(IngressTls(hosts=("foo.example.com",), secret_name="s"),)), secret("s", "expired"))
    end = datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC)
    second = datetime.timedelta(seconds=1)
    for now, expected in ((None, 0), (end, 0), (end + second, 1)):
        assert reasons(run(*parts, now=now)).count("CertificateExpired") == expected
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    assert "CertificateNotYetValid" in reasons(run(*parts, now=start - second))


def test_key_pairs_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second translation does not parse the certificate again, a changed one is parsed, and memory is bounded."""
    read: list[bytes] = []
    parse = keypair._read

    def counting(chain: bytes, key: bytes) -> keypair.KeyPairFacts:
        read.append(chain)
        return parse(chain, key)

    monkeypatch.setattr(keypair, "_read", counting)
    monkeypatch.setattr(keypair, "_remembered", {})
    monkeypatch.setattr(keypair, "MAX_REMEMBERED", 2)
    claim = ingress("a", tls=(IngressTls(hosts=("foo.example.com",), secret_name="s"),))
    for _ in range(2):
        run(claim, secret("s", "foo"))
        run(claim, secret("s", "foo", "wild"))
    assert len(read) == 2
    run(claim, secret("s", "foo-renewed"))
    assert len(read) == 3
    assert len(keypair._remembered) == 1
    assert b"PRIVATE" not in repr(keypair._remembered).encode()


def test_no_problem_repeats_a_key() -> None:
    """Whatever is wrong with a key, no message holds any of its lines."""
    for key in ("wild", "encrypted"):
        translation = run(
            ingress("a", tls=(IngressTls(hosts=("foo.example.com",), secret_name="s"),)), secret("s", "foo", key)
        )
        told = "".join(problem.message for problem in translation.problems)
        assert reasons(translation).count("BadCertificate") == 1
        assert not any(line in told for line in (CERTS / f"{key}.key").read_text().splitlines() if line)


def test_redact_hides_keys_and_shows_change() -> None:
    """Chains stay, keys become a digest that differs when the key does; the table itself is untouched."""
    table = Table(
        certificates={"a": Certificate(chain_pem="c", key_pem="one"), "b": Certificate(chain_pem="c", key_pem="two")}
    )
    hidden = redact(table).certificates
    assert hidden["a"].chain_pem == "c"
    assert hidden["a"].key_pem.startswith("<redacted sha256:")
    assert hidden["a"].key_pem != hidden["b"].key_pem
    assert table.certificates["a"].key_pem == "one"


def test_served_lists_our_ingresses() -> None:
    """Ours in order, a refused one included, since its status is ours too."""
    foreign = msgspec.structs.replace(ingress("c"), spec=IngressSpec(ingress_class_name="other"))
    served = run(ingress("b", auth_url="x"), ingress("a"), foreign).served
    assert [str(ref) for ref in served] == ["Ingress n/a", "Ingress n/b"]


def test_problems_carry_their_source() -> None:
    """A Problem of translation leads to the file of its Ingress."""
    source = Source(file="a.yaml", document=2, line=7)
    translation = run(msgspec.structs.replace(ingress("a", rule("a.example.com", "x")), source=source))
    assert {problem.source for problem in translation.problems} == {source}


def test_cluster_key_tells_the_balance() -> None:
    """Backends that differ in anything have different cluster keys; the plain one is bare."""
    balances = [
        Balance(),
        Balance(method="ewma"),
        Balance(method="hash", hash_key=(HashPart(source="host"),)),
        Balance(method="hash", hash_key=(HashPart(source="text", name="host"), HashPart(source="uri"))),
        Balance(method="hash", hash_key=(HashPart(source="header", name="host"),)),
    ]
    keys = [BackendKey(namespace="n", service="web", port="80", balance=balance).cluster for balance in balances]
    assert keys[0] == "n/web:80"
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("pattern", "host", "covered"),
    [
        ("a.example.com", "a.example.com", True),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "*.example.com", True),
        ("*.example.com", "b.a.example.com", False),
        ("*.example.com", "example.com", False),
        ("a.example.com", "*.example.com", False),
        ("*.example.com", "aexample.com", False),
        ("*", "com", False),
        ("*.com", "*", False),
    ],
)
def test_tls_names_cover_one_label(pattern: str, host: str, covered: bool) -> None:
    """RFC 6125: a wildcard stands for exactly one label."""
    assert covers(pattern, host) is covered


def test_default_backend_option_by_number_and_name() -> None:
    """The option's port may be a number or a name, and its route tells where it leads."""
    named = service(ports=(ServicePort(name="http", port=80),))
    for port in ("80", "http"):
        table = run(
            named,
            options=Options(
                watch_ingress_without_class=True, default_backend=ServiceRef(namespace="n", name="web", port=port)
            ),
        ).table
        assert table.default is not None
        assert table.default.action == Forward(cluster=f"n/web:{port}")
        assert table.clusters == {f"n/web:{port}": Cluster()}


def test_empty_snapshot_gives_an_empty_table() -> None:
    """Nothing in, nothing out, and no Problem."""
    assert run() == Translation(table=Table(settings=Options().settings))


def test_translation_is_pure() -> None:
    """Importing it brings in no event loop, no TLS and no client of the API (the import law)."""
    # Not socket: cryptography reads mail addresses with the standard library, which imports it.
    banned = ("asyncio", "ssl", "aiohttp", "kubernetes_asyncio", "ingress.watch")
    code = f"import sys, ingress.translate\nprint([name for name in {banned!r} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "usable"),
    [
        *((name, True) for name in ("foo", "chained", "rsa-2048", "ed25519", "expired", "no-san")),
        *((name, False) for name in ("reversed", "rsa-1024", "sha1")),
    ],
)
def test_verdict_is_that_of_openssl(name: str, usable: bool) -> None:
    """What we let through, the TLS library of the workers loads; what we refuse, it would refuse there, too late."""
    chain, key = CERTS / f"{name}.crt", CERTS / f"{name}.key"
    assert (keypair.read_key_pair(chain.read_bytes(), key.read_bytes()).fault == "") is usable
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(chain, key)
    except ssl.SSLError:
        assert not usable
    else:
        assert usable
