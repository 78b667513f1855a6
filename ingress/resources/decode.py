"""One plain value, as YAML or JSON gives it, to one typed object and the problems of it. Pure.

Order: shape (types, unknown fields) → old forms to v1 → the API server's checks → what is wrong is left out
(see ``prune``) → the typed object.
"""

from __future__ import annotations

import base64
import difflib
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from ingress.resources import crd_fields, fields, validate
from ingress.resources.convert import INGRESS_V1, OLD_INGRESS_VERSIONS, convert_ingress, old_path
from ingress.resources.core import ConfigMap, Endpoints, Secret, Service
from ingress.resources.crd import OUR_GROUP, OUR_VERSION, IngressClassParameters, Response, TrafficPolicy
from ingress.resources.discovery import EndpointSlice
from ingress.resources.fault import Fault, FieldPath, field_text
from ingress.resources.meta import ObjectRef, Source
from ingress.resources.networking import Ingress, IngressClass
from ingress.resources.problem import Problem
from ingress.resources.prune import UNITS, compact, prune
from ingress.resources.schema import broken_rules
from ingress.resources.shape import Record, check
from ingress.resources.snapshot import KubernetesObject

__all__ = ["Decoded", "Locate", "decode_object", "expand_lists"]

Locate = Callable[[FieldPath], int]
"""The line of a field in its file."""


class Decoded(msgspec.Struct, frozen=True, kw_only=True):
    """What one document came to. No object and no problem: a kind that is not read here."""

    object: KubernetesObject | None = None
    ref: ObjectRef | None = None
    """Names the object also where it can not be used."""
    problems: tuple[Problem, ...] = ()


class _Kind(msgspec.Struct, frozen=True, kw_only=True):
    type: type[KubernetesObject]
    shapes: dict[str, Record]
    """By apiVersion."""
    check: Callable[[dict[str, Any]], Iterator[Fault]]
    namespaced: bool = True


def _our_kind(type_: type[KubernetesObject], shape: Record, *, namespaced: bool = True) -> _Kind:
    return _Kind(
        type=type_,
        shapes={OUR_VERSION: shape},
        check=lambda data: broken_rules(shape, data),
        namespaced=namespaced,
    )


_KINDS: Final[dict[str, _Kind]] = {
    "Ingress": _Kind(
        type=Ingress,
        shapes={INGRESS_V1: fields.INGRESS, **dict.fromkeys(OLD_INGRESS_VERSIONS, fields.INGRESS_V1BETA1)},
        check=validate.validate_ingress,
    ),
    "IngressClass": _Kind(
        type=IngressClass,
        shapes=dict.fromkeys((INGRESS_V1, "networking.k8s.io/v1beta1"), fields.INGRESS_CLASS),
        check=validate.validate_ingress_class,
        namespaced=False,
    ),
    "Service": _Kind(type=Service, shapes={"v1": fields.SERVICE}, check=validate.validate_service),
    "EndpointSlice": _Kind(
        type=EndpointSlice,
        shapes={
            "discovery.k8s.io/v1": fields.ENDPOINT_SLICE,
            "discovery.k8s.io/v1beta1": fields.ENDPOINT_SLICE_V1BETA1,
        },
        check=validate.validate_endpoint_slice,
    ),
    "Endpoints": _Kind(type=Endpoints, shapes={"v1": fields.ENDPOINTS}, check=validate.validate_endpoints),
    "Secret": _Kind(type=Secret, shapes={"v1": fields.SECRET}, check=validate.validate_secret),
    "ConfigMap": _Kind(type=ConfigMap, shapes={"v1": fields.CONFIG_MAP}, check=validate.validate_config_map),
    "IngressClassParameters": _our_kind(IngressClassParameters, crd_fields.CLASS_PARAMETERS, namespaced=False),
    "Response": _our_kind(Response, crd_fields.RESPONSE),
    "TrafficPolicy": _our_kind(TrafficPolicy, crd_fields.TRAFFIC_POLICY),
}

_OUR_VERSIONS: Final = frozenset(version for kind in _KINDS.values() for version in kind.shapes)


def expand_lists(data: Any, at: FieldPath = ()) -> Iterator[tuple[FieldPath, Any]]:
    """The objects in a document, with their places: the document itself, or the items of a List or IngressList."""
    kind = data.get("kind") if isinstance(data, dict) else None
    items = data.get("items") if isinstance(data, dict) else None
    if not isinstance(kind, str) or not kind.endswith("List") or not isinstance(items, list):
        yield at, data
        return
    item_kind = kind.removesuffix("List")
    given = {"apiVersion": data.get("apiVersion"), "kind": item_kind} if item_kind in _KINDS else {}
    for index, item in enumerate(items):
        # The API server leaves kind and apiVersion out of the items of a typed list.
        yield from expand_lists({**given, **item} if isinstance(item, dict) else item, (*at, "items", index))


