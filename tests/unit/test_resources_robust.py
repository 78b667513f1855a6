"""No input makes the readers raise: property tests."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ingress.resources import Source
from ingress.resources.convert import convert_object
from ingress.resources.decode import decode_object, expand_lists
from ingress.resources.manifest import ManifestError, parse_json, parse_yaml

OBJECTS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: i, annotations: {a.b/c: "true"}, creationTimestamp: 2030-01-31T12:00:00Z}
spec:
  ingressClassName: c
  defaultBackend: {service: {name: s, port: {number: 80}}}
  tls: [{hosts: [a.com], secretName: t}]
  rules: [{host: a.com, http: {paths: [{path: /, pathType: Exact, backend: {service: {name: s, port: {name: p}}}}]}}]
---
apiVersion: extensions/v1beta1
kind: Ingress
metadata: {name: i}
spec:
  backend: {serviceName: s, servicePort: 80}
  rules: [{host: a.com, http: {paths: [{path: /*, backend: {serviceName: s, servicePort: p}}]}}]
---
apiVersion: v1
kind: Service
metadata: {name: s}
spec: {type: ClusterIP, clusterIP: x, externalName: a.com, ports: [{name: p, port: 1, targetPort: p, protocol: TCP}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s, labels: {kubernetes.io/service-name: s}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1], conditions: {ready: true}}]
ports: [{name: p, port: 1, protocol: TCP}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: s}
subsets: [{addresses: [{ip: 10.0.0.1}], notReadyAddresses: [{ip: 10.0.0.2}], ports: [{port: 1}]}]
---
apiVersion: v1
kind: Secret
metadata: {name: s}
data: {a: aGk=}
stringData: {b: x}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: c}
spec: {controller: a.io/b, parameters: {kind: K, name: n}}
---
apiVersion: v1
kind: List
items: [{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {ports: [{port: 1}]}}]
"""

VALUES = [document.data for document in parse_yaml(OBJECTS)]
SOURCE = Source(file="a.yaml", document=1, line=1)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*at, key))


PLACES = [(index, place) for index, value in enumerate(VALUES) for place in places(value)]

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["*", "/*", "a.com"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    result = copy.deepcopy(value)
    inner = result
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = new
    return result


@given(st.lists(st.tuples(st.sampled_from(PLACES), ANYTHING), min_size=1, max_size=3))
def test_no_value_at_any_place_makes_decoding_raise(changes: list[tuple[tuple[int, tuple[Any, ...]], Any]]) -> None:
    """What can not be used has a problem, and what is left out for a wrong type never passes silently."""
    for (index, place), new in changes:
        data = replaced(VALUES[index], place, new)
        convert_object(data) if isinstance(data, dict) else None
        for _, item in expand_lists(data):
            result = decode_object(item, SOURCE)
            ours = isinstance(item, dict) and item.get("kind") == VALUES[index]["kind"] != "List"
            if result.object is None and ours and item.get("apiVersion") == VALUES[index]["apiVersion"]:
                assert result.problems
            assert all(problem.message and problem.source for problem in result.problems)


@given(st.text(alphabet="{}[]&*!|>-:#,'\"%@`?\\ \n\t\r\0ab01.~<=\x85\ufeff\u2028", max_size=60))
def test_no_text_makes_parsing_raise_anything_but_its_own_error(text: str) -> None:
    """And the line is one of the text."""
    for parse in (parse_yaml, parse_json):
        try:
            documents = parse(text)
        except ManifestError as error:
            assert 1 <= error.line <= max(1, len(text.splitlines()))
            assert error.document >= 1
        else:
            assert all(document.line >= 1 for document in documents)
