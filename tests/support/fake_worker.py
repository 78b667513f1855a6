"""A worker that only pretends: speaks the feed, answers http with what it is, and misbehaves when told to.

Started like the real one. Its mood is the environment variable ``FAKE_WORKER``, words with spaces between:

* ``dies``: ends at once, without a word
* ``mute``: acknowledges tables but never answers a question
* ``stubborn``: does not end when told to, nor with the control process
* ``slow-drain``: takes half a second to drain, and cuts 2
* ``nonsense``: sends what is no message

``GET /`` answers ``PID GENERATION PROCESS-GROUP``; ``GET /hang`` never answers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import socket
import sys

from proxy.table import Table
from proxy.table.feed import (
    Ack,
    AskStats,
    Delta,
    Down,
    Drain,
    Drained,
    FrameDecoder,
    RouteStats,
    Stats,
    Stop,
    apply_delta,
    encode_frame,
)


class FakeWorker:
    """One connection to the control process, one http server per listener."""

    def __init__(self, mood: set[str]) -> None:
        self.mood = mood
        self.table = Table()
        self.generation = 0
        self.requests = 0
        self.ended = asyncio.Event()

    async def run(self, feed: socket.socket, listeners: list[socket.socket]) -> None:
        reader, writer = await asyncio.open_connection(sock=feed)
        self.writer = writer
        self.listeners = listeners
        if "nonsense" in self.mood:
            writer.write(b"\x00\x00\x00\x01\xc1")
        reading = asyncio.create_task(self.read(reader))  # noqa: TID251 - ends with the process
        await self.ended.wait()
        reading.cancel()

    async def read(self, reader: asyncio.StreamReader) -> None:
        decoder: FrameDecoder[Down] = FrameDecoder(Down)
        while data := await reader.read(65536):
            for message in decoder.feed(data):
                await self.obey(message)
        if "stubborn" not in self.mood:
            self.ended.set()

    async def obey(self, message: Down) -> None:
        if isinstance(message, Delta):
            await self.apply(message)
        elif isinstance(message, AskStats) and "mute" not in self.mood:
            self.tell(message.token)
        elif isinstance(message, Drain):
            await self.drain()
        elif isinstance(message, Stop) and "stubborn" not in self.mood:
            self.ended.set()

    async def apply(self, delta: Delta) -> None:
        assert delta.reset or delta.generation == self.generation + 1
        if not self.generation:
            for listener in self.listeners:
                await asyncio.start_server(self.serve, sock=listener)
        self.table = apply_delta(self.table, delta)
        self.generation = delta.generation
        self.writer.write(encode_frame(Ack(generation=delta.generation)))

    async def drain(self) -> None:
        if "stubborn" in self.mood:
            return
        slow = "slow-drain" in self.mood
        await asyncio.sleep(0.5 * slow)
        self.tell(0)
        self.writer.write(encode_frame(Drained(cut=2 * slow)))

    def tell(self, token: int) -> None:
        routes = [RouteStats(host="fake", requests={"GET 200": self.requests})] if self.requests else []
        self.requests = 0
        self.writer.write(encode_frame(Stats(token=token, routes=routes, gauges={"connections": 1.0})))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET /hang"):
            await asyncio.Event().wait()
        self.requests += 1
        body = f"{os.getpid()} {self.generation} {os.getpgrp()}".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--id", type=int, required=True)
    parser.add_argument("--feed-fd", type=int, required=True)
    parser.add_argument("--log-fd", type=int, required=True)
    parser.add_argument("--log-lock-fd", type=int, required=True)
    parser.add_argument("--allowances-fd", type=int, required=True)
    parser.add_argument("--ticket-keys-fd", type=int, required=True)
    parser.add_argument("--log-json", action="store_true")
    parser.add_argument("--listen", action="append", default=[])
    arguments = parser.parse_args()
    mood = set(os.environ.get("FAKE_WORKER", "").split())
    if "dies" in mood:
        sys.exit(3)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    listeners = [socket.socket(fileno=int(each.partition(":")[2])) for each in arguments.listen]
    asyncio.run(FakeWorker(mood).run(socket.socket(fileno=arguments.feed_fd), listeners))
    os._exit(0)


if __name__ == "__main__":
    main()
