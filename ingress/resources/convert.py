"""Old Ingress forms to ``networking.k8s.io/v1``. Pure.

1. ``spec.backend`` becomes ``spec.defaultBackend``; ``serviceName`` and ``servicePort`` become ``service``.
2. A path without a path type: no path at all is Prefix ``/``; a trailing ``/*`` is a Prefix of what stands before it;
   everything else is ImplementationSpecific, as the API server converts it. Where the annotations make paths regular
   expressions, ``/*`` is one and stays as it is.
3. The annotation ``kubernetes.io/ingress.class`` stays: controllers honour it, and no IngressClass need exist for it.

What is not of the expected form passes through, for validation to report.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from ingress.resources.fault import FieldPath
from ingress.resources.manifest import ManifestError, add_scalars, parse_json, parse_yaml

__all__ = ["INGRESS_V1", "OLD_INGRESS_VERSIONS", "convert_documents", "convert_ingress", "convert_object", "old_path"]

INGRESS_V1: Final = "networking.k8s.io/v1"
OLD_INGRESS_VERSIONS: Final = ("extensions/v1beta1", "networking.k8s.io/v1beta1")

_PATH_ANNOTATIONS: Final = ("/use-regex", "/rewrite-target")
"""Ends of the annotations that make the paths of an Ingress regular expressions."""

_ORDERS: Final[dict[str, tuple[str, ...]]] = {
    "object": ("apiVersion", "kind", "metadata", "spec", "status"),
    "metadata": ("name", "namespace", "labels", "annotations"),
    "spec": ("ingressClassName", "defaultBackend", "tls", "rules"),
    "path": ("path", "pathType", "backend"),
}


def convert_object(data: dict[str, Any]) -> dict[str, Any]:
    """The v1 form of an old Ingress or IngressClass, also inside a List; any other object as it is (the same value)."""
    kind, version = data.get("kind"), data.get("apiVersion")
    if kind == "Ingress" and version in OLD_INGRESS_VERSIONS:
        return convert_ingress(data)
    if kind == "IngressClass" and version == "networking.k8s.io/v1beta1":
        return {**data, "apiVersion": INGRESS_V1}
    items = data.get("items")
    if not isinstance(kind, str) or not kind.endswith("List") or not isinstance(items, list):
        return data
    typed = kind == "IngressList" and version in OLD_INGRESS_VERSIONS
    given = {"apiVersion": version, "kind": "Ingress"} if typed else {}
    converted = [convert_object({**given, **item}) if isinstance(item, dict) else item for item in items]
    if not typed and all(after is before for after, before in zip(converted, items, strict=True) if not given):
        return data
    return {**data, "apiVersion": INGRESS_V1 if typed else version, "items": converted}


def convert_ingress(data: dict[str, Any]) -> dict[str, Any]:
    """An Ingress of an old version as v1, with the keys in the usual order; the argument is not changed."""
    result = {**data, "apiVersion": INGRESS_V1}
    metadata, spec = data.get("metadata"), data.get("spec")
    if isinstance(metadata, dict):
        result["metadata"] = _ordered("metadata", metadata)
    if isinstance(spec, dict):
        result["spec"] = _convert_spec(spec, keep_globs=_paths_are_patterns(metadata))
    return _ordered("object", result)


def old_path(path: FieldPath) -> FieldPath:
    """Where a v1 field path of a converted Ingress stands in the old form."""
    steps = ["backend" if step == "defaultBackend" else step for step in path]
    for index, step in enumerate(steps):
        if step == "service" and index + 1 < len(steps):
            return (*steps[:index], "serviceName" if steps[index + 1] == "name" else "servicePort")
        if step == "service":
            return tuple(steps[:index])
    return tuple(steps)


def _paths_are_patterns(metadata: Any) -> bool:
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    if not isinstance(annotations, dict):
        return False
    return any(key.endswith(_PATH_ANNOTATIONS) and value not in ("false", False) for key, value in annotations.items())


def _convert_spec(spec: dict[str, Any], *, keep_globs: bool) -> dict[str, Any]:
    result = dict(spec)
    if "backend" in result:
        result["defaultBackend"] = _convert_backend(result.pop("backend"))
    rules = spec.get("rules")
    if isinstance(rules, list):
        result["rules"] = [_convert_rule(rule, keep_globs=keep_globs) for rule in rules]
    return _ordered("spec", result)


def _convert_rule(rule: Any, *, keep_globs: bool) -> Any:
    http = rule.get("http") if isinstance(rule, dict) else None
    if not isinstance(http, dict) or not isinstance(http.get("paths"), list):
        return rule
    paths = http["paths"]
    converted = [_convert_path(path, keep_globs=keep_globs) if isinstance(path, dict) else path for path in paths]
    return {**rule, "http": {**http, "paths": converted}}


def _convert_path(item: dict[str, Any], *, keep_globs: bool) -> dict[str, Any]:
    result = dict(item)
    if "backend" in item:
        result["backend"] = _convert_backend(item["backend"])
    if not item.get("pathType"):
        path = item.get("path")
        if not path:
            result["path"], result["pathType"] = "/", "Prefix"
        elif isinstance(path, str) and path.endswith("/*") and not keep_globs:
            result["path"], result["pathType"] = path[:-2] or "/", "Prefix"
        else:
            result["pathType"] = "ImplementationSpecific"
    return _ordered("path", result)


def _convert_backend(backend: Any) -> Any:
    if not isinstance(backend, dict) or not ("serviceName" in backend or "servicePort" in backend):
        return backend
    service: dict[str, Any] = {}
    if "serviceName" in backend:
        service["name"] = backend["serviceName"]
    if "servicePort" in backend:
        service["port"] = _convert_port(backend["servicePort"])
    rest = {key: value for key, value in backend.items() if key not in ("serviceName", "servicePort")}
    return {"service": service, **rest}


def _convert_port(port: Any) -> dict[str, Any]:
    # A quoted number was a common slip: a port name needs a letter, so nothing else can be meant.
    if isinstance(port, str) and port.isascii() and port.isdigit():
        return {"number": int(port)}
    return {"name": port} if isinstance(port, str) else {"number": port}


def _ordered(order: str, value: dict[str, Any]) -> dict[str, Any]:
    first = _ORDERS[order]
    return {key: value[key] for key in (*(key for key in first if key in value), *(k for k in value if k not in first))}


class _Dumper(yaml.SafeDumper):
    """Writes YAML as people do: no aliases, long texts as blocks."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
