"""An API server, emulated, and a client of it: for what reads and writes objects."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ingress.kube import KubeClient
from tests.support.apiserver import ApiServer, api_server
from tests.support.kube_client import client_of


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    async with api_server() as server:
        yield server


@pytest.fixture
async def client(server: ApiServer) -> AsyncIterator[KubeClient]:
    async with client_of(server) as client:
        yield client
