"""``backend-protocol: AUTO_HTTP``: the two clusters of a backend as the objects around it come, change and go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ingress.admin.pages import table_json
from ingress.cli.explain import explanation_lines
from ingress.options import Options
from ingress.resources import Change, KubernetesObject
from ingress.resources.decode import decode_object
from ingress.translate import Translation, Translator
from proxy.routing import explain
from proxy.table import Cluster, Forward, Table, UpstreamTls

HOST = "a.example.com"
PLAIN = "default/api:80?backend-protocol=http"
SECURED = "default/api:80?backend-protocol=https"
NAMED = f"{SECURED}&proxy-ssl-name=api.internal.example.com"
CERTS = Path(__file__).parents[1] / "golden" / "certs"


def decoded(
    kind: str, name: str, version: str = "v1", /, *, labels: Any = None, annotations: Any = None, **rest: Any
) -> KubernetesObject:
    metadata = {"name": name, "labels": labels or {}, "annotations": annotations or {}}
    found = decode_object({"apiVersion": version, "kind": kind, "metadata": metadata, **rest}).object
    assert found is not None
    return found


def ingress(protocol: str | None = "AUTO_HTTP", **annotations: str) -> KubernetesObject:
    named = {f"pyngress.io/{name.replace('_', '-')}": value for name, value in annotations.items()}
    if protocol is not None:
        named["pyngress.io/backend-protocol"] = protocol
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "api", "port": {"number": 80}}}}
    rules = [{"host": HOST, "http": {"paths": [path]}}]
    return decoded("Ingress", "web", "networking.k8s.io/v1", annotations=named, spec={"rules": rules})


def service(app_protocol: str = "") -> KubernetesObject:
    port = {"name": "web", "port": 80} | ({"appProtocol": app_protocol} if app_protocol else {})
    return decoded("Service", "api", spec={"ports": [port]})


def endpoints(*addresses: str) -> KubernetesObject:
    return decoded(
        "EndpointSlice",
        "api-1",
        "discovery.k8s.io/v1",
        labels={"kubernetes.io/service-name": "api"},
        addressType="IPv4",
        ports=[{"name": "web", "port": 8080}],
        endpoints=[{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
    )


def policy(**upstream: Any) -> KubernetesObject:
    target = {"kind": "Service", "name": "api"}
    return decoded("TrafficPolicy", "p", "pyngress.io/v1alpha1", spec={"targetRefs": [target], "upstream": upstream})


def update(translator: Translator, *objects: KubernetesObject) -> Translation:
    changes = [Change(kind=type(one), key=(one.ref.namespace, one.ref.name), value=one) for one in objects]
    return translator.update(changes, now=None)


def action(table: Table) -> Forward:
    (route,) = table.hosts[HOST].routes
    assert isinstance(route.action, Forward)
    return route.action


def addresses(cluster: Cluster) -> list[str]:
    return [endpoint.address for endpoint in cluster.endpoints]


@pytest.fixture
def translator() -> Translator:
    """With the Service and one endpoint."""
    made = Translator(Options(watch_ingress_without_class=True))
    update(made, service(), endpoints("10.0.0.1"))
    return made


def test_a_change_of_endpoints_reaches_both_clusters(translator: Translator) -> None:
    """A pod that comes touches the two clusters and no host; the last one that goes leaves both without endpoints."""
    first = update(translator, ingress()).table
    assert action(first) == Forward(cluster=PLAIN, tls_cluster=SECURED)
    for pods in (["10.0.0.1", "10.0.0.2"], ["10.0.0.2"], []):
        told = update(translator, endpoints(*pods))
        assert told.table.hosts == first.hosts
        assert {key: addresses(each) for key, each in told.table.clusters.items()} == {PLAIN: pods, SECURED: pods}
        assert told.changed is not None
        assert told.changed.clusters == {PLAIN, SECURED}
        assert not told.changed.hosts
    assert [problem.reason for problem in told.problems] == ["NoEndpoints"]


def test_the_two_differ_in_tls_alone(translator: Translator) -> None:
    """Whatever else shapes a backend shapes both, and settings of TLS shape the one that speaks it."""
    asked = ingress(proxy_ssl_name="api.internal.example.com", max_requests="7", load_balance="ewma", send_proxy="v2")
    table = update(translator, asked).table
    plain, over_tls = (table.clusters[key] for key in action(table).clusters)
    assert (plain.tls, over_tls.tls) == (None, UpstreamTls(server_name="api.internal.example.com"))
    assert (plain.max_requests, plain.balance.method, plain.send_proxy) == (7, "ewma", "v2")
    assert msgspec.structs.replace(over_tls, tls=None) == plain


def test_cookies_are_those_of_the_cluster_in_plain_text(translator: Translator) -> None:
    """So that a client returns by either; an Ingress that speaks TLS only has cookies of its own."""
    table = update(translator, ingress(affinity="cookie", proxy_ssl_name="api.internal.example.com")).table
    plain, over_tls = (table.clusters[key].affinity for key in action(table).clusters)
    assert plain is not None
    assert plain.cluster == ""
    assert over_tls == msgspec.structs.replace(plain, cluster=action(table).cluster)
    alone = update(translator, ingress("HTTPS", affinity="cookie")).table
    assert action(alone).cluster != action(table).tls_cluster
    assert alone.clusters[action(alone).cluster].affinity == plain


def test_the_twin_goes_with_the_wish(translator: Translator) -> None:
    """Another protocol leaves neither the cluster for TLS nor its certificate in the table."""
    texts = {f"tls.{end}": (CERTS / f"foo.{end}").read_text() for end in ("crt", "key")}
    update(translator, decoded("Secret", "pair", stringData=texts))
    table = update(translator, ingress(proxy_ssl_secret="pair")).table
    assert list(table.clusters) == [PLAIN, f"{SECURED}&proxy-ssl-secret=default/pair"]
    assert list(table.certificates) == ["default/pair"]
    table = update(translator, ingress("HTTP", proxy_ssl_secret="pair")).table
    assert list(table.clusters) == [PLAIN]
    assert not table.certificates
    assert action(table) == Forward(cluster=PLAIN)


@pytest.mark.parametrize("said", ["", "https", "kubernetes.io/h2c"])
def test_the_wish_goes_before_what_the_service_says(translator: Translator, said: str) -> None:
    """``appProtocol`` changes neither of the two."""
    table = update(translator, service(said), ingress()).table
    assert [(each.protocol, each.tls) for each in table.clusters.values()] == [
        ("http1", None),
        ("http1", UpstreamTls()),
    ]


def test_a_policy_may_wish_for_it(translator: Translator) -> None:
    """With settings of TLS; an annotation goes before it, and settings of TLS in annotations before those of it."""
    named = {"verify": False, "serverName": "api.internal.example.com"}
    by_policy = update(translator, ingress(None), policy(protocol="AUTO_HTTP", tls=named)).table
    assert action(by_policy) == Forward(cluster=PLAIN, tls_cluster=NAMED)
    assert action(update(translator, ingress("HTTPS")).table) == Forward(cluster=NAMED)
    annotated = update(translator, ingress(None, proxy_ssl_name="x.example.com")).table
    assert action(annotated).tls_cluster == f"{SECURED}&proxy-ssl-name=x.example.com"


def test_both_are_shown(translator: Translator) -> None:
    """``explain`` and the page of a host tell of either cluster."""
    table = update(translator, ingress(), endpoints()).table
    lines = explanation_lines(table, explain(table, HOST, "/"))
    ends = "which has no endpoints: 503"
    assert lines[0].startswith(f"{HOST}/ is served by {PLAIN}, {ends}, and to clients over TLS by {SECURED}, {ends}")
    assert f"{PLAIN}, {SECURED}" in lines[-1]
    assert list(msgspec.json.decode(table_json(table, HOST))["clusters"]) == [PLAIN, SECURED]
