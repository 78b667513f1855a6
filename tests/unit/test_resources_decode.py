"""Plain values become typed objects, with a problem for everything that is wrong."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ingress.resources import (
    Endpoints,
    EndpointSlice,
    Ingress,
    IngressBackend,
    IngressClass,
    ObjectRef,
    Secret,
    Service,
    Source,
)
from ingress.resources.decode import Decoded, decode_object, expand_lists
from ingress.resources.manifest import parse_yaml

SOURCE = Source(file="a.yaml", document=1, line=1)


def backend(name: str = "s") -> dict[str, Any]:
    return {"service": {"name": name, "port": {"number": 80}}}


def path(text: str = "/", kind: str = "Prefix", **other: Any) -> dict[str, Any]:
    return {"path": text, "pathType": kind, "backend": backend(), **other}


def ingress(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "i"},
        "spec": spec,
    }


def one_rule(*paths: Any, host: str = "a.com") -> dict[str, Any]:
    return ingress(rules=[{"host": host, "http": {"paths": list(paths)}}])


def service(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}


def secret(**fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, **fields}


def slice_of(*endpoints: Any, **fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "s"},
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        **fields,
    }


def faults(data: Any) -> list[tuple[str, str]]:
    return [(problem.field, problem.reason) for problem in decode_object(data, SOURCE).problems]


def decoded_ingress(data: Any) -> Ingress:
    value = decode_object(data, SOURCE).object
    assert isinstance(value, Ingress)
    return value


def paths_of(data: Any) -> list[tuple[str, IngressBackend]]:
    value = decoded_ingress(data)
    return [(item.path, item.backend) for rule in value.spec.rules if rule.http for item in rule.http.paths]


FULL = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: i
  generateName: i-
  namespace: ns
  selfLink: x
  uid: u
  resourceVersion: "5"
  generation: 2
  creationTimestamp: 2030-01-31T12:00:00Z
  deletionTimestamp: null
  deletionGracePeriodSeconds: 30
  labels: {a: b}
  annotations: {a.b/c: "true"}
  ownerReferences: [{apiVersion: v1, kind: K, name: o, uid: u, controller: true, blockOwnerDeletion: false}]
  finalizers: [f]
  managedFields:
  - {manager: m, operation: Update, apiVersion: v1, time: 2030-01-31T12:00:00Z, fieldsType: FieldsV1,
     fieldsV1: {"f:spec": {}}, subresource: status}
spec:
  ingressClassName: c
  defaultBackend: {resource: {apiGroup: k.io, kind: Bucket, name: b}}
  tls: [{hosts: [a.com, "*.b.com"], secretName: t}]
  rules:
  - host: "*.a.com"
    http:
      paths:
      - {path: /, pathType: Exact, backend: {service: {name: s, port: {name: http}}}}
      - {pathType: ImplementationSpecific, backend: {service: {name: s, port: {number: 80}}}}
  - host: c.com
status: {loadBalancer: {ingress: [{ip: 1.2.3.4, hostname: h, ports: [{port: 80, protocol: TCP, error: e}]}]}}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: c}
spec: {controller: a.io/b, parameters: {apiGroup: g, kind: K, name: p, scope: Namespace, namespace: x}}
---
apiVersion: v1
kind: Service
metadata: {name: s, creationTimestamp: null}
spec:
  ports: [{name: http, protocol: TCP, appProtocol: http, port: 80, targetPort: web, nodePort: 30000}]
  selector: {a: b}
  clusterIP: None
  clusterIPs: [None]
  type: LoadBalancer
  externalIPs: [1.2.3.4]
  sessionAffinity: ClientIP
  loadBalancerIP: 1.2.3.4
  loadBalancerSourceRanges: [0.0.0.0/0]
  externalName: ""
  externalTrafficPolicy: Local
  healthCheckNodePort: 30001
  publishNotReadyAddresses: true
  sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}
  ipFamilies: [IPv4]
  ipFamilyPolicy: SingleStack
  allocateLoadBalancerNodePorts: false
  loadBalancerClass: x
  internalTrafficPolicy: Local
  trafficDistribution: PreferClose
status:
  loadBalancer: {ingress: [{ip: 1.2.3.4, ipMode: VIP}]}
  conditions: [{type: T, status: "True", observedGeneration: 1, lastTransitionTime: x, reason: R, message: m}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s, labels: {kubernetes.io/service-name: s}}
addressType: IPv4
endpoints:
- addresses: [10.0.0.1]
  conditions: {ready: true, serving: true, terminating: false}
  hostname: h
  targetRef: {kind: Pod, namespace: ns, name: p, uid: u, apiVersion: v1, resourceVersion: "1", fieldPath: f}
  deprecatedTopology: {a: b}
  nodeName: nn
  zone: z
  hints: {forZones: [{name: z}], forNodes: [{name: nn}]}
ports: [{name: http, protocol: TCP, port: 80, appProtocol: h}]
---
apiVersion: discovery.k8s.io/v1beta1
kind: EndpointSlice
metadata: {name: s}
addressType: IPv6
endpoints: [{addresses: ["::1"], topology: {a: b}}]
ports: []
---
apiVersion: v1
kind: Endpoints
metadata: {name: s}
subsets:
- addresses: [{ip: 10.0.0.1, hostname: h, nodeName: nn, targetRef: {kind: Pod}}]
  notReadyAddresses: [{ip: "::1"}]
  ports: [{name: http, port: 80, protocol: TCP, appProtocol: h}]
---
apiVersion: v1
kind: Secret
metadata: {name: s}
immutable: true
type: kubernetes.io/tls
data: {tls.crt: ""}
stringData: {tls.key: x}
"""


