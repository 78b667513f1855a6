"""``crds/``: valid schemas, the same rules as the decoder, and defaults that are those of the typed objects."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celpy
import jsonschema
import pytest
import yaml

from ingress.resources import ObjectRef
from ingress.resources.crd_fields import CLASS_PARAMETERS, RESPONSE, TRAFFIC_POLICY
from ingress.resources.decode import Decoded, decode_object
from tests.support.openapi import openapi
from tests.unit.crd_examples import BAD, GOOD, STRICTER, Spec

FOLDER = Path(__file__).parents[2] / "crds"
CRDS: dict[str, Any] = {
    crd["spec"]["names"]["kind"]: crd for crd in (yaml.safe_load(path.read_text()) for path in FOLDER.glob("*.yaml"))
}
SHAPES = {"IngressClassParameters": CLASS_PARAMETERS, "Response": RESPONSE, "TrafficPolicy": TRAFFIC_POLICY}
KINDS = sorted(SHAPES)


def schema_of(kind: str) -> Any:
    return CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def nodes(schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every node of a schema that stands for a value, with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


def without(schema: Any, *keys: str) -> Any:
    """A copy of a schema without some keywords."""
    bare = {key: value for key, value in schema.items() if key not in keys}
    if "properties" in bare:
        bare["properties"] = {name: without(child, *keys) for name, child in bare["properties"].items()}
    for key in ("items", "additionalProperties"):
        if key in bare:
            bare[key] = without(bare[key], *keys)
    return bare


def decode(kind: str, spec: Spec) -> Decoded:
    manifest = {"apiVersion": "pyngress.io/v1alpha1", "kind": kind, "metadata": {"name": "a"}, "spec": spec}
    return decode_object(copy.deepcopy(manifest))


def with_defaults(schema: Any, value: Any) -> Any:
    """What the API server stores for a value."""
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        given = {name: child["default"] for name, child in properties.items() if "default" in child}
        return {name: with_defaults(properties.get(name, {}), item) for name, item in {**given, **value}.items()}
    if isinstance(value, list):
        return [with_defaults(schema.get("items", {}), item) for item in value]
    return value


def refusals(schema: Any, value: Any) -> list[str]:
    """What the API server would say: the schema, unique keys of lists, and the CEL rules."""
    found = [error.message for error in jsonschema.Draft7Validator(_strict(schema)).iter_errors(value)]
    return found or list(_cel_refusals(schema, value))


def _strict(schema: Any) -> Any:
    """With patterns that end as in Go: ``$`` of Python would allow a line end after it."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    ended = {"pattern": schema["pattern"].removesuffix("$") + r"\Z"} if isinstance(schema.get("pattern"), str) else {}
    return {key: _strict(item) for key, item in schema.items()} | ended


def _cel_refusals(schema: Any, value: Any) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        environment = celpy.Environment()
        program = environment.program(environment.compile(rule["rule"]))
        if not program.evaluate({"self": celpy.json_to_cel(value)}):
            yield rule["message"]
    if isinstance(value, dict):
        for name, item in value.items():
            child = schema.get("properties", {}).get(name) or schema.get("additionalProperties", {})
            yield from _cel_refusals(child, item)
    elif isinstance(value, list):
        keys = schema.get("x-kubernetes-list-map-keys", ())
        if keys and len({tuple(item[key] for key in keys) for item in value}) < len(value):
            yield "duplicate key"
        for item in value:
            yield from _cel_refusals(schema["items"], item)


@pytest.mark.parametrize("kind", KINDS)
def test_crd_says_who_it_is(kind: str) -> None:
    """Names, group, scope, version, subresource and columns are what clients and the controller rely on."""
    crd = CRDS[kind]
    spec, version = crd["spec"], crd["spec"]["versions"][0]
    names = spec["names"]
    assert (crd["apiVersion"], crd["kind"]) == ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    assert crd["metadata"]["name"] == f"{names['plural']}.{spec['group']}"
    assert (spec["group"], version["name"], len(spec["versions"])) == ("pyngress.io", "v1alpha1", 1)
    assert version["served"] is version["storage"] is True
    # A status that nobody writes would be a promise.
    assert version.get("subresources") == ({"status": {}} if kind == "TrafficPolicy" else None)
    assert spec["scope"] == ("Cluster" if kind == "IngressClassParameters" else "Namespaced")
    assert (names["kind"], names["listKind"], names["singular"]) == (kind, f"{kind}List", kind.lower())
    assert names["categories"] == ["pyngress"]
    assert names["shortNames"]
    assert version["additionalPrinterColumns"][-1]["jsonPath"] == ".metadata.creationTimestamp"


