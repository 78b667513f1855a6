"""The admin server: GET and HEAD of a few pages."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from aiohttp import web

from ingress.admin.collector import MetricsText
from ingress.admin.pages import index_html, problems_json, problems_text, table_json
from ingress.admin.view import View

__all__ = ["AdminServer"]

FRESH_STATS_LIMIT = 0.25
"""Seconds that a scrape waits for the workers' newest counters."""
CLOSE_LIMIT = 1.0


class AdminServer:
    """Serves ``view`` on ``sockets``, which it owns."""

    def __init__(self, view: View, sockets: Sequence[socket.socket]) -> None:
        self._view = view
        self._sockets = sockets
        self._metrics = MetricsText(view)
        application = web.Application()
        application.add_routes(
            [
                web.get("/", self._index),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._scrape),
                web.get("/table", self._table),
                web.get("/problems", self._problems),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=CLOSE_LIMIT)

    async def start(self) -> None:
        """Answer from now on."""
        await self._runner.setup()
        for listening in self._sockets:
            await web.SockSite(self._runner, listening).start()

    async def close(self) -> None:
        """Stop answering."""
        await self._runner.cleanup()
        for listening in self._sockets:
            listening.close()

    async def _index(self, request: web.Request) -> web.Response:
        return web.Response(text=index_html(self._view), content_type="text/html")

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        unready = self._view.unready
        if unready is None:
            return web.Response(text="ok\n")
        return web.Response(status=503, text=f"{unready}\n")

    async def _scrape(self, request: web.Request) -> web.Response:
        await self._view.supervisor.refresh_stats(FRESH_STATS_LIMIT)
        return web.Response(body=self._metrics.generate(), headers={"Content-Type": self._metrics.content_type})

    async def _table(self, request: web.Request) -> web.Response:
        host = request.query.get("host")
        if host is not None and host not in self._view.table.hosts:
            return web.Response(status=404, text="The table has no such host.\n")
        return web.Response(body=table_json(self._view.table, host), content_type="application/json")

    async def _problems(self, request: web.Request) -> web.Response:
        if "application/json" in request.headers.get("Accept", ""):
            return web.Response(body=problems_json(self._view.problems), content_type="application/json")
        return web.Response(text=problems_text(self._view.problems))