def test_objects_with_every_field_of_the_api_have_no_problem() -> None:
    """A valid manifest never has an unknown field, whatever of the API it uses."""
    results = [decode_object(document.data) for document in parse_yaml(FULL)]
    assert [result.problems for result in results] == [()] * 7
    kinds = [Ingress, IngressClass, Service, EndpointSlice, EndpointSlice, Endpoints, Secret]
    assert [type(result.object) for result in results] == kinds


def test_typed_values_are_those_of_the_manifest() -> None:
    """Names in camel case reach their fields, and the source stays with the object."""
    value = decode_object(parse_yaml(FULL)[0].data, SOURCE).object
    assert isinstance(value, Ingress)
    assert value.source == SOURCE
    assert value.metadata.creation_timestamp == "2030-01-31T12:00:00Z"
    assert value.spec.ingress_class_name == "c"
    assert value.spec.tls[0].hosts == ("a.com", "*.b.com")
    assert value.spec.default_backend is not None
    assert value.spec.default_backend.resource is not None
    assert value.spec.rules[0].http is not None
    assert [str(item.path_type) for item in value.spec.rules[0].http.paths] == ["Exact", "ImplementationSpecific"]
    assert value.spec.rules[1].http is None


def test_the_namespace_is_default_where_none_is_given_and_empty_for_cluster_scoped_kinds() -> None:
    """As kubectl does it."""
    assert decode_object(service(ports=[{"port": 1}])).ref == ObjectRef(kind="Service", namespace="default", name="s")
    data = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": "c", "namespace": "x"},
        "spec": {"controller": "a.io/b"},
    }
    value = decode_object(data).object
    assert isinstance(value, IngressClass)
    assert value.metadata.namespace == ""


@pytest.mark.parametrize(
    "data",
    [
        {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"anything": []}},
        {"apiVersion": "v1", "kind": "Pod", "data": {}},
        {"apiVersion": "v1", "kind": "ServiceAccount"},
        {"apiVersion": "serving.knative.dev/v1", "kind": "Service"},
        {"apiVersion": "config.openshift.io/v1", "kind": "Ingress"},
    ],
)
def test_kinds_that_are_not_read_here_are_ignored(data: dict[str, Any]) -> None:
    """Also those of other groups that share a name with ours."""
    assert decode_object(data, SOURCE) == Decoded()


