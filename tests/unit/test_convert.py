"""Old Ingress forms become networking.k8s.io/v1."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from ingress.resources import Ingress, IngressPath
from ingress.resources.convert import convert_documents, convert_ingress, old_path
from ingress.resources.manifest import ManifestError, parse_yaml
from ingress.watch import load

EXAMPLES = Path(__file__).parents[2] / "examples"


def old(path: dict[str, Any], annotations: dict[str, str] | None = None) -> dict[str, Any]:
    backend = {"serviceName": "s", "servicePort": 80}
    return {
        "apiVersion": "extensions/v1beta1",
        "kind": "Ingress",
        "metadata": {"name": "i", "annotations": annotations or {}},
        "spec": {"rules": [{"http": {"paths": [{**path, "backend": backend}]}}]},
    }


def converted_path(path: dict[str, Any], annotations: dict[str, str] | None = None) -> tuple[str, str]:
    item = convert_ingress(old(path, annotations))["spec"]["rules"][0]["http"]["paths"][0]
    return item["path"], item["pathType"]


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ({}, ("/", "Prefix")),
        ({"path": ""}, ("/", "Prefix")),
        ({"path": "/*"}, ("/", "Prefix")),
        ({"path": "/bar/*"}, ("/bar", "Prefix")),
        ({"path": "/bar"}, ("/bar", "ImplementationSpecific")),
        ({"path": "/bar*"}, ("/bar*", "ImplementationSpecific")),
        ({"path": "/bar/*", "pathType": "Exact"}, ("/bar/*", "Exact")),
        ({"path": "/bar", "pathType": "Prefix"}, ("/bar", "Prefix")),
    ],
)
def test_globs_become_prefixes_and_the_rest_is_left_to_the_implementation(
    path: dict[str, str], result: tuple[str, str]
) -> None:
    """A path type that is given is never changed."""
    assert converted_path(path) == result


@pytest.mark.parametrize(
    "name", ["nginx.ingress.kubernetes.io/use-regex", "nginx.ingress.kubernetes.io/rewrite-target"]
)
def test_globs_stay_where_paths_are_regular_expressions(name: str) -> None:
    """There, ``/*`` means any number of slashes."""
    assert converted_path({"path": "/bar/*"}, {name: "true"}) == ("/bar/*", "ImplementationSpecific")
    assert converted_path({"path": "/bar/*"}, {name: "false"}) == ("/bar", "Prefix")


@pytest.mark.parametrize(
    ("port", "converted"),
    [(80, {"number": 80}), ("http", {"name": "http"}), ("80", {"number": 80})],
)
def test_ports_become_a_number_or_a_name(port: int | str, converted: dict[str, Any]) -> None:
    """A quoted number can only mean the number."""
    data = old({"path": "/a"})
    data["spec"]["backend"] = {"serviceName": "d", "servicePort": port}
    spec = convert_ingress(data)["spec"]
    assert spec["defaultBackend"] == {"service": {"name": "d", "port": converted}}
    assert "backend" not in spec


def test_what_is_not_of_the_expected_form_passes_through_and_the_argument_stays() -> None:
    """Conversion never hides a fault from validation, and is pure."""
    data = old({"path": 5})
    data["spec"] |= {
        "backend": "no",
        "rules": [*data["spec"]["rules"], "no", {"http": "no"}, {"http": {"paths": ["no"]}}],
    }
    before = copy.deepcopy(data)
    spec = convert_ingress(data)["spec"]
    assert data == before
    assert spec["defaultBackend"] == "no"
    assert spec["rules"][1:] == ["no", {"http": "no"}, {"http": {"paths": ["no"]}}]
    assert spec["rules"][0]["http"]["paths"][0]["path"] == 5


@pytest.mark.parametrize(
    ("new", "before"),
    [
        (("spec", "defaultBackend", "service", "name"), ("spec", "backend", "serviceName")),
        (("spec", "defaultBackend"), ("spec", "backend")),
        (
            ("spec", "rules", 0, "http", "paths", 1, "backend", "service", "port", "number"),
            ("spec", "rules", 0, "http", "paths", 1, "backend", "servicePort"),
        ),
        (("spec", "rules", 0, "host"), ("spec", "rules", 0, "host")),
    ],
)
def test_field_paths_lead_back_to_the_old_form(new: tuple[str | int, ...], before: tuple[str | int, ...]) -> None:
    """Problems name the fields that stand in the user's file."""
    assert old_path(new) == before


def test_the_legacy_example_is_the_quickstart_in_the_old_form() -> None:
    """The two differ in nothing but how the glob path is written."""
    quickstart, legacy = load([EXAMPLES / "quickstart"]), load([EXAMPLES / "legacy"])
    assert quickstart.problems == legacy.problems == ()
    key = ("default", "classic")
    assert with_prefixes(quickstart.snapshot.ingresses[key]) == legacy.snapshot.ingresses[key].spec
    assert quickstart.snapshot.services.keys() == legacy.snapshot.services.keys()
    assert {s.service_name for s in quickstart.snapshot.endpoint_slices.values()} == {
        name for _, name in legacy.snapshot.endpoints
    }


def with_prefixes(ingress: Ingress) -> object:
    def path(item: IngressPath) -> IngressPath:
        if item.path.endswith("/*"):
            return msgspec.structs.replace(item, path=item.path[:-2], path_type="Prefix")
        return item

    rules = []
    for rule in ingress.spec.rules:
        assert rule.http is not None
        http = msgspec.structs.replace(rule.http, paths=tuple(path(item) for item in rule.http.paths))
        rules.append(msgspec.structs.replace(rule, http=http))
    return msgspec.structs.replace(ingress.spec, rules=tuple(rules))


LEGACY = """\
# Kept: the comment on top.
kind: Ingress
apiVersion: networking.k8s.io/v1beta1
spec:
  rules:
  - http:  # lost
      paths:
      - backend: {servicePort: web, serviceName: s}
        path: /a/*
  backend: {serviceName: "yes", servicePort: 80}
metadata:
  annotations:
    note: |
      two
      lines
    kubernetes.io/ingress.class: pyngress
  name: i
--- # a separator may have a comment
# Untouched, with its comments.
apiVersion: v1
kind: Service   # here too
metadata: {name: s}
---
kind: List
apiVersion: v1
items:
- apiVersion: networking.k8s.io/v1beta1
  kind: IngressClass
  metadata: {name: c}
"""

CURRENT = """\
# Kept: the comment on top.
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: i
  annotations:
    note: |
      two
      lines
    kubernetes.io/ingress.class: pyngress
spec:
  defaultBackend:
    service:
      name: 'yes'
      port:
        number: 80
  rules:
  - http:
      paths:
      - path: /a
        pathType: Prefix
        backend:
          service:
            name: s
            port:
              name: web
---
# Untouched, with its comments.
apiVersion: v1
kind: Service   # here too
metadata: {name: s}
---
kind: List
apiVersion: v1
items:
- apiVersion: networking.k8s.io/v1
  kind: IngressClass
  metadata:
    name: c
"""


def test_documents_are_printed_as_people_write_them() -> None:
    """Converted documents have the usual order of keys; others keep their very text."""
    assert convert_documents(LEGACY, "a.yaml") == CURRENT


def test_converting_twice_changes_nothing() -> None:
    """The result is in the new form altogether."""
    assert convert_documents(CURRENT, "a.yaml") == CURRENT


def test_json_is_printed_as_yaml_and_typed_lists_are_converted() -> None:
    """The items of a typed list have no kind of their own."""
    text = """{"kind": "IngressList", "apiVersion": "extensions/v1beta1", "items": [
      {"metadata": {"name": "i"}, "spec": {"backend": {"serviceName": "s", "servicePort": 1}}}]}"""
    data = yaml.safe_load(convert_documents(text, "a.json"))
    assert data["apiVersion"] == "networking.k8s.io/v1"
    assert data["items"] == [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "i"},
            "spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 1}}}},
        }
    ]


def test_text_that_does_not_parse_is_not_printed() -> None:
    """Half a conversion would be worse than none."""
    with pytest.raises(ManifestError, match=rf"a\.yaml:{LEGACY.count(chr(10)) + 2}: .*did not find"):
        convert_documents(LEGACY + "---\na: [", "a.yaml")


@pytest.mark.parametrize(
    "text", ["y", "no", "1e3", "0755", "12:30", "2030-01-31", "~", "", "1_000", "a: b", "# x", "é", "<<"]
)
def test_text_that_looks_like_something_else_is_quoted(text: str) -> None:
    """What is printed is read back as the same text."""
    data = {**old({"path": "/a"}), "metadata": {"name": "i", "labels": {text: text}}}
    document = json.dumps(data, ensure_ascii=False)
    assert parse_yaml(convert_documents(document, "a.json"))[0].data["metadata"]["labels"] == {text: text}