def decode_object(data: Any, source: Source | None = None, locate: Locate | None = None) -> Decoded:
    """Decode one object; a List is to be expanded first.

    ``locate`` gives the problems the line of their field; without it they have the line of ``source``.
    Never raises for bad input.
    """
    report = _Reporter(source, locate)
    if not isinstance(data, dict):
        return report.unnamed((), "NotAnObject", "a manifest holds mappings with apiVersion and kind")
    name, version = data.get("kind"), data.get("apiVersion")
    for field, value in (("kind", name), ("apiVersion", version)):
        if not isinstance(value, str) or not value:
            return report.unnamed((field,), "RequiredField", f"every object needs {field}")
    assert isinstance(name, str)
    assert isinstance(version, str)
    kind = _KINDS.get(name)
    if name == "List" and data.get("items") is not None:
        return report.unnamed(("items",), "InvalidType", "must be a list")
    if kind is None:
        return _other_kind(name, version, report)
    ref = _ref(name, kind, data.get("metadata"))
    if version in kind.shapes:
        return _decode(data, kind, ref, report)
    if not _is_kubernetes_group(version):
        return Decoded()
    message = f'"{version}" has no {name} that is read here; use {next(iter(kind.shapes))}'
    return Decoded(ref=ref, problems=report.problems(ref, [_fault("apiVersion", "UnsupportedVersion", message)]))


def _decode(data: dict[str, Any], kind: _Kind, ref: ObjectRef, report: _Reporter) -> Decoded:
    version, units = data["apiVersion"], UNITS[ref.kind]
    found: list[Fault] = []
    cleaned = check(kind.shapes[version], data, (), found)
    faults, usable = prune(cleaned, found, units)
    old = ref.kind == "Ingress" and version in OLD_INGRESS_VERSIONS
    if old:
        cleaned = convert_ingress(cleaned)
    checks = [*validate.validate_metadata(cleaned.get("metadata"), name_is_label=ref.kind == "Service")]
    checks += kind.check(cleaned)
    more, still_usable = prune(cleaned, _news(checks, found, old=old), units)
    faults += [msgspec.structs.replace(fault, path=old_path(fault.path)) for fault in more] if old else more
    value: KubernetesObject | None = None
    rest: list[Fault] = []
    if usable and still_usable:
        value, rest = _typed(compact(ref.kind, cleaned), kind, ref, report.source)
    return Decoded(object=value, ref=ref, problems=report.problems(ref, faults + rest))


def _news(checks: list[Fault], known: list[Fault], *, old: bool) -> list[Fault]:
    """Without the faults that only follow from a wrong type at the same place."""
    places = [fault.path for fault in known if not fault.harmless]
    news = []
    for fault in checks:
        path = old_path(fault.path) if old else fault.path
        if not any(path[: len(place)] == place or place[: len(path)] == path for place in places):
            news.append(fault)
    return news


def _typed(data: dict[str, Any], kind: _Kind, ref: ObjectRef, source: Source | None) -> tuple[Any, list[Fault]]:
    if kind.type is Secret:
        data["data"] = _secret_data(data)
    if kind.type is ConfigMap:
        data["binaryData"] = {key: base64.b64decode(value) for key, value in data.get("binaryData", {}).items()}
    data["metadata"]["namespace"] = ref.namespace
    try:
        value = msgspec.convert(data, kind.type)
    except msgspec.ValidationError as error:
        return None, [Fault(path=(), reason="InvalidObject", message=str(error))]
    return msgspec.structs.replace(value, source=source), []


def _secret_data(data: dict[str, Any]) -> dict[str, bytes]:
    decoded = {key: base64.b64decode(value) for key, value in data.get("data", {}).items()}
    return decoded | {key: value.encode() for key, value in data.get("stringData", {}).items()}


def _ref(name: str, kind: _Kind, metadata: Any) -> ObjectRef:
    data = metadata if isinstance(metadata, dict) else {}
    own, namespace = data.get("name"), data.get("namespace")
    return ObjectRef(
        kind=name,
        namespace=(namespace if isinstance(namespace, str) and namespace else "default") if kind.namespaced else "",
        name=own if isinstance(own, str) else "",
    )


def _other_kind(name: str, version: str, report: _Reporter) -> Decoded:
    close = difflib.get_close_matches(name, _KINDS, n=1, cutoff=0.85) if version in _OUR_VERSIONS else []
    if not close:
        return Decoded()
    return report.unnamed(("kind",), "UnknownKind", f'"{version}" has no kind "{name}": did you mean "{close[0]}"?')


def _is_kubernetes_group(version: str) -> bool:
    """Or ours. Other groups may have kinds of the same name, such as Service of Knative: these are not ours."""
    group, slash, _ = version.rpartition("/")
    return not slash or "." not in group or group.endswith(".k8s.io") or group == OUR_GROUP


def _fault(field: str, reason: str, message: str) -> Fault:
    return Fault(path=(field,), reason=reason, message=message)


class _Reporter:
    """Turns faults into problems."""

    def __init__(self, source: Source | None, locate: Locate | None) -> None:
        self.source = source
        self._locate = locate

    def problems(self, ref: ObjectRef, faults: list[Fault]) -> tuple[Problem, ...]:
        """In the order of their lines."""
        problems = [
            Problem(
                object=ref,
                field=field_text(fault.path),
                reason=fault.reason,
                message=fault.message,
                source=self._source_of(fault.path),
            )
            for fault in faults
        ]
        return tuple(sorted(problems, key=lambda problem: problem.source.line if problem.source else 0))

    def unnamed(self, path: FieldPath, reason: str, message: str) -> Decoded:
        """A document that names no object: the problem is of its file."""
        ref = ObjectRef(kind="File", name=self.source.file if self.source else "")
        return Decoded(problems=self.problems(ref, [Fault(path=path, reason=reason, message=message)]))

    def _source_of(self, path: FieldPath) -> Source | None:
        if self.source is None or self._locate is None:
            return self.source
        return msgspec.structs.replace(self.source, line=self._locate(path))
