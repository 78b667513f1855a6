"""How connections to HTTP/2 backends begin: no request goes out before the backend told how many it takes."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest
import trustme
from h2.settings import SettingCodes

from proxy.table import Endpoint, Settings, Table, UpstreamTls
from proxy.upstream.http2 import Http2Upstream
from tests.behaviour.test_external_names import Resolver
from tests.behaviour.test_upstream_http2 import ANSWER, H2C, multiplexed, post
from tests.support.backend import Backend, Conversation, Script, raw_backend
from tests.support.certificates import ca_pem, server_context
from tests.support.clients import ask, get, read_reply
from tests.support.failing import CLUSTER, client_of, endpoint_of, eventually, quiet, turn_to
from tests.support.http2 import GOAWAY, SETTINGS, WINDOW_UPDATE, frame, http2_client, read_frames, settings
from tests.support.http2_backend import Call, http2_backend
from tests.support.log import log_pipe
from tests.support.proxy import HOST, RunningProxy, running_proxy

pytestmark = pytest.mark.usefixtures("http2_codec")

NAME = "api.internal.example"
SHORT = Settings(h2c=True, access_log="off", connect_timeout=0.2)
WAITING = ("says nothing", "takes no stream", "says GOAWAY at once", "says GOAWAY, taking no stream")
"""Backends of :data:`FAILURES` that wait to be closed."""
BYE = frame(GOAWAY, 0, 0, bytes(8))
NO_STREAM = settings((SettingCodes.MAX_CONCURRENT_STREAMS, 0))


def says(data: bytes, *, then: str = "") -> Script:
    """A script that says just that, once it was spoken to; then it waits, or closes, or resets."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.reader.readexactly(24)
        conversation.send(data)
        if then == "reset":
            await asyncio.sleep(0.02)
            conversation.reset()
            return
        if then == "close":
            # What is unread where a socket is closed makes a reset of it.
            conversation.writer.write_eof()
        await conversation.reader.read()
        backend.bodies.append(b"closed")

    return script


def changed(table: Table, **changes: Any) -> Table:
    """The table with another cluster."""
    cluster = msgspec.structs.replace(table.clusters[CLUSTER], **changes)
    return msgspec.structs.replace(table, clusters={CLUSTER: cluster})


class Patient(grpc.GenericRpcHandler):
    """One method that answers once ``count`` calls are there. ``active``: those of each connection."""

    def __init__(self, count: int) -> None:
        self.active: Counter[str] = Counter()
        self._count = count
        self._all = asyncio.Event()

    def service(self, details: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(self.answer)

    async def answer(self, request: bytes, context: Any) -> bytes:
        self.active[context.peer()] += 1
        if self.active.total() == self._count:
            self._all.set()
        await self._all.wait()
        return request


async def test_a_burst_to_a_server_with_a_low_limit_loses_no_call() -> None:
    """200 calls at once on no connection yet, to a grpcio server that takes seven streams on each: all are answered,
    side by side on as many connections as that takes."""
    service = Patient(200)
    server = grpc.aio.server(options=[("grpc.max_concurrent_streams", 7)])
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with running_proxy(multiplexed(port)) as proxy:
            assert await burst(proxy, 200) == [b"%d" % number for number in range(200)]
            assert sorted(service.active.values()) == [4, *[7] * 28]
            await quiet(proxy)
            assert not endpoint_of(proxy).suspect
    finally:
        await server.stop(0)


async def burst(proxy: RunningProxy, count: int) -> list[bytes]:
    """What comes of so many calls at once, on two client connections."""
    options = [("grpc.default_authority", HOST), ("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{proxy.port}", options=options))
            for _ in range(2)
        ]
        return await asyncio.gather(
            *(channels[number % 2].unary_unary("/test.Patient/Answer")(b"%d" % number) for number in range(count))
        )