@pytest.mark.parametrize(
    ("data", "field", "reason", "words"),
    [
        (
            {"apiVersion": "extensions/v1", "kind": "Ingress"},
            "apiVersion",
            "UnsupportedVersion",
            "networking.k8s.io/v1",
        ),
        ({"apiVersion": "v1", "kind": "Ingress"}, "apiVersion", "UnsupportedVersion", "networking.k8s.io/v1"),
        ({"apiVersion": "v2", "kind": "Service"}, "apiVersion", "UnsupportedVersion", "use v1"),
        ({"apiVersion": "v1", "kind": "Sevice"}, "kind", "UnknownKind", 'did you mean "Service"?'),
        ({"apiVersion": "networking.k8s.io/v1", "kind": "ingress"}, "kind", "UnknownKind", 'did you mean "Ingress"?'),
        ({"apiVersion": "v1"}, "kind", "RequiredField", "needs kind"),
        ({"kind": "Ingress"}, "apiVersion", "RequiredField", "needs apiVersion"),
        ({"apiVersion": "v1", "kind": "List", "items": {}}, "items", "InvalidType", "must be a list"),
        ([1], "", "NotAnObject", "mappings"),
        ("text", "", "NotAnObject", "mappings"),
    ],
)
def test_documents_that_are_no_object_of_ours_by_mistake_are_reported(
    data: Any, field: str, reason: str, words: str
) -> None:
    """A slip in kind or apiVersion does not make an object vanish silently."""
    result = decode_object(data, SOURCE)
    assert result.object is None
    (problem,) = result.problems
    assert (problem.field, problem.reason) == (field, reason)
    assert words in problem.message


def with_field(where: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    data: Any = copy.deepcopy(one_rule(path()))
    place = data
    for step in where[:-1]:
        place = place[step]
    place[where[-1]] = value
    result: dict[str, Any] = data
    return result


@pytest.mark.parametrize(
    ("where", "field", "words"),
    [
        (("spek",), "spek", 'did you mean "spec"?'),
        (("metadata", "lables"), "metadata.lables", 'did you mean "labels"?'),
        (("spec", "ingressClassname"), "spec.ingressClassname", 'did you mean "ingressClassName"?'),
        (("spec", "backend"), "spec.backend", '"defaultBackend"'),
        (("spec", "rules", 0, "hosts"), "spec.rules[0].hosts", 'did you mean "host"?'),
        (
            ("spec", "rules", 0, "http", "paths", 0, "backend", "serviceName"),
            "spec.rules[0].http.paths[0].backend.serviceName",
            '"service.name"',
        ),
        (("spec", "zzz"), "spec.zzz", 'there is no field "zzz" here'),
    ],
)
def test_an_unknown_field_is_reported_with_the_likely_one_and_the_object_stays(
    where: tuple[str | int, ...], field: str, words: str
) -> None:
    """A typo is told; what is understood is used."""
    result = decode_object(with_field(where, {}), SOURCE)
    (problem,) = result.problems
    assert (problem.field, problem.reason, problem.severity) == (field, "UnknownField", "error")
    assert words in problem.message
    assert isinstance(result.object, Ingress)


def test_problems_have_the_line_of_their_field() -> None:
    """So an editor can jump there."""
    text = "apiVersion: v1\nkind: Service\nmetadata:\n  name: s\nspec:\n  type: Foo\n  ports:\n  - prot: 80\n"
    document = parse_yaml(text)[0]
    problems = decode_object(document.data, SOURCE, document.locate).problems
    assert [(problem.field, problem.source and problem.source.line) for problem in problems] == [
        ("spec.type", 6),
        ("spec.ports[0].prot", 8),
        ("spec.ports[0].port", 8),
    ]


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (service(ports=[{"port": "80"}]), "spec.ports[0].port"),
        (service(ports=[{"port": True}]), "spec.ports[0].port"),
        (service(ports=[{"port": 80.0}]), "spec.ports[0].port"),
        (service(ports=[{"port": 80, "targetPort": True}]), "spec.ports[0].targetPort"),
        (service(ports={"port": 80}), "spec.ports"),
        (service(ports=[{"port": 80}], selector={"a": 1}), "spec.selector.a"),
        (ingress(defaultBackend=backend(), rules=[None]), "spec.rules[0]"),
        ({**ingress(defaultBackend=backend()), "spec": []}, "spec"),
        ({**ingress(defaultBackend=backend()), "metadata": "x"}, "metadata"),
        ({**ingress(defaultBackend=backend()), "metadata": {"name": 5}}, "metadata.name"),
        (
            {**ingress(defaultBackend=backend()), "metadata": {"name": "i", "annotations": {"a.b/c": True}}},
            "metadata.annotations[a.b/c]",
        ),
    ],
)
def test_a_value_of_a_wrong_type_is_reported_once_with_its_field(data: dict[str, Any], field: str) -> None:
    """Later checks do not repeat what the type already says."""
    assert faults(data) == [(field, "InvalidType")]


