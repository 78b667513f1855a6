"""What the chart renders stands in files, so that every change of it is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helm.rendering import CHART, CRDS, DEPLOY, RENDERED, deploy_text, render, value_sets
from tests.support.tools import tool

SETS = value_sets()


@pytest.fixture(autouse=True)
def _helm() -> None:
    tool("helm")


@pytest.mark.parametrize("values", SETS, ids=lambda path: path.stem)
def test_values_give_the_manifests_of_their_file(values: Path) -> None:
    """The rendering is the golden one; `make golden` rewrites it after an intended change."""
    assert render(values) == (RENDERED / values.name).read_text()


def test_every_golden_rendering_has_its_values() -> None:
    """No rendering stays behind that nothing makes any more."""
    assert [path.name for path in SETS] == sorted(path.name for path in RENDERED.iterdir())
    assert len(SETS) == 5


def test_plain_manifests_are_those_of_the_chart() -> None:
    """`deploy/` is the chart with its own values; `make deploy` rewrites it."""
    assert deploy_text() == DEPLOY.read_text()


def test_chart_carries_the_same_crds() -> None:
    """helm installs what kubectl would apply, byte for byte."""
    source = {path.name: path.read_bytes() for path in CRDS.glob("*.yaml")}
    carried = {path.name: path.read_bytes() for path in (CHART / "crds").glob("*.yaml")}
    assert carried == source
