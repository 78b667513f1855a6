"""``python -m proxy.worker`` as the control process sees it: frames over a socket pair, signals, its exit."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from proxy.http2 import CODEC
from proxy.table import Cluster, Settings, Table
from proxy.table.feed import (
    Ack,
    AskStats,
    Delta,
    Down,
    Drain,
    Drained,
    FrameDecoder,
    Nack,
    Stats,
    Stop,
    Up,
    difference,
    encode_frame,
)
from tests.support.backend import Backend, Conversation, raw_backend
from tests.support.failing import CLUSTER, OK, answers, eventually, request, status
from tests.support.process import proxy_process
from tests.support.proxy import RawClient, one_route

LIMIT = 10.0


class WorkerProcess:
    """A worker and the control process's end of its feed."""

    def __init__(self, process: asyncio.subprocess.Process, feed: socket.socket, port: int) -> None:
        self.process = process
        self.port = port
        self._feed = feed
        self._decoder: FrameDecoder[Up] = FrameDecoder(Up)
        self._heard: list[Up] = []

    async def say(self, *messages: Down) -> None:
        await asyncio.get_running_loop().sock_sendall(self._feed, b"".join(map(encode_frame, messages)))

    async def hear_all(self) -> AsyncIterator[Up]:
        """Messages as they come, until the worker closes its feed."""
        while True:
            while self._heard:
                yield self._heard.pop(0)
            data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self._feed, 1 << 16), LIMIT)
            if not data:
                return
            self._heard += self._decoder.feed(data)

    async def hear(self, kind: type[Up]) -> Up:
        """The next message of that kind; others before it are dropped."""
        async for message in self.hear_all():
            if isinstance(message, kind):
                return message
        raise AssertionError("the worker closed its feed")

    def hang_up(self) -> None:
        """The control process is gone."""
        self._feed.close()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    async def exit_code(self) -> int:
        return await asyncio.wait_for(self.process.wait(), LIMIT)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[RawClient]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        client = RawClient(reader, writer)
        try:
            yield client
        finally:
            client.close()

    async def status_of(self, text: bytes) -> int:
        async with self.client() as client:
            client.send(text)
            return status((await client.read_response())[0])


