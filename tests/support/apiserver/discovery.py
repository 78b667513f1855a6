"""The pages that clients read before they do anything: groups, resources, version. Enough for ``kubectl``."""

from __future__ import annotations

from typing import Any, Final

from tests.support.apiserver.kinds import RESOURCES, Resource, groups

__all__ = ["discovery_page"]

_VERBS: Final = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_VERSION: Final = {
    "major": "1",
    "minor": "31",
    "gitVersion": "v1.31.0+emulated",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2024-08-13T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}


def discovery_page(path: str) -> dict[str, Any] | str | None:
    """What a path without a resource shows; text for the health checks; ``None`` for an unknown path."""
    if path in ("/healthz", "/livez", "/readyz"):
        return "ok"
    if path == "/version":
        return _VERSION
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if path == "/apis":
        found = [_group(group, versions) for group, versions in groups().items()]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}
    parts = path.strip("/").split("/")
    if parts[0] == "apis" and len(parts) == 2 and parts[1] in groups():
        return _group(parts[1], groups()[parts[1]]) | {"kind": "APIGroup", "apiVersion": "v1"}
    if parts == ["api", "v1"]:
        return _resources("", "v1")
    if parts[0] == "apis" and len(parts) == 3 and parts[2] in groups().get(parts[1], []):
        return _resources(parts[1], parts[2])
    return None


def _group(group: str, versions: list[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def _resources(group: str, version: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    for each in RESOURCES:
        if (each.group, each.version) == (group, version):
            found.append(_resource(each))
            if each.status:
                found.append(
                    _resource(each)
                    | {"name": f"{each.plural}/status", "verbs": ["get", "patch", "update"], "shortNames": []}
                )
    name = f"{group}/{version}" if group else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": found}


def _resource(each: Resource) -> dict[str, Any]:
    return {
        "name": each.plural,
        "singularName": each.kind.lower(),
        "namespaced": each.namespaced,
        "kind": each.kind,
        "verbs": _VERBS,
        "shortNames": list(each.short),
    }
