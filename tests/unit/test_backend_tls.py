"""Backends that speak TLS, as the Secrets and Services they depend on come, change and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingress.options import Options
from ingress.report.policy_status import state_of
from ingress.resources import KINDS, Change, KubernetesObject, Secret
from ingress.resources.decode import decode_object
from ingress.translate import Translation, Translator
from proxy.table import Cluster, Forward, Table, UpstreamTls

ALONE = Options(watch_ingress_without_class=True)
CERTS = Path(__file__).parents[1] / "golden" / "certs"
SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "api"},
    "spec": {"ports": [{"name": "web", "port": 443}]},
}


def decoded(data: dict[str, object]) -> KubernetesObject:
    found = decode_object(data).object
    assert found is not None
    return found


def ingress(**annotations: str) -> KubernetesObject:
    backend = {"service": {"name": "api", "port": {"number": 443}}}
    named = {f"pyngress.io/{name.replace('_', '-')}": value for name, value in annotations.items()}
    return decoded(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "web", "annotations": named},
            "spec": {"rules": [{"host": "a.example.com", "http": {"paths": [_path(backend)]}}]},
        }
    )


def _path(backend: dict[str, object]) -> dict[str, object]:
    return {"path": "/", "pathType": "Prefix", "backend": backend}


def service(app_protocol: str = "") -> KubernetesObject:
    port = {"name": "web", "port": 443} | ({"appProtocol": app_protocol} if app_protocol else {})
    return decoded({**SERVICE, "spec": {"ports": [port]}})


def slice_with(app_protocol: str) -> KubernetesObject:
    return decoded(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "api-1", "labels": {"kubernetes.io/service-name": "api"}},
            "addressType": "IPv4",
            "ports": [{"name": "web", "port": 8443, "appProtocol": app_protocol}],
            "endpoints": [{"addresses": ["10.0.0.1"]}],
        }
    )


def secret(pair: str = "", authority: str = "") -> KubernetesObject:
    texts = {"ca.crt": (CERTS / f"{authority}.crt").read_text()} if authority else {}
    if pair:
        texts |= {"tls.crt": (CERTS / f"{pair}.crt").read_text(), "tls.key": (CERTS / f"{pair}.key").read_text()}
    return decoded({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls"}, "stringData": texts})


def update(translator: Translator, *objects: KubernetesObject, gone: KubernetesObject | None = None) -> Translation:
    changes = [Change(kind=type(one), key=(one.ref.namespace, one.ref.name), value=one) for one in objects]
    if gone is not None:
        changes.append(Change(kind=type(gone), key=(gone.ref.namespace, gone.ref.name), value=None))
    assert all(type(one) in KINDS for one in objects)
    return translator.update(changes, now=None)


def cluster(table: Table) -> Cluster | None:
    """That of the only route; ``None``: it answers 503."""
    (route,) = table.hosts["a.example.com"].routes
    return table.clusters[route.action.cluster] if isinstance(route.action, Forward) else None


def test_a_secret_that_changes_changes_what_is_trusted_and_shown() -> None:
    """Authorities and key pairs are followed; without the Secret nothing is served, and its certificate goes."""
    translator = Translator(ALONE)
    told = update(
        translator, service(), ingress(backend_protocol="HTTPS", proxy_ssl_secret="tls", proxy_ssl_verify="on")
    )
    assert cluster(told.table) is None
    assert any(wanted.kind == "Secret" and wanted.name == "tls" for wanted in told.wanted)
    seen = []
    for pair, authority in (("foo", "org"), ("foo", "wild"), ("foo-renewed", "wild"), ("", "wild")):
        table = update(translator, secret(pair, authority)).table
        found = cluster(table)
        assert found is not None
        assert found.tls is not None
        shown = {key: value.chain_pem for key, value in table.certificates.items()}
        seen.append((found.tls.ca_pem, found.tls.certificate, shown))
    org, wild, foo, renewed = ((CERTS / f"{name}.crt").read_text() for name in ("org", "wild", "foo", "foo-renewed"))
    assert seen == [
        (org, "default/tls", {"default/tls": foo}),
        (wild, "default/tls", {"default/tls": foo}),
        (wild, "default/tls", {"default/tls": renewed}),
        (wild, None, {}),
    ]
    gone = update(translator, gone=secret("foo", "org"))
    assert cluster(gone.table) is None
    assert not gone.table.certificates
    assert "SecretNotFound" in [problem.reason for problem in gone.problems]


@pytest.mark.parametrize("kind", ["Ingress", "Service"])
def test_authorities_that_a_policy_misses_are_told_in_its_status(kind: str) -> None:
    """Not at the Ingress, which says nothing of them; once the Secret is there, the policy is accepted."""
    policy = decoded(
        {
            "apiVersion": "pyngress.io/v1alpha1",
            "kind": "TrafficPolicy",
            "metadata": {"name": "secured"},
            "spec": {
                "targetRefs": [{"kind": kind, "name": "web" if kind == "Ingress" else "api"}],
                "upstream": {"protocol": "HTTPS", "tls": {"caCertificateRef": {"name": "tls"}}},
            },
        }
    )
    translator = Translator(ALONE)
    said = []
    for change in ((service(), ingress(), policy), (secret("foo"),), (secret("", "org"),)):
        told = update(translator, *change)
        own = [problem for problem in told.problems if problem.object == policy.ref]
        assert not [problem for problem in told.problems if problem.severity == "error" and problem not in own]
        targets = told.policies[policy.ref.namespace, policy.ref.name]
        said.append((cluster(told.table) is None, state_of(targets, own).reason))
    assert said == [(True, "SecretNotFound"), (True, "BadCertificate"), (False, "Accepted")]


def test_a_certificate_goes_with_the_last_backend_that_is_shown_it() -> None:
    """An Ingress that no longer names the Secret leaves none of it in the table."""
    translator = Translator(ALONE)
    update(translator, service(), secret("foo"), ingress(backend_protocol="HTTPS", proxy_ssl_secret="tls"))
    assert list(update(translator).table.certificates) == ["default/tls"]
    assert not update(translator, ingress(backend_protocol="HTTPS")).table.certificates


@pytest.mark.parametrize(
    ("said", "tls"),
    [
        ("", False),
        ("http", False),
        ("HTTPS", True),
        ("https", True),
        ("kubernetes.io/wss", True),
        ("kubernetes.io/ws", False),
        ("example.com/own", False),
    ],
)
def test_what_the_service_says(said: str, tls: bool) -> None:
    """``appProtocol`` of the port decides, or that of the slice where the Service is silent; annotations go before."""
    for objects in ((service(said), slice_with("")), (service(), slice_with(said))):
        translator = Translator(ALONE)
        found = cluster(update(translator, *objects, ingress()).table)
        assert found is not None
        assert found.tls == (UpstreamTls() if tls else None)
        for word, wanted in (("HTTP", None), ("HTTPS", UpstreamTls())):
            found = cluster(update(translator, ingress(backend_protocol=word)).table)
            assert found is not None
            assert found.tls == wanted


@pytest.mark.parametrize(
    ("word", "protocol", "tls"),
    [
        ("grpc", "http2", None),
        ("kubernetes.io/h2c", "http2", None),
        ("GRPC", "http2", None),
        ("GRPCS", "http2", UpstreamTls()),
        ("HTTPS", "http1", UpstreamTls()),
    ],
)
def test_http_2_is_spoken_where_it_is_asked_for(word: str, protocol: str, tls: UpstreamTls | None) -> None:
    """By ``appProtocol``, or by annotation with TLS or without."""
    translator = Translator(ALONE)
    said = ingress(backend_protocol=word) if word.isupper() else ingress()
    found = cluster(update(translator, service("" if word.isupper() else word), said).table)
    assert found is not None
    assert (found.protocol, found.tls) == (protocol, tls)


def test_a_service_that_says_otherwise_later() -> None:
    """A change of ``appProtocol`` reaches the cluster, in place."""
    translator = Translator(ALONE)
    before = update(translator, service(), ingress()).table
    after = update(translator, service("https")).table
    assert before.hosts == after.hosts
    assert [found.tls for table in (before, after) if (found := cluster(table))] == [None, UpstreamTls()]


def test_no_key_comes_into_the_table_with_authorities() -> None:
    """Whatever stands beside the certificates in ``ca.crt`` stays out."""
    text = (CERTS / "foo.key").read_text() + (CERTS / "org.crt").read_text()
    both = Secret(metadata=secret("", "org").metadata, data={"ca.crt": text.encode()})
    translator = Translator(ALONE)
    table = update(
        translator, service(), both, ingress(backend_protocol="HTTPS", proxy_ssl_secret="tls", proxy_ssl_verify="on")
    ).table
    found = cluster(table)
    assert found is not None
    assert found.tls is not None
    assert found.tls.ca_pem == (CERTS / "org.crt").read_text()
