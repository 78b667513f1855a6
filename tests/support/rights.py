"""The rights that the chart gives, taken from its golden renderings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

__all__ = ["chart_arguments", "chart_namespaces", "chart_objects", "chart_rights"]

RENDERED = Path(__file__).parents[1] / "helm" / "rendered"
RBAC = "rbac.authorization.k8s.io/v1"
Json = dict[str, Any]


def _documents(values: str) -> list[Json]:
    return [each for each in yaml.safe_load_all((RENDERED / f"{values}.yaml").read_text()) if each]


def chart_rights(values: str, *, account: str = "pyngress") -> list[Json]:
    """Roles, ClusterRoles and their bindings, given to one service account whatever the chart named it."""
    found = [each for each in _documents(values) if each["apiVersion"] == RBAC]
    for each in found:
        for subject in each.get("subjects", ()):
            subject["name"] = account
    return found


def chart_objects(values: str, *kinds: str) -> list[Json]:
    """Objects of these kinds."""
    return [each for each in _documents(values) if each["kind"] in kinds]


def chart_namespaces(values: str) -> list[str]:
    """Those that the rights are about."""
    return sorted({each["metadata"]["namespace"] for each in chart_rights(values) if "namespace" in each["metadata"]})


def chart_arguments(values: str, *prefixes: str) -> list[str]:
    """Arguments of the container that begin so."""
    workload = next(each for each in _documents(values) if each["kind"] in ("Deployment", "DaemonSet"))
    container = workload["spec"]["template"]["spec"]["containers"][0]
    return [each for each in container["args"] if each.startswith(prefixes)]
