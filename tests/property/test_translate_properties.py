"""Translation over small made-up clusters: order means nothing, nothing raises, age decides, and harm stays local."""

from __future__ import annotations

import random
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ingress.options import Options, ServiceRef
from ingress.resources import (
    BackendPort,
    EndpointAddress,
    EndpointConditions,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointSubset,
    Ingress,
    IngressBackend,
    IngressClass,
    IngressClassSpec,
    IngressHttp,
    IngressPath,
    IngressRule,
    IngressSpec,
    IngressTls,
    ObjectMeta,
    Secret,
    Service,
    ServiceBackend,
    ServicePort,
    ServiceSpec,
    SliceEndpoint,
    SlicePort,
    Snapshot,
    TypedReference,
)
from ingress.translate import translate
from proxy.table import Forward, Table

NAMES = st.sampled_from(["a", "b"])
NAMESPACES = st.sampled_from(["n", "m"])
AGES = st.sampled_from(["", "2025-01-01T00:00:00Z", "2025-01-02T00:00:00Z"])
TEXT = st.text(max_size=8)
HOSTS = st.sampled_from(["", "a.com", "A.com", "b.a.com", "*.a.com", "not a host", "*"]) | TEXT
PATHS = st.sampled_from(["", "/", "/x", "/x/", "/%78", "/x/*", "/x/y", "no-slash", "/%zz"]) | TEXT
PORTS = st.builds(BackendPort, number=st.sampled_from([0, 80, 81]), name=st.sampled_from(["", "", "http"]))
BACKENDS = st.builds(
    IngressBackend,
    service=st.none() | st.builds(ServiceBackend, name=NAMES, port=PORTS),
    resource=st.none()
    | st.none()
    | st.just(TypedReference(kind="Bucket", name="b"))
    | st.builds(TypedReference, api_group=st.just("pyngress.io"), kind=st.just("Response"), name=NAMES),
)
ANNOTATIONS = st.dictionaries(
    st.sampled_from(
        [
            "pyngress.io/load-balance",
            "nginx.ingress.kubernetes.io/load-balance",
            "pyngress.io/upstream-hash-by",
            "nginx.ingress.kubernetes.io/ssl-redirect",
            "pyngress.io/proxy-read-timeout",
            "pyngress.io/auth-url",
            "pyngress.io/proxy-ssl-secret",
            "pyngress.io/backend-protocol",
            "pyngress.io/auth-tls-secret",
            "pyngress.io/auth-tls-secret",
            "pyngress.io/ssl-passthrough",
            "nginx.ingress.kubernetes.io/auth-tls-verify-client",
            "pyngress.io/nonsense",
            "nginx.ingress.kubernetes.io/canary",
            "kubernetes.io/ingress.class",
        ]
    ),
    st.sampled_from(["true", "false", "ewma", "chash", "$host", "5", "", "pyngress", "a", "HTTPS", "AUTO_HTTP"]) | TEXT,
    max_size=2,
)
TLS = st.builds(
    IngressTls, hosts=st.lists(HOSTS, max_size=2).map(tuple), secret_name=st.sampled_from(["", "a", "b", "missing"])
)


LABELS = st.sampled_from([{}, {"tier": "web"}])


