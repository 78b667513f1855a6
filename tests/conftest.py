"""Async tests run on uvloop, as production does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop
from hypothesis import settings

# The machine may be busy: how long an example takes proves nothing.
settings.register_profile("pyngress", deadline=None)
settings.load_profile("pyngress")


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}