def test_an_annotation_of_a_wrong_type_leaves_out_the_object() -> None:
    """It may ask to keep traffic away, so the object is not used without it; the message says what to write."""
    data = {**one_rule(path()), "metadata": {"name": "i", "annotations": {"a": True}}}
    result = decode_object(data, SOURCE)
    assert result.object is None
    assert result.ref == ObjectRef(kind="Ingress", namespace="default", name="i")
    assert result.problems[0].message == "must be a string, not a boolean: put it in quotes"


def test_a_number_or_a_name_is_a_target_port() -> None:
    """IntOrString keeps its type."""
    ports = [{"name": "a", "port": 1, "targetPort": 80}, {"name": "b", "port": 2, "targetPort": "http"}]
    value = decode_object(service(ports=ports)).object
    assert isinstance(value, Service)
    assert [port.target_port for port in value.spec.ports] == [80, "http"]


def test_secret_data_is_decoded_and_plain_text_wins() -> None:
    """``stringData`` overrides ``data``; base64 may be broken into lines."""
    value = decode_object(secret(data={"a": "aG\nk=", "b": "eA=="}, stringData={"b": "plain"})).object
    assert isinstance(value, Secret)
    assert value.data == {"a": b"hi", "b": b"plain"}


@pytest.mark.parametrize("bad", ["s3cr3t!", "aGk", "aG k="])
def test_bad_base64_is_reported_by_its_key_and_never_shown(bad: str) -> None:
    """The other keys stay; the value is in no message."""
    result = decode_object(secret(data={"tls.key": bad, "ok": "aGk="}), SOURCE)
    assert isinstance(result.object, Secret)
    assert result.object.data == {"ok": b"hi"}
    (problem,) = result.problems
    assert (problem.field, problem.reason) == ("data[tls.key]", "InvalidBase64")
    assert bad not in repr(result.problems) + repr(result.object)


def test_a_secret_of_a_wrong_type_is_never_shown() -> None:
    """Also a number can be a secret."""
    result = decode_object(secret(stringData={"pin": 90210}), SOURCE)
    assert faults(secret(stringData={"pin": 90210})) == [("stringData.pin", "InvalidType")]
    assert "90210" not in repr(result)


