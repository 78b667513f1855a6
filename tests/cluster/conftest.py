"""One cluster and one controller per module; modules that need other flags start their own controllers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.cluster import Cluster, running_cluster
from tests.support.controller import Controller, controller
from tests.support.pods import Pod, pods


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Emulated, or real where ``KUBEBUILDER_ASSETS`` names the binaries."""
    async with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pyngress(cluster: Cluster) -> AsyncIterator[Controller]:
    """A ready controller without special flags."""
    async with controller(cluster) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pod(cluster: Cluster) -> AsyncIterator[Pod]:
    """A pod that answers ``pod``."""
    async with pods(cluster.address, "pod") as (running,):
        yield running
