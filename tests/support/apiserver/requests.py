"""What a request means: path, method and query → action; and the log of all that were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import yaml

from tests.support.apiserver.access import Action
from tests.support.apiserver.failures import ApiError, bad_request
from tests.support.apiserver.kinds import Resource, resource_at
from tests.support.apiserver.selectors import fixed_field

__all__ = ["Logged", "is_true", "read_action", "read_body", "read_version"]

_VERBS: Final = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_OF_NAMESPACE: Final = ("status", "finalize")


@dataclass(slots=True, kw_only=True)
class Logged:
    """One request, as tests ask about it; ``code`` is 0 until it was answered."""

    verb: str
    plural: str
    """With its subresource: ``ingresses/status``."""
    namespace: str
    name: str
    user: str
    path: str
    agent: str = ""
    params: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | list[Any] | None = None
    code: int = 0


def read_action(method: str, path: str, query: Mapping[str, str]) -> Action:
    """Raises 404 for an unknown path, 405 for a method that the path does not have."""
    parts = [part for part in path.split("/") if part]
    if parts[:2] == ["api", "v1"]:
        group, version, rest = "", "v1", parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        raise _no_such_path()
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and not (len(rest) == 3 and rest[2] in _OF_NAMESPACE):
        namespace, rest = rest[1], rest[2:]
    resource = resource_at(group, version, rest[0])
    if resource is None or len(rest) > 3 or (namespace and not resource.namespaced):
        raise _no_such_path()
    name, subresource = (*rest[1:], "", "")[:2]
    if subresource not in ("", "status") or (subresource and not resource.status):
        raise _no_such_path()
    return _action(method, query, resource, namespace, name, subresource)


def _action(
    method: str, query: Mapping[str, str], resource: Resource, namespace: str, name: str, subresource: str
) -> Action:
    verb = _VERBS.get(method, "")
    if verb == "get" and not name:
        verb = "watch" if is_true(query, "watch") else "list"
    elif verb == "delete" and not name:
        verb = "deletecollection"
    needs_namespace = resource.namespaced and not namespace and (name or verb == "create")
    if not verb or (verb == "create" and name) or (verb in ("update", "patch") and not name) or needs_namespace:
        raise ApiError(405, "the server does not allow this method on the requested resource")
    if verb in ("list", "watch", "deletecollection"):
        name = fixed_field(query.get("fieldSelector", ""), "metadata.name")
    return Action(verb=verb, resource=resource, subresource=subresource, namespace=namespace, name=name)


def _no_such_path() -> ApiError:
    return ApiError(404, "the server could not find the requested resource")


def is_true(query: Mapping[str, str], name: str) -> bool:
    """A flag in the query."""
    return query.get(name, "").lower() in ("1", "true")


def read_version(text: str) -> int | None:
    """A ``resourceVersion`` of the query; ``None`` when it is not given."""
    if not text:
        return None
    if not text.isdecimal():
        raise bad_request(f"invalid resource version {text!r}")
    return int(text)


def read_body(data: bytes, content_type: str) -> Any:
    """JSON, or YAML where its content type says so."""
    if not data:
        return {}
    if "protobuf" in content_type or "cbor" in content_type:
        raise ApiError(415, f"the body of the request was in an unknown format: {content_type}")
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        if "yaml" not in content_type:
            raise bad_request(f"the object provided is unrecognized: {error}") from None
    return msgspec.json.decode(msgspec.json.encode(yaml.safe_load(data)))
