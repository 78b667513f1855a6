"""What a change to one object would bring, and whether to let it in.

1. Only CREATE and UPDATE of an Ingress of ours or of our own kinds are judged. Whatever else comes is allowed: DELETE,
   subresources, other kinds, an object that is being deleted, and a change of nothing that is read here.
2. Refused is what ``pyngress check`` calls an error, if it lies in the object itself.
3. What lies in other objects only warns (:func:`lies_elsewhere`).
4. An UPDATE is refused for what it brings, not for what was there: errors of the old object only warn, so that a
   broken Ingress can still be labelled, and be mended in steps.
5. The older Ingress wins a path once both exist. Here the newcomer is the change, whatever the age of its object: an
   old Ingress must not take a path that a younger one already serves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from ingress.admin.admission import AdmissionRequest, ReviewError, Verdict
from ingress.resources import Ingress, IngressSpec, ObjectMeta, Problem
from ingress.resources.crd import OUR_GROUP
from ingress.resources.decode import Decoded, decode_object

__all__ = ["ELSEWHERE", "Judge", "lies_elsewhere", "review"]

Judge = Callable[[Ingress], Awaitable[Sequence[Problem] | None]]
"""The problems that the Ingress would have if it were applied now, in place of the one of its name.
``None``: it is not ours."""

ELSEWHERE: Final = frozenset(
    {
        "BadCertificate",
        "BadHeader",
        "BadResponse",
        "BodyTooLarge",
        "CertificateExpired",
        "CertificateExpiresSoon",
        "CertificateNotYetValid",
        "ExternalNameRefused",
        "HostNotCovered",
        "NoEndpoints",
        "UnknownField",
        "UnsupportedVersion",
    }
)
"""Reasons, beside those that end in ``NotFound``, that never refuse.

They are about what other objects hold or whether these exist at all: ``kubectl apply -f folder`` has no order,
cert-manager writes a Secret after its Ingress, and Secrets are renewed. A field or version that is unknown here passed
the schema of the API server, which may be newer than ours.
"""

_INGRESS_GROUPS: Final = frozenset({"networking.k8s.io", "extensions"})
_OUR_KINDS: Final = frozenset({"IngressClassParameters", "Response", "TrafficPolicy"})
_LEGACY_CLASS: Final = "kubernetes.io/ingress.class"
_NEWEST: Final = "9999-12-31T23:59:59Z"
_UNREAD_METADATA: Final = frozenset(
    {"managedFields", "resourceVersion", "generation", "finalizers", "ownerReferences", "selfLink", "uid"}
)


def lies_elsewhere(problem: Problem) -> bool:
    """Whether it is about another object, so that the one at hand may be right."""
    return problem.reason in ELSEWHERE or problem.reason.endswith("NotFound")


async def review(request: AdmissionRequest, judge: Judge) -> Verdict:
    """Raises :class:`ReviewError` for a request without what it needs, and what ``judge`` raises."""
    if request.operation not in ("CREATE", "UPDATE") or request.sub_resource or not _is_read(request):
        return Verdict()
    if request.object is None:
        raise ReviewError(f"request.object is missing in {request.operation}")
    new = _complete(request.object, request)
    old = None if request.operation == "CREATE" or request.old_object is None else request.old_object
    if new["kind"] != request.kind.kind:
        raise ReviewError("request.object is of another kind than request.kind")
    if new["metadata"].get("deletionTimestamp"):
        return Verdict()
    if old is not None:
        old = _complete(old, request)
        if old["kind"] == new["kind"] and _read_part(old) == _read_part(new):
            return Verdict()
    return await _compare(new, old, judge)


async def _compare(data: dict[str, Any], before: dict[str, Any] | None, judge: Judge) -> Verdict:
    new = _Side(data)
    found = await new.problems(judge, as_newest=True)
    if found is None:
        return Verdict()
    errors = [problem for problem in found if problem.severity == "error" and not lies_elsewhere(problem)]
    if before is None:
        return _verdict(errors, found)
    if errors:
        errors = _added(errors, await _Side(before).problems(judge, as_newest=True) or ())
    # What is told stays what will be: at its true age the object may well win.
    return _verdict(errors, await new.problems(judge, as_newest=False) or ())


def _verdict(errors: Iterable[Problem], found: Iterable[Problem]) -> Verdict:
    refused = _in_order(errors)
    return Verdict(errors=refused, warnings=_in_order(problem for problem in found if problem not in refused))


def _in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(set(problems), key=lambda problem: (*problem.sort_key, problem.severity)))


def _added(errors: Sequence[Problem], before: Iterable[Problem]) -> list[Problem]:
    """The errors that were not there before. One that only moved to another field was."""
    standing = set(before)
    moved = Counter((problem.reason, problem.message) for problem in standing - set(errors))
    added = []
    for problem in errors:
        if problem in standing:
            continue
        if moved[problem.reason, problem.message] > 0:
            moved[problem.reason, problem.message] -= 1
        else:
            added.append(problem)
    return added


class _Side:
    """One of the two objects of an update, decoded once."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._decoded = decode_object(data)
        self._is_ingress = data["kind"] == "Ingress"
        value = self._decoded.object
        self._ingress = value if isinstance(value, Ingress) else _outline(data, self._decoded)

    async def problems(self, judge: Judge, *, as_newest: bool) -> list[Problem] | None:
        """Everything that is wrong with it; ``None``: it is not ours."""
        found = self._decoded.problems
        if not self._is_ingress:
            return list(found)
        judged = await judge(_newest(self._ingress) if as_newest else self._ingress)
        if judged is None:
            return None
        if any(problem.reason == "ClassNotFound" for problem in judged):
            return list(judged)  # nobody's: whether the rest is right is not for us to say
        return [*found, *(judged if self._decoded.object is not None else ())]


