"""Faults over HTTP, for a server that is a process of its own: ``POST /_control/VERB`` with a JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from tests.support.apiserver.bulk import fill

if TYPE_CHECKING:
    from tests.support.apiserver.server import ApiServer

__all__ = ["control"]

_SWITCHES: Final = ("list_delay", "event_delay", "duplicate_events", "gone_as_http", "deaf")
_PLAIN: Final = ("compact", "drop_connections", "end_watches", "expire_watches", "stall_watches")


async def control(server: ApiServer, request: web.BaseRequest) -> web.Response:
    """``set`` (the switches of Faults), ``fail``, ``clear``, ``fill``, ``requests``, ``restart``, or a plain verb.

    ``restart`` stops for ``seconds``; its own answer is cut off with everything else.
    """
    verb = request.path.removeprefix("/_control/")
    body: dict[str, Any] = msgspec.json.decode(await request.read() or b"{}")
    if verb == "set" and body.keys() <= set(_SWITCHES):
        for name, value in body.items():
            setattr(server.faults, name, value)
    elif verb == "fail":
        server.faults.fail(**body)
    elif verb == "clear":
        server.faults.clear()
    elif verb == "fill":
        fill(server.storage, **body)
    elif verb == "requests":
        return web.Response(body=msgspec.json.encode(list(server.state.requests)), content_type="application/json")
    elif verb == "restart":
        server.restart_soon(float(body.get("seconds", 0.0)))
    elif verb in _PLAIN:
        getattr(server, verb)()
    else:
        return web.Response(status=404, text=f"no such verb, or not with these fields: {verb}\n")
    return web.Response(text="ok\n")