def metadata(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[ObjectMeta]:
    return st.builds(ObjectMeta, name=NAMES, namespace=NAMESPACES, **fields)


PATH = st.builds(
    IngressPath, path=PATHS, path_type=st.sampled_from(["Exact", "Prefix", "ImplementationSpecific"]), backend=BACKENDS
)
RULE = st.builds(
    IngressRule, host=HOSTS, http=st.none() | st.builds(IngressHttp, paths=st.lists(PATH, max_size=3).map(tuple))
)
INGRESS = st.builds(
    Ingress,
    metadata=metadata(creation_timestamp=AGES, annotations=ANNOTATIONS, labels=LABELS),
    spec=st.builds(
        IngressSpec,
        ingress_class_name=st.sampled_from([None, None, None, "pyngress", "a"]),
        default_backend=st.none() | BACKENDS,
        tls=st.lists(TLS, max_size=2).map(tuple),
        rules=st.lists(RULE, max_size=3).map(tuple),
    ),
)
SERVICE = st.builds(
    Service,
    metadata=metadata(labels=LABELS),
    spec=st.builds(
        ServiceSpec,
        type=st.sampled_from(["ClusterIP", "ClusterIP", "ExternalName"]),
        cluster_ip=st.sampled_from(["", "None"]),
        external_name=st.sampled_from(["", "a.org", "localhost"]) | TEXT,
        ports=st.lists(
            st.builds(
                ServicePort,
                name=st.sampled_from(["", "http"]),
                port=st.sampled_from([80, 81]),
                target_port=st.sampled_from([None, 80, "http"]),
                protocol=st.sampled_from(["TCP", "TCP", "UDP"]),
                app_protocol=st.sampled_from([None, None, "https", "http"]),
            ),
            max_size=2,
        ).map(tuple),
    ),
)
ADDRESSES = st.sampled_from(["10.0.0.1", "10.0.0.2", "::1", "not an address"])
SLICE = st.builds(
    EndpointSlice,
    metadata=metadata(labels=st.builds(lambda name: {"kubernetes.io/service-name": name}, NAMES)),
    endpoints=st.lists(
        st.builds(
            SliceEndpoint,
            addresses=st.lists(ADDRESSES, max_size=1).map(tuple),
            conditions=st.builds(
                EndpointConditions,
                ready=st.none() | st.booleans(),
                serving=st.none() | st.booleans(),
                terminating=st.none() | st.booleans(),
            ),
        ),
        max_size=3,
    ).map(tuple),
    ports=st.lists(st.builds(SlicePort, name=st.sampled_from([None, "http"]), port=st.just(8080)), max_size=1).map(
        tuple
    ),
)
ENDPOINTS = st.builds(
    Endpoints,
    metadata=metadata(),
    subsets=st.just((EndpointSubset(addresses=(EndpointAddress(ip="10.0.0.9"),), ports=(EndpointPort(port=8080),)),)),
)
SECRET = st.builds(
    Secret, metadata=metadata(), data=st.dictionaries(st.sampled_from(["tls.crt", "tls.key"]), st.binary(max_size=8))
)
CLASS = st.builds(
    IngressClass,
    metadata=st.builds(
        ObjectMeta,
        name=NAMES,
        annotations=st.sampled_from([{}, {"ingressclass.kubernetes.io/is-default-class": "true"}]),
    ),
    spec=st.builds(
        IngressClassSpec,
        controller=st.sampled_from(["pyngress.io/ingress-controller", "pyngress.io/ingress-controller", "x/y"]),
        parameters=st.none()
        | st.builds(
            TypedReference, api_group=st.just("pyngress.io"), kind=st.just("IngressClassParameters"), name=NAMES
        ),
    ),
)
OPTIONS = st.builds(
    Options,
    manifests=st.sampled_from(["", "folder"]),
    watch_ingress_without_class=st.sampled_from([None, True, False]),
    ssl_redirect=st.booleans(),
    enable_ssl_passthrough=st.booleans(),
    default_backend=st.none() | st.just(ServiceRef(namespace="n", name="a", port="80")),
    default_ssl_certificate=st.none() | st.just(("n", "a")),
)


def maps(objects: st.SearchStrategy[Any], *, size: int = 3) -> st.SearchStrategy[dict[tuple[str, str], Any]]:
    listed = st.lists(objects, max_size=size)
    return listed.map(lambda found: {(one.ref.namespace, one.ref.name): one for one in found})


SNAPSHOT = st.builds(
    Snapshot,
    ingresses=maps(INGRESS, size=4),
    ingress_classes=maps(CLASS, size=1),
    services=maps(SERVICE),
    endpoint_slices=maps(SLICE),
    endpoints=maps(ENDPOINTS, size=1),
    secrets=maps(SECRET),
)


def encoded(table: Table) -> bytes:
    return msgspec.json.encode(table)


@given(SNAPSHOT, OPTIONS, st.integers(0, 1 << 30))
def test_order_means_nothing(snapshot: Snapshot, options: Options, seed: int) -> None:
    """Any cluster, valid or not, translates without an exception, and to the same bytes in any order of its objects."""
    chance = random.Random(seed)

    def shuffled(values: dict[Any, Any]) -> dict[Any, Any]:
        items = list(values.items())
        chance.shuffle(items)
        return dict(items)

    other = Snapshot(**{name: shuffled(getattr(snapshot, name)) for name in Snapshot.__struct_fields__})
    one, two = translate(snapshot, options), translate(other, options)
    assert encoded(one.table) == encoded(two.table)
    assert one == two


@given(SNAPSHOT, OPTIONS)
def test_table_is_closed(snapshot: Snapshot, options: Options) -> None:
    """Every key that the table uses is in it, and nothing is in it that no route or name uses; maps are in order."""
    table = translate(snapshot, options).table
    routes = [route for host in table.hosts.values() for route in (*host.routes, host.default) if route is not None]
    actions = [route.action for route in (*routes, table.default) if route is not None]
    used = {cluster for action in actions if isinstance(action, Forward) for cluster in action.clusters}
    assert used == set(table.clusters)
    assert {*table.server_names.values(), table.default_certificate} - {None} == set(table.certificates)
    for keyed in (table.hosts, table.clusters, table.certificates, table.server_names):
        assert list(keyed) == sorted(keyed)
    for host in table.hosts.values():
        slots = [
            (route.kind, route.path if route.kind == "exact" else route.path.removesuffix("/")) for route in host.routes
        ]
        assert len(set(slots)) == len(slots)
        assert all(route.path.startswith("/") for route in host.routes)


@given(SNAPSHOT, OPTIONS)
def test_hosts_do_not_depend_on_backends_and_secrets(snapshot: Snapshot, options: Options) -> None:
    """With every Service, endpoint and Secret gone, hosts and routes are the same: only clusters and names change."""
    bare = msgspec.structs.replace(snapshot, services={}, endpoint_slices={}, endpoints={}, secrets={})
    one, two = translate(snapshot, options).table, translate(bare, options).table
    assert one.hosts == two.hosts
    assert one.default == two.default
    assert list(one.clusters) == list(two.clusters)


@given(SNAPSHOT, OPTIONS, INGRESS)
def test_younger_ingress_changes_no_other_host(snapshot: Snapshot, options: Options, added: Ingress) -> None:
    """Whatever a new Ingress says, hosts that it does not name keep their routes, and those it names lose none.

    ``*`` is left out of it, since its default depends on who gives the global one.
    """
    young = ObjectMeta(
        name="new", namespace="z", creation_timestamp="2026-01-01T00:00:00Z", annotations=added.metadata.annotations
    )
    added = msgspec.structs.replace(added, metadata=young)
    more = msgspec.structs.replace(snapshot, ingresses={**snapshot.ingresses, ("z", "new"): added})
    before, after = translate(snapshot, options).table, translate(more, options).table
    named = {rule.host.lower() for rule in added.spec.rules}
    for pattern, host in before.hosts.items():
        if pattern == "*":
            continue
        if pattern not in named:
            assert after.hosts[pattern] == host
        assert all(route in after.hosts[pattern].routes for route in host.routes)
        assert host.default is None or after.hosts[pattern].default == host.default


@given(st.lists(st.tuples(AGES, NAMESPACES, NAMES, st.sampled_from(["/x", "/x/", "/%78"])), max_size=6))
def test_oldest_owns_a_path(claims: list[tuple[str, str, str, str]]) -> None:
    """Of all Ingresses that claim one path the smallest of age, namespace, name serves it; each other has a Problem."""
    backend = IngressBackend(service=ServiceBackend(name="web", port=BackendPort(number=80)))
    ingresses = {}
    for created, namespace, name, path in claims:
        paths = (IngressPath(path=path, path_type="Prefix", backend=backend),)
        ingresses[namespace, name] = Ingress(
            metadata=ObjectMeta(name=name, namespace=namespace, creation_timestamp=created),
            spec=IngressSpec(rules=(IngressRule(host="a.com", http=IngressHttp(paths=paths)),)),
        )
    translation = translate(Snapshot(ingresses=ingresses), Options(watch_ingress_without_class=True))
    if not ingresses:
        assert translation.table.hosts == {}
        return
    ages = {key: (one.metadata.creation_timestamp, *key) for key, one in ingresses.items()}
    owner = min(ages, key=lambda key: ages[key])
    (route,) = translation.table.hosts["a.com"].routes
    assert (route.labels.namespace, route.labels.ingress) == owner
    lost = {(one.object.namespace, one.object.name) for one in translation.problems if one.reason == "PathConflict"}
    assert lost == set(ingresses) - {owner}