@pytest.mark.parametrize(
    ("bad", "left"),
    [
        (path(kind="prefix"), []),
        ({"path": "/", "backend": backend()}, []),
        (path("bar"), []),
        (path("/a//b"), []),
        (path("/a/./b"), []),
        (path("/a/../b"), []),
        (path("/a%2Fb"), []),
        (path("/a%2fb", "Exact"), []),
        (path("/a/.."), []),
        (path("/a/."), []),
        (path(""), []),
        (path("bar", "ImplementationSpecific"), []),
        ({**path(), "path": 5}, []),
        ("text", []),
    ],
)
def test_a_path_without_a_place_is_left_out_alone(bad: Any, left: list[str]) -> None:
    """The paths beside it are served."""
    data = one_rule(bad, path("/ok"))
    assert [text for text, _ in paths_of(data)] == [*left, "/ok"]
    assert [problem.field[:26] for problem in decode_object(data).problems] == ["spec.rules[0].http.paths[0]"[:26]]


@pytest.mark.parametrize(
    ("text", "kind"),
    [("", "ImplementationSpecific"), ("/a//b", "ImplementationSpecific"), ("/a.b/..c", "Prefix"), ("/é /*", "Exact")],
)
def test_paths_that_the_api_server_accepts_are_accepted(text: str, kind: str) -> None:
    """No more is refused than a cluster refuses."""
    assert faults(one_rule(path(text, kind))) == []


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({}, ""),
        (None, ""),
        ({**backend(), "resource": {"kind": "K", "name": "n"}}, ""),
        ({"resource": {"kind": "K"}}, ".resource.name"),
        ({"service": {"port": {"number": 80}}}, ".service.name"),
        ({"service": {"name": "A_b", "port": {"number": 80}}}, ".service.name"),
        ({"service": {"name": "s"}}, ".service.port"),
        ({"service": {"name": "s", "port": {"number": 80, "name": "x"}}}, ".service.port"),
        ({"service": {"name": "s", "port": {"number": 65536}}}, ".service.port.number"),
        ({"service": {"name": "s", "port": {"number": -1}}}, ".service.port.number"),
        ({"service": {"name": "s", "port": {"name": "8080"}}}, ".service.port.name"),
        ({"service": {"name": "s", "port": {"name": "a-name-of-sixteen"}}}, ".service.port.name"),
        ({"service": {"name": "s", "port": {"number": "80"}}}, ".service.port.number"),
    ],
)
def test_a_path_with_a_wrong_backend_keeps_its_place_without_one(bad: dict[str, Any] | None, field: str) -> None:
    """Its requests must not go to the backend of a shorter path."""
    data = one_rule(path("/admin", backend=bad), path("/"))
    place = "spec.rules[0].http.paths[0].backend"
    assert [name for name, _ in faults(data)] == [place + field]
    assert [(text, item.service is None) for text, item in paths_of(data)] == [("/admin", True), ("/", False)]


@pytest.mark.parametrize(
    "host",
    [
        *["1.2.3.4", "::1", "[::1]", "a.com:80", "A.com", "*", "a.*.com", "*a.com", "a_b.com", "a..com", "-a.com"],
        *["é.com", "a" * 254],
    ],
)
def test_a_rule_with_a_wrong_host_is_left_out(host: str) -> None:
    """Without its host the rule would mean every host."""
    data = ingress(rules=[{"host": host, "http": {"paths": [path("/a")]}}, {"http": {"paths": [path("/b")]}}])
    assert faults(data) == [("spec.rules[0].host", "InvalidValue")]
    assert [text for text, _ in paths_of(data)] == ["/b"]


def test_a_rule_without_paths_is_left_out() -> None:
    """An empty list is not the same as no ``http``, which means the default backend."""
    data = ingress(rules=[{"host": "a.com", "http": {}}, {"host": "b.com"}])
    assert faults(data) == [("spec.rules[0].http.paths", "RequiredField")]
    assert [rule.host for rule in decoded_ingress(data).spec.rules] == ["b.com"]


