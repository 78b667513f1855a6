"""What helm makes of the chart, as text and as objects."""

from __future__ import annotations

import copy
import functools
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.tools import find_tool, run_tool

__all__ = [
    "CHART",
    "CRDS",
    "DEPLOY",
    "NAMESPACE",
    "RELEASE",
    "RENDERED",
    "VALUES",
    "Refused",
    "copy_crds",
    "deploy_text",
    "objects",
    "pod_specs",
    "render",
    "render_values",
    "value_sets",
]

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "helm/pyngress"
CRDS: Final = ROOT / "crds"
DEPLOY: Final = ROOT / "deploy/pyngress.yaml"
VALUES: Final = ROOT / "tests/helm/values"
RENDERED: Final = ROOT / "tests/helm/rendered"
RELEASE: Final = "pyngress"
NAMESPACE: Final = "ingress"
KUBE_VERSION: Final = "1.27.0"
"""The oldest that the chart allows."""

_DEPLOY_HEAD: Final = """\
# Pyngress in the namespace "pyngress": kubectl apply -f pyngress.yaml
# Made from helm/pyngress by `make deploy`; do not edit. The image has to be one that the nodes can pull: set it with
#   kubectl -n pyngress set image deployment/pyngress controller=REGISTRY/pyngress:TAG
apiVersion: v1
kind: Namespace
metadata:
  name: pyngress
  labels:
    app.kubernetes.io/part-of: pyngress
    pod-security.kubernetes.io/enforce: restricted
"""


class Refused(Exception):
    """helm said no; the text is what it said."""


def value_sets() -> list[Path]:
    return sorted(VALUES.glob("*.yaml"))


@functools.cache
def render(values: Path) -> str:
    """The chart with a file of values."""
    return _helm(RELEASE, NAMESPACE, "--values", str(values))


def render_values(values: Mapping[str, Any]) -> str:
    """The chart with values of a test. Raises Refused."""
    return _helm(RELEASE, NAMESPACE, "--values", "-", text=json.dumps(values))


def deploy_text() -> str:
    """The plain manifests: the chart with its own values, and its namespace. Nothing in them is managed by helm."""
    text = _helm(RELEASE, RELEASE, "--include-crds")
    plain = re.sub(r"^ +(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", "", text, flags=re.MULTILINE)
    return _DEPLOY_HEAD + plain


def copy_crds() -> None:
    """``crds/`` is the source; the chart carries the same files."""
    for file in CRDS.glob("*.yaml"):
        shutil.copyfile(file, CHART / "crds" / file.name)


def _helm(release: str, namespace: str, *arguments: str, text: str | None = None) -> str:
    done = run_tool(
        find_tool("helm"),
        *("template", release, str(CHART), "--namespace", namespace, "--kube-version", KUBE_VERSION),
        *arguments,
        text=text,
    )
    if done.returncode:
        raise Refused(done.stderr)
    return done.stdout


def objects(text: str, *kinds: str) -> list[dict[str, Any]]:
    """Those of ``kinds``; of none: all. The caller may change them."""
    return [copy.deepcopy(each) for each in _load(text) if not kinds or each["kind"] in kinds]


@functools.lru_cache(maxsize=16)
def _load(text: str) -> list[dict[str, Any]]:
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]


def pod_specs(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and pod template of every workload."""
    for workload in objects(text, "Deployment", "DaemonSet"):
        yield workload["metadata"]["name"], workload["spec"]["template"]
