"""What is left out of an object that has faults: the smallest unit whose absence cannot send traffic elsewhere.

The rules for an Ingress:

1. A path whose ``path`` or ``pathType`` is wrong has no place in the table: that path is left out.
2. A path whose backend is wrong keeps its place with no backend, so that its requests are refused instead of going
   to the backend of a shorter path. The same holds for the default backend.
3. A rule whose host is wrong, or that is not of the right form, is left out: no host would mean every host.
4. A TLS entry keeps its good hosts; without a good one it is left out, because no host would mean every host.
   A wrong Secret name means the default certificate.
   The default backend goes with the last rule: alone it would serve every host.
5. A fault anywhere else that matters (name, class, labels, annotations) leaves out the whole object: it is not known
   whose it is, or what it asks to be kept away.

The other kinds lose the port, address, key or field that is wrong. A part of a TrafficPolicy that keeps clients out is
not just lost: the object remembers it in ``broken``, so that its targets close instead of opening. A Response has no
smaller unit than itself: without it, its routes answer 503.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from ingress.resources.fault import Fault, FieldPath
from ingress.resources.fields import METADATA, SERVICE_SPEC

__all__ = ["UNITS", "Unit", "compact", "prune"]


class Unit(msgspec.Struct, frozen=True):
    """``pattern``: a field path with ``*`` for any step. ``consequence`` ends the message for people."""

    pattern: tuple[str, ...]
    consequence: str
    emptied: bool = False
    """The unit becomes an empty mapping instead of being left out."""
    remembered: bool = False
    """The last step of its path is added to ``broken`` of the object."""


_READ_METADATA: Final = {"name", "namespace", "uid", "resourceVersion", "labels", "annotations"}
_READ_SERVICE: Final = {"type", "clusterIP", "externalName", "ports"}
_UNUSED: Final = "this field is left out"
_UNSET: Final = "it counts as not set"
_NO_BACKEND: Final = "its requests get no backend"

_EVERY_KIND: Final = (
    Unit(("status",), _UNUSED),
    *(Unit(("metadata", name), _UNUSED) for name in METADATA.fields if name not in _READ_METADATA),
)

_INGRESS: Final = (
    Unit(("spec", "rules", "*", "http", "paths", "*", "backend"), _NO_BACKEND, emptied=True),
    Unit(("spec", "rules", "*", "http", "paths", "*"), "this path is left out"),
    Unit(("spec", "rules", "*"), "this rule is left out"),
    Unit(("spec", "tls", "*", "hosts", "*"), "this host is left out"),
    Unit(("spec", "tls", "*", "secretName"), "the default certificate is used"),
    Unit(("spec", "tls", "*"), "this TLS entry is left out"),
    Unit(("spec", "defaultBackend"), _NO_BACKEND, emptied=True),
    Unit(("spec", "backend"), _NO_BACKEND, emptied=True),
)

_EDITS: Final = tuple(
    Unit(("spec", message, edit, "*"), "this header field is left alone")
    for message in ("requestHeaders", "responseHeaders")
    for edit in ("set", "add", "remove")
)

_TRAFFIC_POLICY: Final = (
    *(
        Unit(("spec", part), "what this policy is attached to answers 503", remembered=True)
        for part in ("access", "rateLimit", "cors", "upstream")
    ),
    Unit(("spec", "targetRefs", "*"), "this target is left out"),
    *_EDITS,
    *(Unit(("spec", part, "*"), _UNSET) for part in ("timeouts", "limits", "ejection", "requestHeaders")),
    Unit(("spec", "*"), _UNSET),
)

_CLASS_PARAMETERS: Final = (
    *_EDITS,
    Unit(("spec", "trustedProxies", "*"), "this range is not trusted"),
    Unit(("spec", "upstream", "ejection", "*"), _UNSET),
    *(Unit(("spec", part, "*"), _UNSET) for part in ("timeouts", "limits", "upstream")),
    Unit(("spec", "*"), _UNSET),
)

UNITS: Final[dict[str, tuple[Unit, ...]]] = {
    "Ingress": (*_INGRESS, *_EVERY_KIND),
    "IngressClass": (Unit(("spec", "parameters"), "the class has no parameters"), *_EVERY_KIND),
    "Service": (
        Unit(("spec", "ports", "*"), "this port is left out"),
        *(Unit(("spec", name), _UNUSED) for name in SERVICE_SPEC.fields if name not in _READ_SERVICE),
        *_EVERY_KIND,
    ),
    "EndpointSlice": (
        Unit(("endpoints", "*"), "this endpoint is left out"),
        Unit(("ports", "*"), "this port is left out"),
        *_EVERY_KIND,
    ),
    "Endpoints": (
        Unit(("subsets", "*", "addresses", "*"), "this address is left out"),
        Unit(("subsets", "*", "notReadyAddresses", "*"), "this address is left out"),
        Unit(("subsets", "*", "ports", "*"), "this port is left out"),
        Unit(("subsets", "*"), "this subset is left out"),
        *_EVERY_KIND,
    ),
    "Secret": (
        Unit(("data", "*"), "this key is left out"),
        Unit(("stringData", "*"), "this key is left out"),
        Unit(("immutable",), _UNUSED),
        *_EVERY_KIND,
    ),
    "ConfigMap": (
        Unit(("data", "*"), "this key is left out"),
        Unit(("binaryData", "*"), "this key is left out"),
        Unit(("immutable",), _UNUSED),
        *_EVERY_KIND,
    ),
    "IngressClassParameters": (*_CLASS_PARAMETERS, *_EVERY_KIND),
    "Response": _EVERY_KIND,
    "TrafficPolicy": (*_TRAFFIC_POLICY, *_EVERY_KIND),
}
"""The first that is a beginning of a fault's path counts; none: the whole object."""