def test_a_rule_that_lost_all_its_paths_still_claims_its_host() -> None:
    """Its requests must not go to a wildcard host or the default of someone else."""
    rule = decoded_ingress(one_rule(path("bad"))).spec.rules[0]
    assert rule.host == "a.com"
    assert rule.http is not None
    assert rule.http.paths == ()


def test_a_tls_entry_keeps_its_good_hosts_and_never_comes_to_mean_every_host() -> None:
    """No hosts would mean every host."""
    tls = [
        {"hosts": ["A.com", "b.com"], "secretName": "Bad"},
        {"hosts": ["*"], "secretName": "s"},
        {"hosts": "c.com"},
        {"secretName": "all"},
    ]
    data = ingress(defaultBackend=backend(), tls=tls)
    assert [name for name, _ in faults(data)] == [
        "spec.tls[2].hosts",
        "spec.tls[0].hosts[0]",
        "spec.tls[0].secretName",
        "spec.tls[1].hosts[0]",
    ]
    assert [(entry.hosts, entry.secret_name) for entry in decoded_ingress(data).spec.tls] == [
        (("b.com",), ""),
        ((), "all"),
    ]


@pytest.mark.parametrize(
    ("data", "field", "reason"),
    [
        (ingress(), "spec", "RequiredField"),
        ({**one_rule(path()), "metadata": {}}, "metadata.name", "RequiredField"),
        ({**one_rule(path()), "metadata": {"name": "A"}}, "metadata.name", "InvalidValue"),
        ({**one_rule(path()), "metadata": {"name": "a", "namespace": "a.b"}}, "metadata.namespace", "InvalidValue"),
        (ingress(ingressClassName="A B", defaultBackend=backend()), "spec.ingressClassName", "InvalidValue"),
    ],
)
def test_a_fault_of_the_whole_leaves_out_the_object(data: dict[str, Any], field: str, reason: str) -> None:
    """It is not known what it is, or whose."""
    assert faults(data) == [(field, reason)]
    assert decode_object(data).object is None


def test_two_classes_that_differ_are_reported_and_the_field_decides() -> None:
    """The API server refuses both at creation; existing objects may have them."""
    data = ingress(ingressClassName="a", defaultBackend=backend())
    data["metadata"] = {"name": "i", "annotations": {"kubernetes.io/ingress.class": "b"}}
    assert faults(data) == [("metadata.annotations[kubernetes.io/ingress.class]", "InvalidValue")]
    assert decoded_ingress(data).spec.ingress_class_name == "a"


def test_faults_of_an_old_ingress_name_the_old_fields() -> None:
    """The user sees the fields of the file, and the object is converted."""
    data = {
        "apiVersion": "extensions/v1beta1",
        "kind": "Ingress",
        "metadata": {"name": "i"},
        "spec": {
            "backend": {"serviceName": "A_", "servicePort": 80},
            "rules": [
                {"http": {"paths": [{"path": "/a/*", "backend": {"serviceName": "s", "servicePort": 0}}]}},
                {"http": {"paths": [{"path": "/b", "backend": {"serviceName": [], "servicePort": "web"}}]}},
            ],
        },
    }
    assert faults(data) == [
        ("spec.rules[1].http.paths[0].backend.serviceName", "InvalidType"),
        ("spec.backend.serviceName", "InvalidValue"),
        ("spec.rules[0].http.paths[0].backend.servicePort", "RequiredField"),
    ]
    assert [text for text, _ in paths_of(data)] == ["/a", "/b"]


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({}, [("spec.ports", "RequiredField")]),
        ({"clusterIP": "None"}, []),
        ({"type": "ExternalName", "externalName": "a.com."}, []),
        ({"type": "ExternalName"}, [("spec.externalName", "RequiredField")]),
        ({"type": "ExternalName", "externalName": "a_b"}, [("spec.externalName", "InvalidValue")]),
        ({"type": "clusterIP", "ports": [{"port": 1}]}, [("spec.type", "InvalidValue")]),
        ({"ports": [{"port": 0}]}, [("spec.ports[0].port", "InvalidValue")]),
        ({"ports": [{}]}, [("spec.ports[0].port", "RequiredField")]),
        ({"ports": [{"port": 1, "protocol": "tcp"}]}, [("spec.ports[0].protocol", "InvalidValue")]),
        ({"ports": [{"port": 1, "targetPort": 70000}]}, [("spec.ports[0].targetPort", "InvalidValue")]),
        ({"ports": [{"port": 1, "targetPort": "80"}]}, [("spec.ports[0].targetPort", "InvalidValue")]),
        ({"ports": [{"port": 1, "name": "a"}, {"port": 2}]}, [("spec.ports[1].name", "RequiredField")]),
        (
            {"ports": [{"port": 1, "name": "a"}, {"port": 2, "name": "a"}]},
            [("spec.ports[1].name", "ForbiddenField")],
        ),
    ],
)
def test_services_are_checked_as_the_api_server_does(spec: dict[str, Any], found: list[tuple[str, str]]) -> None:
    """As far as routing needs them."""
    assert faults(service(**spec)) == found