add_scalars(_Dumper)

_SEPARATOR: Final = re.compile(r"^---(?=\s|\Z).*\n?|^\.\.\.(?=\s|\Z).*\n?", re.MULTILINE)


def convert_documents(text: str, name: str) -> str:
    """The documents of a manifest as v1 YAML; those that hold no old form keep their text, comments included.

    ``name`` tells JSON (``.json``) from YAML. Of a document that is converted, only the comments on top stay.
    Raises ManifestError where the text does not parse.
    """
    try:
        return _convert_text(text, is_json=name.endswith(".json"))
    except ManifestError as error:
        error.name = name
        raise


def _convert_text(text: str, *, is_json: bool) -> str:
    if is_json:
        return "---\n".join(
            _dump(convert_object(d.data) if isinstance(d.data, dict) else d.data) for d in parse_json(text)
        )
    parts = []
    for document in parse_yaml(text):
        first, segment = _segment(text, document.line)
        converted = convert_object(document.data) if isinstance(document.data, dict) else document.data
        if converted is document.data:
            parts.append(segment.strip("\n") + "\n")
        else:
            head = segment.split("\n")[: document.line - first]
            comments = [line for line in head if line.startswith("#")]
            parts.append("".join(f"{line}\n" for line in comments) + _dump(converted))
    return "---\n".join(parts)


def _segment(text: str, line: int) -> tuple[int, str]:
    """The text between the separators around a line, and the line that it begins on."""
    lines = text.splitlines(keepends=True)
    first, last = line - 1, line
    while first > 0 and not _SEPARATOR.match(lines[first]) and not _SEPARATOR.match(lines[first - 1]):
        first -= 1
    while last < len(lines) and not _SEPARATOR.match(lines[last]):
        last += 1
    segment = "".join(lines[first:last])
    # "--- {a: 1}" and "--- # comment" hold content behind the separator.
    return first + 1, segment.removeprefix("---").lstrip(" ") if segment.startswith("---") else segment


def _dump(data: Any) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000)
