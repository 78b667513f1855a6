"""Who may do what: bearer tokens, and rules from the users themselves or from the Roles that the server stores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.support.apiserver.failures import ApiError, forbidden
from tests.support.apiserver.kinds import Resource, resource_at
from tests.support.apiserver.storage import Storage

__all__ = ["ADMIN", "Action", "Rule", "User", "authorize"]

_RBAC: Final = "rbac.authorization.k8s.io"
_MASTERS: Final = "system:masters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is allowed; ``*`` stands for all. ``names`` empty: every name. ``namespaces`` hold for namespaced kinds."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ("",)
    resources: tuple[str, ...]
    """Plurals; a subresource is ``ingresses/status``."""
    namespaces: tuple[str, ...] = ("*",)
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Behind a token. Without ``rules`` of its own, what stored Roles and ClusterRoles bind to it counts."""

    name: str
    groups: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()


ADMIN: Final = User(name="admin", groups=(_MASTERS,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What a request asks for. A list or watch of one name, by field selector, is about that name."""

    verb: str
    resource: Resource
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def target(self) -> str:
        return f"{self.resource.plural}/{self.subresource}" if self.subresource else self.resource.plural


def authorize(user: User, action: Action, storage: Storage) -> None:
    """Raises Forbidden."""
    if _MASTERS in user.groups:
        return
    if any(_allows(rule, action) for rule in (*user.rules, *_bound(user, storage))):
        return
    group = action.resource.group
    where = f'in the namespace "{action.namespace}"' if action.namespace else "at the cluster scope"
    why = f'User "{user.name}" cannot {action.verb} resource "{action.target}" in API group "{group}" {where}'
    raise forbidden(action.resource, action.name, why)


def _allows(rule: Rule, action: Action) -> bool:
    if action.namespace:
        inside = "*" in rule.namespaces or action.namespace in rule.namespaces
    else:
        inside = "*" in rule.namespaces
    return (
        inside
        and _has(rule.verbs, action.verb)
        and _has(rule.groups, action.resource.group)
        and (_has(rule.resources, action.target) or f"*/{action.subresource}" in rule.resources)
        and (not rule.names or action.name in rule.names)
    )


def _has(allowed: tuple[str, ...], wanted: str) -> bool:
    return "*" in allowed or wanted in allowed


def _bound(user: User, storage: Storage) -> Iterator[Rule]:
    """The rules that stored bindings give to a user."""
    for plural in ("clusterrolebindings", "rolebindings"):
        resource = resource_at(_RBAC, "v1", plural)
        assert resource is not None
        for record in storage.records(resource):
            if any(_is_meant(each, user, record.namespace) for each in record.value.get("subjects") or ()):
                yield from _rules(storage, record.value["roleRef"], record.namespace)


def _is_meant(subject: Mapping[str, Any], user: User, namespace: str) -> bool:
    if subject["kind"] == "ServiceAccount":
        return user.name == f"system:serviceaccount:{subject.get('namespace', namespace)}:{subject['name']}"
    return bool(subject["name"] in user.groups if subject["kind"] == "Group" else subject["name"] == user.name)


def _rules(storage: Storage, ref: Mapping[str, Any], namespace: str) -> Iterator[Rule]:
    plural = "roles" if ref["kind"] == "Role" else "clusterroles"
    resource = resource_at(_RBAC, "v1", plural)
    assert resource is not None
    record = storage.find(resource, namespace if plural == "roles" else "", ref["name"])
    for each in (record.value.get("rules") or ()) if record else ():
        if "resources" in each:
            yield Rule(
                verbs=tuple(each["verbs"]),
                groups=tuple(each.get("apiGroups", ("",))),
                resources=tuple(each["resources"]),
                namespaces=(namespace,) if namespace else ("*",),
                names=tuple(each.get("resourceNames") or ()),
            )


def user_of(authorization: str, users: Mapping[str, User]) -> User:
    """Whose token this is; with no tokens at all everybody is the admin. Raises Unauthorized."""
    if not users:
        return ADMIN
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or token.strip() not in users:
        raise ApiError(401, "Unauthorized")
    return users[token.strip()]
