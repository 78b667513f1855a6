"""Values: documented, closed by a schema, and refused with a reason where they cannot work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.rendering import CHART, Refused, render_values, value_sets
from tests.support.tools import run_tool, tool

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
VALUES = (CHART / "values.yaml").read_text()

Place = tuple[str, ...]


def _leaves(schema: dict[str, Any], default: Any, place: Place = ()) -> Iterator[Place]:
    """Every value that is no section: sections are closed in the schema, and their parts have defaults."""
    if schema.get("additionalProperties") is not False or "properties" not in schema or default == {}:
        yield place
        return
    for name in schema["properties"].keys() | default.keys():
        assert name in schema["properties"], f"the schema lacks {'.'.join((*place, name))}"
        assert name in default, f"values.yaml lacks {'.'.join((*place, name))}"
        yield from _leaves(schema["properties"][name], default[name], (*place, name))


def _lines(node: yaml.Node, place: Place = ()) -> Iterator[tuple[Place, int]]:
    """Every key of a YAML text with its line, from 0."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*place, key.value), key.start_mark.line
            yield from _lines(value, (*place, key.value))


@pytest.mark.parametrize("values", value_sets(), ids=lambda path: path.stem)
def test_lint_finds_nothing(values: Path) -> None:
    """`helm lint --strict` has neither errors nor warnings."""
    done = run_tool(tool("helm"), "lint", "--strict", str(CHART), "--values", str(values))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout
    assert "[ERROR]" not in done.stdout


def test_every_value_is_in_the_schema_and_has_a_default_and_a_comment() -> None:
    """What the schema forgot could be misspelt; what has no default or no `# -- ` comment, nobody would find."""
    leaves = sorted(_leaves(SCHEMA, yaml.safe_load(VALUES)))
    lines = dict(_lines(yaml.compose(VALUES)))
    text = VALUES.splitlines()
    bare = []
    for place in leaves:
        above = lines[place] - 1
        while text[above].lstrip().startswith("#") and not text[above].lstrip().startswith("# -- "):
            above -= 1
        if not text[above].lstrip().startswith("# -- "):
            bare.append(".".join(place))
    assert bare == []
    assert len(leaves) > 200


REFUSED = [
    ({"controller": {"kynd": "DaemonSet"}}, "additional properties 'kynd' not allowed"),
    ({"controler": {}}, "additional properties 'controler' not allowed"),
    ({"controller": {"kind": "StatefulSet"}}, "/controller/kind"),
    ({"controller": {"replicaCount": "2"}}, "/controller/replicaCount"),
    ({"controller": {"workers": 0}}, "/controller/workers"),
    ({"controller": {"service": {"type": "ExternalName"}}}, "/controller/service/type"),
    ({"controller": {"service": {"nodePorts": {"http": 70000}}}}, "/controller/service/nodePorts/http"),
    ({"controller": {"service": {"annotations": {"a": 1}}}}, "/controller/service/annotations/a"),
    ({"controller": {"config": {"proxy-body-size": "8m"}}}, "proxy-body-size"),
    ({"controller": {"trustedProxies": ["everybody"]}}, "/controller/trustedProxies/0"),
    ({"controller": {"defaultSSLCertificate": "wildcard"}}, "/controller/defaultSSLCertificate"),
    ({"controller": {"extraArgs": {"--read-timeout": 1}}}, "--read-timeout"),
    ({"controller": {"admissionWebhooks": {"failurePolicy": "ignore"}}}, "/controller/admissionWebhooks/failurePolicy"),
    ({"rbac": {"secrets": {"verbs": ["get", "list"]}}}, "/rbac/secrets/verbs/1"),
    ({"rbac": {"secrets": {"verbs": ["watch"]}}}, "/rbac/secrets/verbs"),
    ({"image": {"digest": "sha256:abc"}}, "/image/digest"),
    ({"defaultBackend": {"enabled": True}}, "/defaultBackend/image/repository"),
    ({"controller": {"terminationGracePeriodSeconds": 40}}, "need at least 45"),
    ({"controller": {"leaderElection": False, "replicaCount": 2}}, "leaderElection=false is for a single pod"),
    ({"controller": {"leaderElection": False, "kind": "DaemonSet"}}, "leaderElection=false is for a single pod"),
    ({"controller": {"admissionWebhooks": {"port": 443}}}, "taken twice: 80, 443, 10254, 443"),
    ({"controller": {"scope": {"enabled": True, "namespace": "a", "namespaceSelector": "b=c"}}}, "give either"),
    ({"rbac": {"scope": True}}, "needs controller.scope.enabled"),
    ({"rbac": {"scope": True}, "controller": {"scope": {"enabled": True}}}, "admissionWebhooks.enabled=false"),
    ({"controller": {"metrics": {"serviceMonitor": {"enabled": True}}}}, "needs controller.metrics.enabled"),
    ({"controller": {"kind": "DaemonSet", "autoscaling": {"enabled": True}}}, "kind=Deployment"),
    (
        {"controller": {"config": {"limits": {}}, "ingressClassResource": {"parameters": {"kind": "X", "name": "x"}}}},
        "give either controller.config or",
    ),
]


@pytest.mark.parametrize(("values", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_wrong_value_is_refused_with_its_place_or_its_cure(values: dict[str, Any], reason: str) -> None:
    """Nothing that is misspelt or cannot work reaches a cluster."""
    tool("helm")
    with pytest.raises(Refused) as refused:
        render_values(values)
    assert reason in str(refused.value)
