"""docs/install.md names values and flags that exist."""

from __future__ import annotations

import json
import re
from typing import Any

from ingress.cli.flags import FLAGS
from tests.helm.rendering import CHART, CRDS, ROOT

PAGE = (ROOT / "docs/install.md").read_text()
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
OURS, _, TABLE = PAGE.partition("## Moving over from ingress-nginx")
MIGRATION = [row.split(" | ")[1] for row in TABLE.splitlines() if row.startswith("| `")]
"""Our side of the table."""


def _lack(path: str) -> str:
    """What of a dotted path of values the schema does not have; empty: nothing."""
    schema = SCHEMA
    for name in path.removesuffix(".*").split("."):
        if "properties" not in schema:
            return ""
        if name not in schema["properties"]:
            return name
        schema = schema["properties"][name]
    return ""


def test_every_value_that_the_page_names_exists() -> None:
    """A renamed value would leave its old name behind in the instructions."""
    paths = re.findall(r"(?:--set |`)((?:controller|rbac|image|defaultBackend)\.[\w.*]+)", OURS + "".join(MIGRATION))
    assert len(paths) > 40
    assert {path: lack for path in paths if (lack := _lack(path))} == {}


def test_every_flag_that_the_page_names_exists() -> None:
    """The flags of `controller.extraArgs` are those of `pyngress run`."""
    flags = {flag.name.removeprefix("--") for flag in FLAGS}
    named = set(re.findall(r"controller\.extraArgs\.([a-z-]+)", OURS + "".join(MIGRATION)))
    for ours in MIGRATION:
        if "`controller.extraArgs`:" in ours:
            named |= set(re.findall(r"`([a-z-]+)`", ours))
    assert len(named) > 8
    assert named <= flags


def test_every_field_of_a_class_that_the_page_names_exists() -> None:
    """`controller.config` is the spec of an IngressClassParameters."""
    text = (CRDS / "ingressclassparameters.yaml").read_text()
    fields = re.findall(
        r"`(?:controller\.config)?\.(\w+)`", " ".join(m for m in MIGRATION if "controller.config." in m)
    )
    assert fields == ["responseHeaders", "requestHeaders"]
    for field in fields:
        assert f" {field}:\n" in text
