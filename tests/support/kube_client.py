"""A client of the emulated API server, as the controller makes it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ingress.kube import KubeClient
from ingress.options import Options
from tests.support.apiserver import ApiServer

__all__ = ["client_of", "until"]


@asynccontextmanager
async def client_of(server: ApiServer, *, token: str = "", namespace: str = "default") -> AsyncIterator[KubeClient]:
    """Connected by a kubeconfig, and closed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = server.kubeconfig(Path(folder) / "config", token=token, namespace=namespace)
        client = await KubeClient.connect(Options(kubeconfig=str(path)))
    try:
        yield client
    finally:
        await client.close()


async def until(holds: Callable[[], object], *, seconds: float = 5.0) -> None:
    """Waits for something to hold; fails after ``seconds``."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "did not come to hold in time"
        await asyncio.sleep(0.005)