@asynccontextmanager
async def worker_process(*further: socket.socket) -> AsyncIterator[WorkerProcess]:
    """A worker with one socket that listens, and ``further`` ones; it does not outlive the block."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "proxy.worker", "--id", "7"),
            *("--feed-fd", str(theirs.fileno()), "--listen", f"http:{listener.fileno()}"),
            *(word for each in further for word in ("--listen", f"http:{each.fileno()}")),
            pass_fds=[theirs.fileno(), listener.fileno(), *(each.fileno() for each in further)],
        )
        theirs.close()
        try:
            # The listener stays open here, as in the control process.
            yield WorkerProcess(process, ours, listener.getsockname()[1])
        finally:
            ours.close()
            if process.returncode is None:
                process.kill()
                await process.wait()


def _whole(table: Table, generation: int = 5) -> Delta:
    return msgspec.structs.replace(difference(Table(), table, generation=generation), reset=True)


def _table(*ports: int) -> Table:
    return one_route(ports, settings=Settings(access_log="off"))


async def test_the_first_delta_makes_it_serve_and_drain_makes_it_end() -> None:
    """Whole table → Ack, and served; the next delta → Ack; Drain → last Stats, Drained, exit 0."""
    async with raw_backend(answers()) as backend, worker_process() as worker:
        table = _table(backend.port)
        await worker.say(_whole(table))
        assert await worker.hear(Ack) == Ack(generation=5)
        assert await worker.status_of(request()) == 200
        empty = msgspec.structs.replace(table, clusters={CLUSTER: Cluster()})
        await worker.say(difference(table, empty, generation=6))
        assert await worker.hear(Ack) == Ack(generation=6)
        assert await worker.status_of(request()) == 503
        await worker.say(AskStats(token=1))
        await worker.hear(Stats)
        assert await worker.status_of(request()) == 503
        await worker.say(Drain(delay=0.0, timeout=5.0))
        stats = await worker.hear(Stats)
        assert isinstance(stats, Stats)
        assert sum(stats.routes[0].requests.values()) == 1
        assert stats.codec == CODEC
        assert await worker.hear(Drained) == Drained(cut=0)
        assert await worker.exit_code() == 0


async def test_deltas_that_come_together_are_acknowledged_once_it_serves() -> None:
    """No Ack runs ahead of the listening sockets."""
    async with raw_backend(answers()) as backend, worker_process() as worker:
        table = _table(backend.port)
        await worker.say(_whole(_table(1)), difference(_table(1), table, generation=6))
        assert await worker.hear(Ack) == Ack(generation=6)
        assert await worker.status_of(request()) == 200
        await worker.say(AskStats(token=9))
        async for message in worker.hear_all():
            assert not isinstance(message, Ack), "once"
            if isinstance(message, Stats) and message.token == 9:
                break


@pytest.mark.parametrize(
    ("delta", "reason"),
    [
        (Delta(generation=8), "generation 8 does not follow 5"),
        (Delta(generation=5), "generation 5 does not follow 5"),
        (Delta(generation=6, settings=Settings(trusted_proxies=("nonsense",))), "trusted_proxies"),
    ],
)
async def test_a_delta_that_does_not_compile_is_refused_and_changes_nothing(delta: Delta, reason: str) -> None:
    """Nack with the reason; the old table stays live, and the right next delta is taken."""
    async with raw_backend(answers()) as backend, worker_process() as worker:
        await worker.say(_whole(_table(backend.port)))
        await worker.hear(Ack)
        await worker.say(delta)
        nack = await worker.hear(Nack)
        assert isinstance(nack, Nack)
        assert nack.generation == delta.generation
        assert reason in nack.reason
        assert await worker.status_of(request()) == 200
        await worker.say(Delta(generation=6))
        assert await worker.hear(Ack) == Ack(generation=6)


async def test_a_first_delta_that_is_refused_is_followed_by_one_that_is_not() -> None:
    """Until then it does not serve; the connections wait in the queue."""
    async with raw_backend(answers()) as backend, worker_process() as worker:
        bad = Settings(trusted_proxies=("nonsense",))
        await worker.say(_whole(one_route([backend.port], settings=bad)))
        await worker.hear(Nack)
        async with worker.client() as early:
            early.send(request())
            await worker.say(_whole(_table(backend.port), 9))
            assert await worker.hear(Ack) == Ack(generation=9)
            assert status((await early.read_response())[0]) == 200


async def test_a_question_for_stats_is_answered_with_its_token() -> None:
    """Even before there is a table."""
    async with worker_process() as worker:
        await worker.say(AskStats(token=17))
        stats = await worker.hear(Stats)
        assert isinstance(stats, Stats)
        assert stats.token == 17
        assert stats.gauges["generation"] == 0


async def test_terminals_signals_are_not_for_workers() -> None:
    """SIGINT and SIGHUP reach the whole process group; only the control process acts on them."""
    async with raw_backend(answers()) as backend, worker_process() as worker:
        await worker.say(_whole(_table(backend.port)))
        await worker.hear(Ack)
        worker.signal(signal.SIGINT)
        worker.signal(signal.SIGHUP)
        await asyncio.sleep(0.1)
        assert await worker.status_of(request()) == 200
        assert worker.process.returncode is None


async def test_sigterm_drains_it() -> None:
    """A request under way is finished, then the worker ends with 0; a second SIGTERM changes nothing."""
    answer = asyncio.Event()

    async def script(conversation: Conversation, backend: Backend) -> None:
        backend.heads.append(await conversation.read_head())
        await answer.wait()
        conversation.send(OK)
        await conversation.reader.read()

    async with raw_backend(script) as backend, worker_process() as worker:
        await worker.say(_whole(_table(backend.port)))
        await worker.hear(Ack)
        async with worker.client() as client:
            client.send(request())
            await eventually(lambda: bool(backend.heads), "the request is under way")
            worker.signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
            worker.signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
            assert worker.process.returncode is None
            answer.set()
            assert status(await client.read_to_end()) == 200
        assert [message async for message in worker.hear_all() if isinstance(message, Drained)] == [Drained(cut=0)]
        assert await worker.exit_code() == 0


async def test_stop_ends_it_at_once() -> None:
    """Whatever is under way."""
    async with raw_backend(answers()) as backend, worker_process() as worker:
        await worker.say(_whole(_table(backend.port)))
        await worker.hear(Ack)
        async with worker.client() as client:
            client.send(b"GET / HTTP/1.1\r\n")
            await worker.say(Drain(delay=60.0, timeout=60.0))
            await asyncio.sleep(0.1)
            await worker.say(Stop())
            assert await worker.exit_code() == 0


async def test_it_serves_on_without_its_control_process() -> None:
    """The end of the feed is no end of service: another control process may be on its way."""
    async with raw_backend(answers()) as backend, worker_process() as worker:
        await worker.say(_whole(_table(backend.port)))
        await worker.hear(Ack)
        worker.hang_up()
        await asyncio.sleep(0.2)
        for _ in range(3):
            assert await worker.status_of(request()) == 200
        worker.signal(signal.SIGTERM)
        assert await worker.exit_code() == 0


async def test_nonsense_on_the_feed_does_not_end_service() -> None:
    """A frame that does not decode ends the conversation, as if the control process had gone."""
    async with raw_backend(answers()) as backend, worker_process() as worker:
        await worker.say(_whole(_table(backend.port)))
        await worker.hear(Ack)
        await asyncio.get_running_loop().sock_sendall(worker._feed, b"\x00\x00\x00\x02\xc1\xc1")
        await asyncio.sleep(0.2)
        assert await worker.status_of(request()) == 200


async def test_a_worker_that_cannot_listen_fails() -> None:
    """It cannot serve, so it ends with a code that says so, for its supervisor to start another."""
    with socket.socket(type=socket.SOCK_DGRAM) as wrong:
        async with worker_process(wrong) as worker:
            await worker.say(_whole(_table(1)))
            assert await worker.exit_code() == 1


async def test_large_last_words_arrive() -> None:
    """Statistics larger than a socket's buffer are not cut off by the end of the process."""
    async with raw_backend(answers()) as backend, worker_process() as worker:
        table = _table(backend.port)
        (host,) = table.hosts.values()
        many = msgspec.structs.replace(table, hosts={f"host-{number}.example.com": host for number in range(3000)})
        await worker.say(_whole(many))
        await worker.hear(Ack)
        async with worker.client() as client:
            for number in range(3000):
                client.send(b"GET / HTTP/1.1\r\nHost: host-%d.example.com\r\n\r\n" % number)
            for _ in range(3000):
                await client.read_response()
        await worker.say(Drain(delay=0.0, timeout=5.0))
        await asyncio.sleep(0.5)  # Meanwhile the worker writes more than fits.
        assert isinstance(await worker.hear(Drained), Drained)
        assert await worker.exit_code() == 0


async def test_the_data_plane_alone_drains_at_the_first_signal_and_ends_at_the_second(tmp_path: Path) -> None:
    """``python -m proxy``: a client that keeps it up for its drain timeout does so only until the second SIGTERM."""
    loop = asyncio.get_running_loop()
    async with proxy_process(_table(1), tmp_path) as proxy:
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"GET / HTTP/1.1\r\n")
        await asyncio.sleep(0.1)
        proxy.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        assert proxy.process.returncode is None
        started = loop.time()
    # Leaving the block sent the second one.
    assert loop.time() - started < 1.0
    writer.transport.abort()