@pytest.mark.parametrize("secured", [False, True])
async def test_no_request_goes_out_before_the_limit_is_known(secured: bool) -> None:
    """Nothing but the proxy's own SETTINGS and window is sent until then; then one stream for each connection of a
    backend that takes one."""
    authority = trustme.CA()
    tls = server_context(authority, NAME) if secured else None
    trusted = UpstreamTls(verify=True, ca_pem=ca_pem(authority), server_name=NAME) if secured else None
    release = asyncio.Event()

    async def script(call: Call) -> None:
        await release.wait()
        await ANSWER(call)

    one = {SettingCodes.MAX_CONCURRENT_STREAMS: 1}
    async with (
        http2_backend(script, settings=one, greets=False, tls=tls) as backend,
        running_proxy(multiplexed(backend.port, tls=trusted)) as proxy,
        http2_client(proxy) as client,
    ):
        streams = [client.ask() for _ in range(3)]
        for number in range(3):
            await eventually(lambda: len(backend.connections) == number + 1, "one more")  # noqa: B023 - awaited at once
            connection = backend.connections[number]
            await asyncio.sleep(0.05)
            kinds = [each.kind for each in read_frames(connection.early[24:])]
            assert kinds == [SETTINGS, WINDOW_UPDATE]
            connection.greet()
        await eventually(lambda: len(backend.calls) == 3, "all are under way")
        assert len({call.connection for call in backend.calls}) == len(backend.connections) == 3
        release.set()
        for stream in streams:
            assert (await client.answer(stream)).status == 200


FAILURES: dict[str, tuple[Script, str]] = {
    "says nothing": (says(b""), "ConnectNoSettings"),
    "takes no stream": (says(NO_STREAM), "ConnectNoStreams"),
    "speaks HTTP/1.1": (says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), "ConnectNoHttp2"),
    "speaks HTTP/1.1 and closes": (says(b"HTTP/1.1 400 Bad Request\r\n\r\n", then="close"), "ConnectNoHttp2"),
    "says GOAWAY first": (says(BYE + settings()), "ConnectNoHttp2"),
    "says GOAWAY at once": (says(settings() + BYE), "UpstreamClosed"),
    "says GOAWAY, taking no stream": (says(NO_STREAM + BYE), "UpstreamClosed"),
    "goes astray, taking no stream": (says(NO_STREAM + frame(SETTINGS, 0, 0, b"1")), "ConnectNoHttp2"),
    "closes": (says(b"", then="close"), "UpstreamClosed"),
    "closes behind its SETTINGS": (says(NO_STREAM, then="close"), "UpstreamClosed"),
    "resets": (says(b"", then="reset"), "UpstreamReset"),
}


@pytest.mark.parametrize("send_proxy", ["", "v2"])
@pytest.mark.parametrize("case", FAILURES)
async def test_a_connection_that_does_not_begin_well_is_none(case: str, send_proxy: str) -> None:
    """502 with the reason in the log; it counts as one failure, is closed, and nothing is left of it."""
    script, reason = FAILURES[case]
    logged = msgspec.structs.replace(SHORT, access_log="json")
    async with raw_backend(script) as backend, log_pipe() as log:
        table = changed(multiplexed(backend.port, settings=logged), send_proxy=send_proxy)
        async with running_proxy(table, log_fd=log.fd) as proxy:
            reply = await ask(proxy, post(b"x"))
            assert (reply.status, (await log.entry(proxy))["error"]) == (502, reason)
            told = proxy.worker.telemetry
            counts = (told.ejections, told.upstream_connects, told.upstream_connect_failures)
            assert (*counts, backend.connections, endpoint_of(proxy).failures) == (1, 0, 1, 1, 1)
            await quiet(proxy)
            assert proxy.worker.stats().gauges["upstream_idle"] == 0
            if case in WAITING:
                await eventually(lambda: backend.bodies == [b"closed"], "the proxy closed it")


