"""One object as the API server sends it, to one typed object.

1. The server checked built-in kinds when it stored them: they are decoded straight to their types. What that cannot
   read goes through the checks for manifests, which leave out what is wrong and name it.
2. Our own kinds go through those checks always.
3. What changes without meaning is left out, so that only real differences are seen: ``resourceVersion``, the status of
   Ingresses and of our kinds, and the copy of the object that ``kubectl apply`` keeps in an annotation.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ingress.resources import Ingress, Key, LoadBalancerAddress, ObjectMeta, ObjectRef, Problem, Service, ServiceStatus
from ingress.resources.decode import decode_object
from ingress.watch.kinds import WatchedKind

__all__ = ["Head", "Stored", "decode", "decode_head", "is_older"]

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"

Json = bytes | msgspec.Raw


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """An object as it is in the API server. ``value`` of ``None``: it cannot be used; the problems say why."""

    key: Key
    version: str
    """``resourceVersion``."""
    value: Any
    addresses: tuple[LoadBalancerAddress, ...] = ()
    """``status.loadBalancer.ingress`` of an Ingress."""
    problems: tuple[Problem, ...] = ()


class _HeadMeta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What names an object."""

    metadata: _HeadMeta = _HeadMeta()

    @property
    def key(self) -> Key:
        return (self.metadata.namespace, self.metadata.name)

    @property
    def version(self) -> str:
        return self.metadata.resource_version


class _WithStatus(msgspec.Struct, frozen=True, kw_only=True):
    status: ServiceStatus = ServiceStatus()


_head_decoder: Final = msgspec.json.Decoder(Head)
_status_decoder: Final = msgspec.json.Decoder(_WithStatus)
_decoders: Final[dict[type[Any], msgspec.json.Decoder[Any]]] = {}


def decode_head(data: Json) -> Head:
    """Raises :class:`msgspec.DecodeError`."""
    return _head_decoder.decode(data)


def decode(kind: WatchedKind, data: Json, head: Head) -> Stored:
    """Never raises for an object that is wrong."""
    value: Any = None
    problems: tuple[Problem, ...] = ()
    if kind.ours:
        value, problems = _decode_checked(kind, data, head)
    else:
        try:
            value = _decoder(kind).decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            value, problems = _decode_checked(kind, data, head)
    if value is not None:
        _forget_what_has_no_meaning(value.metadata)
    addresses = _addresses(data) if kind.type is Ingress else ()
    return Stored(key=head.key, version=head.version, value=value, addresses=addresses, problems=problems)


def is_older(version: str, than: str) -> bool:
    """Versions of one collection are ordered where they are numbers; others cannot be compared: never older."""
    return version.isdigit() and than.isdigit() and int(version) < int(than)


def _decoder(kind: WatchedKind) -> msgspec.json.Decoder[Any]:
    decoder = _decoders.get(kind.type)
    if decoder is None:
        decoder = _decoders[kind.type] = msgspec.json.Decoder(kind.type)
    return decoder


def _forget_what_has_no_meaning(metadata: ObjectMeta) -> None:
    # Nobody else holds the object yet, so it may still be changed: a copy would double the cost of a long list.
    msgspec.structs.force_setattr(metadata, "resource_version", "")
    metadata.annotations.pop(LAST_APPLIED, None)


def _addresses(data: Json) -> tuple[LoadBalancerAddress, ...]:
    try:
        return _status_decoder.decode(data).status.load_balancer.ingress
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ()


def _decode_checked(kind: WatchedKind, data: Json, head: Head) -> tuple[Any, tuple[Problem, ...]]:
    ref = ObjectRef(kind=kind.name, namespace=head.metadata.namespace, name=head.metadata.name)
    try:
        plain = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return None, (_unusable(ref, str(error)),)
    plain.update(apiVersion=kind.api_version, kind=kind.name)  # items of a list lack both
    if kind.type is not Service:
        plain.pop("status", None)
    decoded = decode_object(plain)
    if decoded.object is None and not decoded.problems:
        return None, (_unusable(ref, f"no {kind.name} is read by this version"),)
    return decoded.object, decoded.problems


def _unusable(ref: ObjectRef, message: str) -> Problem:
    return Problem(object=ref, field="", reason="InvalidObject", message=message)
