"""The admission webhook: ``POST /validate`` over TLS on a port of its own.

It answers 200 with a verdict, or 4xx where a body is no review; never 5xx. Where it cannot judge (a fault of ours, or
no answer in :data:`JUDGE_LIMIT`), it allows with a warning: what is wrong is then told as for any object, by an Event.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ingress.admin.admission import MAX_BODY, AdmissionRequest, ReviewError, Verdict, encode_verdict, plain, read_review
from ingress.admin.review import Judge, review
from proxy.table.feed import DURATION_BOUNDS

__all__ = ["WebhookCounts", "WebhookServer"]

JUDGE_LIMIT: Final = 3.0
"""Seconds; the API server waits for 10 unless it is told otherwise."""
BODY_LIMIT: Final = 10.0
"""Seconds that a body may take to come."""
IDLE_LIMIT: Final = 120.0
"""Seconds. The API server closes idle connections after 90; it must be the one to do it, or reviews get lost."""
CLOSE_LIMIT: Final = 1.0

log = structlog.get_logger("pyngress.webhook")


class WebhookCounts:
    """Since the start. ``failed``: no review, or one that could not be judged."""

    def __init__(self) -> None:
        self.allowed = 0
        self.refused = 0
        self.failed = 0
        self.duration_counts = [0] * (len(DURATION_BOUNDS) + 1)
        """By ``DURATION_BOUNDS``, as other histograms; of all three."""
        self.duration_total = 0.0
        """Seconds."""

    def add_duration(self, seconds: float) -> None:
        self.duration_counts[bisect_left(DURATION_BOUNDS, seconds)] += 1
        self.duration_total += seconds


class WebhookServer:
    """Serves on ``sockets``, which it owns. ``context`` may get another certificate while it serves."""

    def __init__(self, judge: Judge, context: ssl.SSLContext, sockets: Sequence[socket.socket]) -> None:
        self.counts = WebhookCounts()
        self._judge = judge
        self._context = context
        self._sockets = sockets
        application = web.Application(client_max_size=MAX_BODY)
        application.add_routes([web.post("/validate", self._validate), web.get("/healthz", self._healthz)])
        # A compressed body is no review: a small one could unfold to a huge one.
        self._runner = web.AppRunner(
            application,
            access_log=None,
            shutdown_timeout=CLOSE_LIMIT,
            keepalive_timeout=IDLE_LIMIT,
            lingering_time=CLOSE_LIMIT,
            auto_decompress=False,
        )

    async def start(self) -> None:
        """Answer from now on."""
        await self._runner.setup()
        for listening in self._sockets:
            await web.SockSite(self._runner, listening, ssl_context=self._context).start()

    async def close(self) -> None:
        """Stop answering."""
        await self._runner.cleanup()
        for listening in self._sockets:
            listening.close()

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _validate(self, request: web.Request) -> web.Response:
        began = time.perf_counter()
        try:
            async with asyncio.timeout(BODY_LIMIT):
                body = await request.read()
        except TimeoutError:
            return self._refuse_body(408, f"the body took longer than {BODY_LIMIT:.0f} s")
        except (OSError, web.RequestPayloadError, HttpProcessingError) as error:
            return self._refuse_body(400, f"the body cannot be read: {type(error).__name__}")
        except web.HTTPRequestEntityTooLarge:
            return self._refuse_body(413, f"a review has at most {MAX_BODY} bytes")
        try:
            asked = read_review(body)
            verdict = await self._judged(asked)
        except ReviewError as error:
            return self._refuse_body(400, str(error))
        finally:
            self.counts.add_duration(time.perf_counter() - began)
        return web.Response(body=encode_verdict(asked.uid, verdict), content_type="application/json")

    async def _judged(self, asked: AdmissionRequest) -> Verdict:
        """Raises :class:`ReviewError`."""
        name = plain(f"{asked.kind.kind} {asked.namespace}/{asked.name}", 300)
        try:
            async with asyncio.timeout(JUDGE_LIMIT):
                verdict = await review(asked, self._judge)
        except ReviewError:
            raise
        except Exception as error:
            self.counts.failed += 1
            if isinstance(error, TimeoutError):
                log.warning("a change was not judged in time and is allowed", object=name, limit=JUDGE_LIMIT)
            else:
                log.exception("a change could not be judged and is allowed", object=name)
            return Verdict(notes=(f"{name} was not checked; see the log of the ingress controller",))
        if verdict.allowed:
            self.counts.allowed += 1
        else:
            self.counts.refused += 1
            reasons = sorted({problem.reason for problem in verdict.errors})
            log.info("a change was refused", object=name, errors=len(verdict.errors), reasons=" ".join(reasons))
        return verdict

    def _refuse_body(self, status: int, text: str) -> web.Response:
        self.counts.failed += 1
        log.warning("not a review", status=status, text=text)
        return web.Response(status=status, text=f"{text}\n")
