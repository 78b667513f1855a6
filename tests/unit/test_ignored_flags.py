"""Flags that are there for those who come from ingress-nginx."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ingress.app import App
from ingress.options import Options
from ingress.publish import ListenError


@pytest.mark.parametrize("configmap", [("ingress-nginx", "ingress-nginx-controller"), None])
async def test_the_configmap_is_told_once_to_be_ignored(configmap: tuple[str, str] | None, tmp_path: Path) -> None:
    """By name, before anything else; nothing is said where none is named. The start ends at a port that is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken, capture_logs() as logs:
        options = Options(
            manifests=str(tmp_path), configmap=configmap, bind=("127.0.0.1",), http_port=taken.getsockname()[1]
        )
        with pytest.raises(ListenError):
            await App(options).run()
    told = [entry for entry in logs if "--configmap is ignored" in entry["event"]]
    assert [entry["configmap"] for entry in told] == ([] if configmap is None else ["/".join(configmap)])
    assert logs[: len(told)] == told