@pytest.mark.parametrize("case", FAILURES)
async def test_another_endpoint_answers_instead(case: str) -> None:
    """A POST too, with its body: nothing was sent."""
    async with (
        raw_backend(FAILURES[case][0]) as bad,
        http2_backend(ANSWER) as good,
        running_proxy(multiplexed(bad.port, good.port, settings=SHORT)) as proxy,
    ):
        turn_to(proxy, 0)
        reply = await ask(proxy, post(b"x"))
        assert (reply.status, bad.connections) == (200, 1)
        assert good.calls[0].body == b"x"
        assert [endpoint_of(proxy, index).suspect for index in range(2)] == [True, False]
        await quiet(proxy)


async def test_a_limit_of_none_may_rise() -> None:
    """A backend that takes no stream yet is waited for."""
    none, one = {SettingCodes.MAX_CONCURRENT_STREAMS: 0}, {SettingCodes.MAX_CONCURRENT_STREAMS: 1}
    async with http2_backend(ANSWER, settings=none) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        async with client_of(proxy) as client:
            client.send(get())
            await eventually(lambda: len(backend.connections) == 1, "dialled")
            await asyncio.sleep(0.05)
            assert not backend.calls
            backend.connections[0].h2.update_settings(one)  # type: ignore[arg-type]  # codes are ints
            backend.connections[0].flush()
            assert (await read_reply(client)).status == 200
        assert len(backend.connections) == 1


