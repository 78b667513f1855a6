"""An upgrade leaves alone what the controller wrote into objects of the chart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.helm.rendering import CHART, NAMESPACE, RELEASE, objects
from tests.support.apiserver import ApiServer, api_server
from tests.support.tools import run_tool, tool

CONFIGURATION = "ValidatingWebhookConfiguration"
BUNDLES = {"ingresses.pyngress.io": "T25l", "objects.pyngress.io": "VHdv"}

INSTALLED = {"meta.helm.sh/release-name": RELEASE, "meta.helm.sh/release-namespace": NAMESPACE}
"""By these helm knows its own."""


async def _template(server: ApiServer, folder: Path) -> dict[str, Any]:
    """The webhook's configuration, as helm renders it with the cluster at hand."""
    kubeconfig = server.kubeconfig(folder / "kubeconfig")
    done = await asyncio.to_thread(
        run_tool,
        tool("helm"),
        *("template", RELEASE, str(CHART), "--namespace", NAMESPACE, "--kubeconfig", str(kubeconfig)),
        *("--dry-run=server", "--disable-openapi-validation", "--show-only", "templates/webhook.yaml"),
    )
    assert done.returncode == 0, done.stderr
    (found,) = objects(done.stdout, CONFIGURATION)
    return found


@pytest.mark.parametrize("patched", [True, False], ids=["patched", "new"])
async def test_an_upgrade_keeps_the_authority_that_the_controller_wrote(tmp_path: Path, patched: bool) -> None:
    """Each webhook keeps its own caBundle; one that has none yet is rendered without."""
    tool("helm")
    async with api_server() as server:
        configuration = await _template(server, tmp_path)
        assert [webhook["name"] for webhook in configuration["webhooks"]] == list(BUNDLES)
        for webhook in configuration["webhooks"]:
            assert "caBundle" not in webhook["clientConfig"]
            if patched:
                webhook["clientConfig"]["caBundle"] = BUNDLES[webhook["name"]]
        configuration["webhooks"].reverse()
        configuration["metadata"]["annotations"] = INSTALLED
        server.put(configuration)
        again = {each["name"]: each["clientConfig"] for each in (await _template(server, tmp_path))["webhooks"]}
    for name, bundle in BUNDLES.items():
        assert again[name].get("caBundle") == (bundle if patched else None)
