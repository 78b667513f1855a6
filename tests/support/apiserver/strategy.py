"""What the server makes of an object that somebody writes: the fields it fills, keeps and counts."""

from __future__ import annotations

import itertools
import random
import string
import uuid
from datetime import UTC, datetime
from typing import Any, Final

from tests.support.apiserver.failures import ApiError, bad_request, conflict, invalid
from tests.support.apiserver.kinds import Resource

__all__ = ["for_create", "for_delete", "for_update", "now"]

_OWNED: Final = ("uid", "creationTimestamp", "deletionTimestamp", "resourceVersion", "generation", "managedFields")
"""Fields of ``metadata`` that only the server writes."""
_clusters: Final = itertools.count(1)


def now() -> str:
    """In whole seconds, as the API has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def for_create(resource: Resource, body: dict[str, Any], namespace: str) -> dict[str, Any]:
    """A new object. Raises BadRequest for a version, a wrong namespace; Invalid without any name."""
    value: dict[str, Any] = _pruned(body)
    given = value.get("metadata", {})
    if given.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    metadata = {key: each for key, each in given.items() if key not in _OWNED}
    if not metadata.get("name"):
        if not (prefix := metadata.get("generateName")):
            raise invalid(resource, "", [("metadata.name", "FieldValueRequired", "name or generateName is required")])
        metadata["name"] = prefix + "".join(random.choices(string.digits + "bcdfghjklm", k=5))
    _place(resource, metadata, namespace)
    metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
    if resource.generation:
        metadata["generation"] = 1
    if resource.status:
        value.pop("status", None)
    value["metadata"] = metadata
    _fill(resource, value)
    return value


def for_update(
    resource: Resource, old: dict[str, Any], body: dict[str, Any], *, subresource: str = "", must_match: bool = False
) -> dict[str, Any]:
    """The object after an update; equal to ``old`` when nothing changes.

    Raises Conflict for another version or uid, Invalid when a version is missing that ``must_match`` demands.
    """
    value: dict[str, Any] = _pruned(body)
    given, kept = value.get("metadata", {}), old["metadata"]
    name = kept["name"]
    _must_be_meant(resource, given, kept, must_match=must_match)
    if subresource == "status":
        return old | {"status": value.get("status", {})}
    if given.get("name", name) != name:
        raise bad_request(f"the name of the object ({given['name']}) does not match the name on the URL ({name})")
    metadata = {key: each for key, each in given.items() if key not in _OWNED}
    _place(resource, metadata, kept.get("namespace", ""))
    metadata |= {key: kept[key] for key in ("name", *_OWNED) if key in kept}
    value["metadata"] = metadata
    if resource.status:
        value.pop("status", None)
        if "status" in old:
            value["status"] = old["status"]
    _fill(resource, value, old)
    value |= {"kind": resource.kind, "apiVersion": resource.api_version}
    if resource.generation and _spec(value) != _spec(old):
        metadata["generation"] = kept.get("generation", 0) + 1
    return value


def _must_be_meant(resource: Resource, given: dict[str, Any], kept: dict[str, Any], *, must_match: bool) -> None:
    name, version = kept["name"], given.get("resourceVersion")
    if version and version != kept["resourceVersion"]:
        raise conflict(resource, name)
    if given.get("uid") and given["uid"] != kept["uid"]:
        why = f"Precondition failed: UID in precondition: {given['uid']}, UID in object meta: {kept['uid']}"
        raise conflict(resource, name, why)
    if must_match and not version:
        cause = ("metadata.resourceVersion", "FieldValueInvalid", "must be specified for an update")
        raise invalid(resource, name, [cause])


def for_delete(resource: Resource, old: dict[str, Any], options: dict[str, Any]) -> dict[str, Any] | None:
    """``None``: it goes at once; else the object that waits for its finalizers. Raises Conflict."""
    wanted = options.get("preconditions") or {}
    for field in ("uid", "resourceVersion"):
        if wanted.get(field) and wanted[field] != old["metadata"][field]:
            raise conflict(resource, old["metadata"]["name"], f"Precondition failed: {field} differs")
    if not old["metadata"].get("finalizers"):
        return None
    if "deletionTimestamp" in old["metadata"]:
        return old
    return old | {"metadata": old["metadata"] | {"deletionTimestamp": now(), "deletionGracePeriodSeconds": 0}}


def _spec(value: dict[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in value.items() if key not in ("metadata", "status")}


def _place(resource: Resource, metadata: dict[str, Any], namespace: str) -> None:
    if not resource.namespaced:
        metadata.pop("namespace", None)
        return
    if metadata.get("namespace", namespace) != namespace:
        raise ApiError(400, "the namespace of the provided object does not match the namespace sent on the request")
    metadata["namespace"] = namespace


def _pruned(value: Any) -> Any:
    """Without nulls, which typed objects do not keep."""
    if isinstance(value, dict):
        return {key: _pruned(each) for key, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_pruned(each) for each in value]
    return value


def _fill(resource: Resource, value: dict[str, Any], old: dict[str, Any] | None = None) -> None:
    """Defaults of the kinds that clients rely on."""
    if resource.kind == "Service":
        _fill_service(value.setdefault("spec", {}), (old or {}).get("spec", {}))
        value.setdefault("status", {"loadBalancer": {}})
    elif resource.kind == "Ingress":
        value.setdefault("status", {"loadBalancer": {}})
    elif resource.kind == "Namespace":
        value.setdefault("status", {"phase": "Active"})
        labels = value["metadata"].get("labels", {})
        value["metadata"]["labels"] = labels | {"kubernetes.io/metadata.name": value["metadata"]["name"]}
    elif resource.kind == "EndpointSlice":
        for port in value.get("ports", ()):
            port.setdefault("name", "")
            port.setdefault("protocol", "TCP")
    elif resource.kind == "Secret":
        value.setdefault("type", "Opaque")
        _fold_string_data(value)
    elif resource.kind == "CustomResourceDefinition":
        names = value.get("spec", {}).get("names", {})
        conditions = [{"type": each, "status": "True"} for each in ("NamesAccepted", "Established")]
        value.setdefault("status", {"acceptedNames": names, "conditions": conditions})


def _fill_service(spec: dict[str, Any], old: dict[str, Any]) -> None:
    spec.setdefault("type", "ClusterIP")
    for port in spec.get("ports", ()):
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
    if spec["type"] == "ExternalName":
        return
    if "clusterIP" not in spec:
        number = next(_clusters)
        spec["clusterIP"] = old.get("clusterIP") or f"10.{96 + number // 65536}.{number // 256 % 256}.{number % 256}"
    spec.setdefault("clusterIPs", [spec["clusterIP"]])


def _fold_string_data(value: dict[str, Any]) -> None:
    """``stringData`` is for writing only: it lands in ``data``."""
    import base64

    for key, text in value.pop("stringData", {}).items():
        value.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()
