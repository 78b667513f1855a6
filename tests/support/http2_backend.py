"""Backends that speak HTTP/2, made of the h2 library."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

__all__ = ["Call", "Connection", "Http2Backend", "Script", "answers", "http2_backend"]

Fields = list[tuple[str, str]]


class Connection(asyncio.Protocol):
    """One connection that the proxy made."""

    def __init__(self, backend: Http2Backend) -> None:
        self.backend = backend
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8", validate_inbound_headers=True)
        self.h2 = h2.connection.H2Connection(config)
        self.calls: dict[int, Call] = {}
        self.moved = asyncio.Event()
        """Something came that may let more be sent."""
        self.lost = asyncio.Event()
        self.goaway: int | None = None
        """The code of the proxy's."""
        self.last = 2**31 - 1
        """The last stream that ours named."""
        self.transport: Any = None
        self.greeted = False
        self.early = b""
        """What came before it greeted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.backend.connections.append(self)
        if self.backend.greets:
            self.greet()

    def greet(self) -> None:
        """Begin, and take what came until then. It is ``greets`` that decides whether this waits for the test."""
        self.greeted = True
        if self.backend.settings:
            self.h2.local_settings = h2.settings.Settings(client=False, initial_values=self.backend.settings)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(1 << 24)
        self.flush()
        early, self.early = self.early, b""
        if early:
            self.data_received(early)

    def data_received(self, data: bytes) -> None:
        if not self.greeted:
            self.early += data
            return
        for event in self.h2.receive_data(data):
            self._handle(event)
        self.flush()
        self.moved.set()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()
        self.moved.set()
        for call in self.calls.values():
            call.ended.set()

    def _handle(self, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            call = self.calls[event.stream_id] = Call(self, event.stream_id, dict(event.headers))
            self.backend.calls.append(call)
            self.backend.start(call)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = int(event.error_code or 0)
        elif (known := self.calls.get(getattr(event, "stream_id", 0) or 0)) is not None:
            known.handle(event)

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())


class Call:
    """One request."""

    def __init__(self, connection: Connection, number: int, fields: dict[str, str]) -> None:
        self.connection = connection
        self.number = number
        self.fields = fields
        self.body = b""
        self.trailers: dict[str, str] = {}
        self.ended = asyncio.Event()
        """The request is whole, or gone."""
        self.reset: int | None = None
        """The code that the proxy reset it with."""
        self.came = asyncio.Event()
        self.greedy = True
        """Give back the window for what comes."""

    def handle(self, event: Any) -> None:
        if isinstance(event, h2.events.DataReceived):
            self.body += event.data
            if self.greedy:
                self.connection.h2.acknowledge_received_data(event.flow_controlled_length, self.number)
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers = dict(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.set()
        elif isinstance(event, h2.events.StreamReset):
            self.reset = int(event.error_code)
            self.ended.set()
        self.came.set()

    def headers(self, status: int, *fields: tuple[str, str], end: bool = False) -> None:
        self.connection.h2.send_headers(self.number, [(":status", str(status)), *fields], end_stream=end)
        self.connection.flush()

    async def data(self, data: bytes, *, end: bool = False) -> None:
        """Send bytes as the proxy's windows allow."""
        connection = self.connection
        if end and not data:
            connection.h2.end_stream(self.number)
            connection.flush()
        while data:
            room = min(connection.h2.local_flow_control_window(self.number), connection.h2.max_outbound_frame_size)
            if not room or connection.transport.get_write_buffer_size() > 1 << 20:
                connection.moved.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(connection.moved.wait(), 0.05)
                if connection.lost.is_set():
                    raise ConnectionError
                continue
            part, data = data[:room], data[room:]
            connection.h2.send_data(self.number, part, end_stream=end and not data)
            connection.flush()

    def finish(self, *trailers: tuple[str, str]) -> None:
        """End the response with trailers."""
        self.connection.h2.send_headers(self.number, list(trailers), end_stream=True)
        self.connection.flush()

    def refuse(self, code: int) -> None:
        self.connection.h2.reset_stream(self.number, code)
        self.connection.flush()

    def goaway(self, last: int, code: int = 0) -> None:
        """Say GOAWAY, and go on with what is under way. A later one names no later stream (RFC 9113 section 6.8)."""
        last = self.connection.last = min(last, self.connection.last)
        frame = b"\0\0\x08\x07\0\0\0\0\0" + last.to_bytes(4, "big") + code.to_bytes(4, "big")
        self.connection.transport.write(frame)


Script = Callable[[Call], Awaitable[None]]


class Http2Backend:
    """``port`` listens; ``calls`` came over ``connections``. ``greets``: a connection sends SETTINGS at once."""

    def __init__(self, script: Script, settings: dict[Any, int] | None, *, greets: bool) -> None:
        self.greets = greets
        self.port = 0
        self.script = script
        self.settings = settings
        self.connections: list[Connection] = []
        self.calls: list[Call] = []
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self, call: Call) -> None:
        task = asyncio.get_running_loop().create_task(self._run(call))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _run(self, call: Call) -> None:
        with suppress(ConnectionError, h2.exceptions.ProtocolError):
            await self.script(call)


@asynccontextmanager
async def http2_backend(
    script: Script, *, tls: ssl.SSLContext | None = None, settings: dict[Any, int] | None = None, greets: bool = True
) -> AsyncIterator[Http2Backend]:
    """A backend that runs ``script`` for each request. ``settings`` are what it announces."""
    backend = Http2Backend(script, settings, greets=greets)
    loop = asyncio.get_running_loop()
    if tls is not None:
        tls.set_alpn_protocols(["h2"])
    server = await loop.create_server(lambda: Connection(backend), "127.0.0.1", 0, ssl=tls)
    backend.port = server.sockets[0].getsockname()[1]
    try:
        yield backend
    finally:
        server.close()
        for task in backend.tasks:
            task.cancel()
        for connection in backend.connections:
            connection.transport.abort()
        await asyncio.sleep(0.01)


def answers(body: bytes = b"ok", *fields: tuple[str, str]) -> Script:
    """A script that takes the whole request and answers it with ``body``."""

    async def script(call: Call) -> None:
        await call.ended.wait()
        call.headers(200, *fields)
        await call.data(body, end=True)

    return script
