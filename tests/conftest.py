"""Async tests run on uvloop, as production does."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
import uvloop
from hypothesis import settings

from proxy.http2 import CODEC
from proxy.http2.connection import Http2Connection
from tests.support import turns

# The machine may be busy: how long an example takes proves nothing.
settings.register_profile("pyngress", deadline=None)
settings.load_profile("pyngress")


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


def pytest_configure(config: pytest.Config) -> None:
    """What was built from another source than the one that is here proves nothing."""
    config.pluginmanager.register(turns)
    if find_spec("proxy.http2.native") is None:
        return
    from proxy.http2 import native

    source = Path(native.__file__).with_name("native.pyx")
    if hashlib.sha256(source.read_bytes()).hexdigest() != native.SOURCE:
        pytest.exit(f"{native.__file__} was built from another {source.name}: make native", returncode=3)


@pytest.fixture(params=["h2", "nghttp2"])
def http2_codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each codec in turn serves the connections of this process; its name."""
    codec: str = request.param
    if codec == "h2":
        for side in ("server", "upstream"):
            monkeypatch.setattr(f"proxy.{side}.http2.Http2Connection", Http2Connection)
    elif not CODEC.startswith(codec):
        pytest.skip("built without libnghttp2")
    return codec