@pytest.mark.parametrize("kind", KINDS)
def test_schema_is_structural_and_described(kind: str) -> None:
    """Every value has a description that ends as a sentence, and a type; lists and texts are bounded; no keyword that
    a structural schema may not have."""
    known = {"description", "type", "format", "default", "properties", "required", "items", "additionalProperties"}
    known |= {"enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "anyOf"}
    known |= {"maxProperties", "x-kubernetes-validations", "x-kubernetes-int-or-string"}
    known |= {"x-kubernetes-list-type", "x-kubernetes-list-map-keys"}
    for path, node in nodes(schema_of(kind)):
        assert node["description"].endswith("."), path
        assert set(node) <= known, path
        if node.get("x-kubernetes-int-or-string"):
            assert node["anyOf"] == [{"type": "integer"}, {"type": "string"}], path
            assert "type" not in node, path
        else:
            assert node["type"] in ("object", "array", "string", "integer", "boolean"), path
            assert "anyOf" not in node, path
        if node.get("type") == "array":
            assert "maxItems" in node, path
            assert node["x-kubernetes-list-type"] in ("atomic", "map"), path
            keys = node.get("x-kubernetes-list-map-keys", [])
            assert set(keys) <= set(node["items"].get("required", [])), path
        if node.get("type") == "string" and path.startswith(".spec"):
            assert "maxLength" in node or "enum" in node, path
        assert set(node.get("required", [])) <= set(node.get("properties", {})), path


@pytest.mark.parametrize("kind", KINDS)
def test_schema_says_what_the_decoder_checks(kind: str) -> None:
    """The schema of the spec is that of the shape, rule by rule, so neither can drift from the other."""
    spec = schema_of(kind)["properties"]["spec"]
    assert without(spec, "description", "default") == openapi(SHAPES[kind].fields["spec"])


def test_every_cel_rule_has_a_message_and_compiles() -> None:
    """The rules are CEL expressions with a sentence for people."""
    rules = [
        rule
        for kind in KINDS
        for _, node in nodes(schema_of(kind))
        for rule in node.get("x-kubernetes-validations", ())
    ]
    assert len(rules) > 15
    for rule in rules:
        assert set(rule) == {"rule", "message"}
        celpy.Environment().compile(rule["rule"])


@pytest.mark.parametrize(("kind", "spec"), GOOD)
def test_good_object_is_good_everywhere(kind: str, spec: Spec) -> None:
    """What the API server takes has no problem here, also with the defaults that it fills in."""
    schema = schema_of(kind)["properties"]["spec"]
    assert refusals(schema, spec) == []
    plain, stored = decode(kind, spec), decode(kind, with_defaults(schema, spec))
    assert plain.problems == stored.problems == ()
    assert plain.object == stored.object is not None


@pytest.mark.parametrize(("kind", "spec", "field"), BAD)
def test_bad_object_is_bad_everywhere(kind: str, spec: Spec, field: str) -> None:
    """What the schema refuses, the decoder refuses, and names the field."""
    assert refusals(schema_of(kind)["properties"]["spec"], spec)
    assert [problem.field for problem in decode(kind, spec).problems] == [field]


@pytest.mark.parametrize(("kind", "spec", "field"), STRICTER)
def test_decoder_knows_more_than_a_schema_can_say(kind: str, spec: Spec, field: str) -> None:
    """Values of the right form that mean nothing are refused by the decoder."""
    assert refusals(schema_of(kind)["properties"]["spec"], spec) == []
    assert [problem.field for problem in decode(kind, spec).problems] == [field]


def test_examples_cover_every_field() -> None:
    """No field of a spec is without a good example."""
    for kind in KINDS:
        given = {path for of, spec in GOOD if of == kind for path in _paths(spec)}
        wanted = {path for path, _ in nodes(schema_of(kind)["properties"]["spec"]) if path}
        assert wanted - given == set()


def _paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"{path}.{name}"
            yield from _paths(item, f"{path}.{name}")
        if path.endswith("matchLabels") and value:
            yield f"{path}[]"
    elif isinstance(value, list):
        for item in value:
            yield f"{path}[]"
            yield from _paths(item, f"{path}[]")


@pytest.mark.parametrize("part", ["access", "rateLimit", "cors"])
def test_broken_protection_is_remembered(part: str) -> None:
    """A policy whose protective part is wrong keeps what is good of it, and knows that it must close."""
    wrong: Spec = {"access": {"allow": ["x"]}, "rateLimit": {"requests": "x"}, "cors": {"allowOrigins": ["x"]}}
    spec = {"targetRefs": [{"kind": "Ingress", "name": "a"}], "retries": {"attempts": 1}, part: wrong[part]}
    decoded = decode("TrafficPolicy", spec)
    policy: Any = decoded.object
    assert policy.broken == (part,)
    assert policy.spec.retries.attempts == 1
    assert "answers 503" in decoded.problems[0].message


def test_wrong_version_of_our_group_is_told() -> None:
    """Another version of our own group is a mistake; the same kind of another group is somebody else's."""
    manifest = {"kind": "Response", "metadata": {"name": "a"}, "spec": {"status": 200}}
    assert [problem.reason for problem in decode_object({"apiVersion": "pyngress.io/v1", **manifest}).problems] == [
        "UnsupportedVersion"
    ]
    assert decode_object({"apiVersion": "example.com/v1alpha1", **manifest}) == Decoded()


def test_scope_decides_the_namespace() -> None:
    """Parameters of a class have no namespace; the other kinds have one."""
    assert decode("IngressClassParameters", {}).ref == ObjectRef(kind="IngressClassParameters", name="a")
    assert decode("Response", {"status": 200}).ref == ObjectRef(kind="Response", namespace="default", name="a")