def _newest(ingress: Ingress) -> Ingress:
    metadata = msgspec.structs.replace(ingress.metadata, creation_timestamp=_NEWEST)
    return msgspec.structs.replace(ingress, metadata=metadata)


def _outline(data: dict[str, Any], decoded: Decoded) -> Ingress:
    """Of an Ingress that cannot be used: its name and class, enough to tell whose it is."""
    spec, annotations = data.get("spec"), data["metadata"].get("annotations")
    name = spec.get("ingressClassName") if isinstance(spec, dict) else None
    legacy = annotations.get(_LEGACY_CLASS) if isinstance(annotations, dict) else None
    ref = decoded.ref
    return Ingress(
        metadata=ObjectMeta(
            name=ref.name if ref else "",
            namespace=ref.namespace if ref else "",
            annotations={_LEGACY_CLASS: legacy} if isinstance(legacy, str) else {},
        ),
        spec=IngressSpec(ingress_class_name=name if isinstance(name, str) else None),
    )


def _is_read(request: AdmissionRequest) -> bool:
    group, kind = request.kind.group, request.kind.kind
    return (kind == "Ingress" and group in _INGRESS_GROUPS) or (group == OUR_GROUP and kind in _OUR_KINDS)


def _complete(data: dict[str, Any], request: AdmissionRequest) -> dict[str, Any]:
    """The object with what the request knows beside it, and without what only the API server reads."""
    given = data.get("metadata")
    metadata = {key: value for key, value in given.items() if key != "managedFields"} if isinstance(given, dict) else {}
    if not metadata.get("name"):
        # A name that is still to be made from generateName.
        prefix = metadata.get("generateName")
        metadata["name"] = request.name or (f"{prefix}00000" if isinstance(prefix, str) and prefix else "")
    if request.namespace:
        metadata["namespace"] = request.namespace
    kind = {"apiVersion": request.kind.api_version, "kind": request.kind.kind}
    own = {key: value for key, value in data.items() if key != "status" and value is not None}
    return {**kind, **own, "metadata": metadata}


def _read_part(data: dict[str, Any]) -> dict[str, Any]:
    """What a change must touch to mean anything here."""
    metadata = {key: value for key, value in data["metadata"].items() if key not in _UNREAD_METADATA}
    return {**data, "metadata": metadata}