async def test_a_connection_that_is_lost_as_it_greets_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both in one turn of the loop: who waits hears of it, and it is not kept."""

    def lose(connection: Http2Upstream, data: bytes) -> None:
        receive(connection, data)
        connection.connection_lost(None)
        monkeypatch.setattr(connection, "connection_lost", lambda error: None)
        connection.transport.abort()

    receive = Http2Upstream.data_received
    monkeypatch.setattr(Http2Upstream, "data_received", lose)
    async with http2_backend(ANSWER) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        assert (await ask(proxy, get())).status == 502
        assert proxy.worker.telemetry.upstream_connect_failures == 1
        assert proxy.worker.stats().gauges["upstream_idle"] == 0
        await quiet(proxy)


async def test_all_who_wait_hear_of_a_failure_once() -> None:
    """Ten requests wait for one connection: one attempt, one ejection, ten answers from another endpoint."""
    async with (
        raw_backend(says(b"")) as bad,
        http2_backend(ANSWER) as good,
        running_proxy(multiplexed(bad.port, good.port, settings=SHORT)) as proxy,
    ):
        # One in turn each, so that as many choose the good one.
        replies = await asyncio.gather(*(ask(proxy, post(b"x")) for _ in range(20)))
        assert [reply.status for reply in replies] == [200] * 20
        assert (bad.connections, proxy.worker.telemetry.ejections) == (1, 1)
        assert len(good.connections) == 1
        await quiet(proxy)


async def test_who_leaves_meanwhile_takes_no_stream() -> None:
    """Of three who wait two leave, and the third is served; then the last of three leaves, and the connection is kept
    for whoever comes next."""
    async with (
        http2_backend(ANSWER, greets=False) as backend,
        running_proxy(multiplexed(backend.port)) as proxy,
        http2_client(proxy) as client,
    ):
        for staying in (1, 0):
            streams = [client.ask() for _ in range(3)]
            await eventually(lambda: proxy.worker.runtime.active == 3, "all wait")
            await eventually(lambda: len(backend.connections) == 2 - staying, "dialled")  # noqa: B023 - awaited at once
            for stream in streams[staying:]:
                client.connection.reset_stream(stream)
            client.flush()
            await eventually(lambda: proxy.worker.runtime.active == staying, "they left")  # noqa: B023
            backend.connections[-1].greet()
            for stream in streams[:staying]:
                assert (await client.answer(stream)).status == 200
            await quiet(proxy, connections=1)
            assert proxy.worker.stats().gauges["upstream_idle"] == 1
            if staying:
                backend.connections[0].transport.close()
                await eventually(lambda: proxy.worker.stats().gauges["upstream_idle"] == 0, "it is gone")
        assert (await client.get()).status == 200
        assert (len(backend.connections), len(backend.calls)) == (2, 2)


async def test_who_leaves_takes_a_connection_of_its_own_along() -> None:
    """Behind a PROXY protocol header nobody else may use it."""
    async with http2_backend(ANSWER, greets=False) as backend:
        table = changed(multiplexed(backend.port), send_proxy="v1")
        async with running_proxy(table) as proxy, http2_client(proxy) as client:
            streams = [client.ask() for _ in range(2)]
            await eventually(lambda: len(backend.connections) == 2, "dialled")
            await eventually(lambda: all(b"\r\n" in each.early for each in backend.connections), "introduced")
            client.connection.reset_stream(streams[0])
            client.flush()
            await eventually(lambda: proxy.worker.runtime.active == 1, "one has left")
            for connection in backend.connections:
                connection.early = connection.early.partition(b"\r\n")[2]
                connection.greet()
            assert (await client.answer(streams[1])).status == 200
            for connection in backend.connections:
                await asyncio.wait_for(connection.lost.wait(), 5)
            assert len(backend.calls) == 1
            await quiet(proxy, connections=1)


async def test_an_endpoint_that_goes_meanwhile_serves_who_waits() -> None:
    """The request that waits is answered; then the connection ends."""
    async with http2_backend(ANSWER, greets=False) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        asking = asyncio.get_running_loop().create_task(ask(proxy, get()))
        await eventually(lambda: len(backend.connections) == 1, "dialled")
        proxy.publish(Table(settings=H2C))
        backend.connections[0].greet()
        assert (await asking).status == 200
        await asyncio.wait_for(backend.connections[0].lost.wait(), 5)


async def test_a_worker_that_ends_meanwhile_closes_the_connection() -> None:
    """What is being made is given up with the worker."""
    async with http2_backend(ANSWER, greets=False) as backend:
        async with running_proxy(multiplexed(backend.port)) as proxy:
            client = await proxy.connect()
            client.send(get())
            await eventually(lambda: len(backend.connections) == 1, "dialled")
            await asyncio.sleep(0.02)
        await asyncio.wait_for(backend.connections[0].lost.wait(), 5)
        client.close()


async def test_a_silent_address_of_a_name_does_not_hide_the_others() -> None:
    """The first address takes the connection and says nothing: it costs its share of the connect timeout."""
    async with http2_backend(ANSWER) as backend, raw_backend(says(b""), address="127.0.0.99", port=backend.port):
        endpoints = (Endpoint(address="example.com", port=backend.port),)
        settings = msgspec.structs.replace(SHORT, connect_timeout=0.4, allow_local_names=True)
        table = changed(multiplexed(settings=settings), endpoints=endpoints, by_name=True)
        async with running_proxy(table) as proxy:
            proxy.worker._dialer._loop = Resolver(proxy.worker.loop, "127.0.0.99", "127.0.0.1")  # type: ignore[assignment]
            began = asyncio.get_running_loop().time()
            assert (await ask(proxy, get())).status == 200
            assert 0.2 <= asyncio.get_running_loop().time() - began < 0.4


async def test_over_tls_a_backend_that_says_nothing_is_given_up() -> None:
    """The handshake and the greeting share the connect timeout."""
    authority = trustme.CA()
    tls = server_context(authority, NAME)
    trusted = UpstreamTls(verify=True, ca_pem=ca_pem(authority), server_name=NAME)
    logged = msgspec.structs.replace(SHORT, access_log="json")
    async with http2_backend(ANSWER, greets=False, tls=tls) as backend, log_pipe() as log:
        table = multiplexed(backend.port, tls=trusted, settings=logged)
        async with running_proxy(table, log_fd=log.fd) as proxy:
            assert (await ask(proxy, get())).status == 502
            assert (await log.entry(proxy))["error"] == "ConnectNoSettings"
            await asyncio.wait_for(backend.connections[0].lost.wait(), 5)
            await quiet(proxy)