def test_a_service_loses_only_the_port_that_is_wrong() -> None:
    """And nothing at all for fields that are not used."""
    data = service(ports=[{"name": "a", "port": 0}, {"name": "b", "port": 2}], sessionAffinity=5)
    value = decode_object(data).object
    assert isinstance(value, Service)
    assert [port.name for port in value.spec.ports] == ["b"]


def test_an_endpoint_with_a_wrong_address_is_left_out_alone() -> None:
    """The addresses must be of the type that the slice has."""
    data = slice_of(
        {"addresses": ["10.0.0.1"]},
        {"addresses": ["::1"]},
        {"addresses": ["x"]},
        {"addresses": []},
        ports=[{"port": 0}],
    )
    assert faults(data) == [
        ("endpoints[1].addresses[0]", "InvalidValue"),
        ("endpoints[2].addresses[0]", "InvalidValue"),
        ("endpoints[3].addresses", "RequiredField"),
        ("ports[0].port", "InvalidValue"),
    ]
    value = decode_object(data).object
    assert isinstance(value, EndpointSlice)
    assert [endpoint.addresses for endpoint in value.endpoints] == [("10.0.0.1",)]
    assert value.ports == ()


def test_endpoints_lose_only_the_address_that_is_wrong() -> None:
    """Ready or not."""
    subset = {"addresses": [{"ip": "a"}, {"ip": "10.0.0.1"}], "notReadyAddresses": [{}], "ports": [{"port": 80}]}
    data = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "s"}, "subsets": [subset]}
    assert faults(data) == [
        ("subsets[0].addresses[0].ip", "InvalidValue"),
        ("subsets[0].notReadyAddresses[0].ip", "RequiredField"),
    ]
    value = decode_object(data).object
    assert isinstance(value, Endpoints)
    assert [address.ip for address in value.subsets[0].addresses] == ["10.0.0.1"]
    assert value.subsets[0].not_ready_addresses == ()


def test_lists_are_expanded_with_the_place_of_each_item() -> None:
    """Items of a typed list take kind and version from it; lists may stand in lists."""
    inner = {"apiVersion": "v1", "kind": "SecretList", "items": [{"metadata": {"name": "a"}}]}
    data = {"apiVersion": "v1", "kind": "List", "items": [service(), inner, "text"]}
    assert list(expand_lists(data)) == [
        (("items", 0), service()),
        (("items", 1, "items", 0), {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}),
        (("items", 2), "text"),
    ]


def test_decoding_does_not_change_its_input() -> None:
    """Aliases share values between documents' parts."""
    data = one_rule(path("bad"), path(backend={}), {**path(), "extra": None})
    data["spec"]["tls"] = [{"hosts": ["*"]}]
    before = copy.deepcopy(data)
    decode_object(data)
    assert data == before