def prune(data: dict[str, Any], faults: Iterable[Fault], units: tuple[Unit, ...]) -> tuple[list[Fault], bool]:
    """Take the units of the faults out of ``data``, in place, and tell the consequence in each fault.

    What is left out becomes ``None``, so that later faults still find their index: see ``compact``.
    The second value is false where the whole object is to be left out.
    """
    told: list[Fault] = []
    usable = True
    for fault in faults:
        unit = None if fault.harmless else _unit_of(fault.path, units)
        if unit is None:
            usable = usable and fault.harmless
            told.append(fault)
            continue
        _take_out(data, fault.path[: len(unit.pattern)], {} if unit.emptied else None)
        if unit.remembered:
            broken = data.setdefault("broken", [])
            broken += [unit.pattern[-1]] if unit.pattern[-1] not in broken else []
        told.append(msgspec.structs.replace(fault, message=f"{fault.message}; {unit.consequence}"))
    return told, usable


def _unit_of(path: FieldPath, units: tuple[Unit, ...]) -> Unit | None:
    for unit in units:
        if len(path) >= len(unit.pattern) and all(
            wanted in ("*", step) for wanted, step in zip(unit.pattern, path, strict=False)
        ):
            return unit
    return None


def _take_out(data: Any, path: FieldPath, replacement: dict[str, Any] | None) -> None:
    for step in path[:-1]:
        data = data[step]
        if data is None:  # a unit around this one is out already
            return
    data[path[-1]] = replacement


def compact(kind: str, data: Any) -> Any:
    """A copy without what ``prune`` left out."""
    spec = data.get("spec") if isinstance(data, dict) else None
    if kind == "Ingress" and isinstance(spec, dict):
        _leave_out_hostless_tls(spec)
        rules = spec.get("rules")
        if isinstance(rules, list) and rules and all(rule is None for rule in rules):
            spec["defaultBackend"] = None
        _number(spec)
    return _without_none(data)


def _leave_out_hostless_tls(spec: dict[str, Any]) -> None:
    entries = spec.get("tls")
    if not isinstance(entries, list):
        return
    for index, entry in enumerate(entries):
        hosts = entry.get("hosts") if isinstance(entry, dict) else None
        if isinstance(hosts, list) and hosts and all(host is None for host in hosts):
            entries[index] = None


def _number(spec: dict[str, Any]) -> None:
    """Let what stands behind a gap remember its place, so that later problems name the field as its author counts."""
    rules = spec.get("rules")
    lists = [rules, spec.get("tls")]
    for rule in rules if isinstance(rules, list) else ():
        http = rule.get("http") if isinstance(rule, dict) else None
        lists.append(http.get("paths") if isinstance(http, dict) else None)
    for items in lists:
        if isinstance(items, list) and None in items:
            for index, item in enumerate(items):
                if isinstance(item, dict):
                    item["index"] = index


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value if item is not None]
    return value
