"""The page of our own kinds, and the examples that show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ingress.cli import main
from ingress.cli.crd_reference import crds_page, read_crds
from ingress.options import Options
from ingress.resources import KINDS, Snapshot
from ingress.resources.decode import decode_object, expand_lists
from ingress.resources.manifest import parse_yaml
from ingress.translate import translate
from proxy.table import Forward, Redirect, Respond, Table

ROOT = Path(__file__).parents[2]


def table_of(example: str) -> Table:
    maps: dict[str, dict[tuple[str, str], Any]] = {field: {} for field in KINDS.values()}
    for path in (ROOT / "examples" / example).glob("*.yaml"):
        for document in parse_yaml(path.read_text()):
            for _, data in expand_lists(document.data):
                found = decode_object(data).object
                assert found is not None
                maps[KINDS[type(found)]][found.ref.namespace, found.ref.name] = found
    return translate(Snapshot(**maps), Options(manifests=".")).table


def test_page_is_that_of_the_schemas() -> None:
    """`python -m ingress.cli.crd_reference` writes the page that is in the repository."""
    assert (ROOT / "docs" / "crds.md").read_text() == crds_page(read_crds(ROOT / "crds"))


def test_page_names_every_field() -> None:
    """A field that is added to a schema comes to the page with its description."""
    page = crds_page(read_crds(ROOT / "crds"))
    for text in (
        "`rateLimit.requests`",
        "`timeouts.tlsHandshake`",
        "`bodyFrom.configMapKeyRef.key`",
        "`targets[].kind`",
    ):
        assert f"| {text} |" in page
    assert "Needs exactly one of status and redirect." in page


@pytest.mark.parametrize("example", ["maintenance-page", "traffic-policy"])
def test_example_has_no_problem(example: str) -> None:
    """The examples are as they should be."""
    result = CliRunner().invoke(main, ["check", str(ROOT / "examples" / example)])
    assert (result.exit_code, result.output) == (0, "1 Ingress served: 0 errors, 0 warnings\n")


def test_maintenance_page_needs_no_pod() -> None:
    """Every route of the example is answered by the proxy."""
    table = table_of("maintenance-page")
    actions = {route.path: route.action for route in table.hosts["shop.example.com"].routes}
    assert isinstance(actions["/"], Respond)
    assert actions["/"].status == 503
    assert "ten minutes" in (actions["/"].body or "")
    assert isinstance(actions["/healthz"], Respond)
    assert isinstance(actions["/old"], Redirect)
    assert not table.clusters


def test_policies_of_the_example_reach_their_routes() -> None:
    """The class treats both routes, the policy on the Service only its own."""
    table = table_of("traffic-policy")
    foo, bar = table.hosts["app.example.com"].routes
    for route in (foo, bar):
        assert isinstance(route.action, Forward)
        assert route.policy.max_retries == 1
        assert route.policy.response_headers is not None
    assert foo.policy.rate_limit is None
    assert (foo.policy.read_timeout, bar.policy.read_timeout) == (30.0, 5.0)
    assert bar.policy.rate_limit is not None
    assert bar.policy.rate_limit.burst == 4
    assert table.settings.keepalive_timeout == 60.0


def test_wrong_field_is_told_with_its_line(tmp_path: Path) -> None:
    """`pyngress check` leads to the line of a field that a schema forbids."""
    text = (ROOT / "examples" / "traffic-policy" / "policies.yaml").read_text()
    path = tmp_path / "policies.yaml"
    path.write_text(text.replace("per: Second", "per: Day").replace("connect: 2s", "conect: 2s"))
    result = CliRunner().invoke(main, ["check", str(path)])
    assert result.exit_code == 1
    line = text[: text.index("per: Second")].count("\n") + 1
    (told,) = (row for row in result.output.splitlines() if "spec.rateLimit.per" in row)
    assert f"policies.yaml:{line}" in told
    assert 'did you mean "connect"?' in result.output
