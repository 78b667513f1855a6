"""HTTP/2 to backends on real sockets: what passes, what is shared, who waits for whom, and what may be sent again."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import msgspec
import pytest
import trustme
from h2.settings import SettingCodes

from proxy.http2.codes import CANCEL, ENHANCE_YOUR_CALM, INTERNAL_ERROR, REFUSED_STREAM
from proxy.table import Settings, Table, UpstreamTls
from tests.support.backend import Backend, Conversation, fixed, raw_backend
from tests.support.certificates import ca_pem, server_context
from tests.support.clients import ask, get, read_reply, reset
from tests.support.failing import eventually
from tests.support.http2 import http2_client, request_fields
from tests.support.http2_backend import Call, Connection, answers, http2_backend
from tests.support.log import log_pipe
from tests.support.proxy import HOST, RunningProxy, one_route, running_proxy

CLUSTER = "default/backend:80"
H2C = Settings(h2c=True, access_log="off")
AUTHORITY = trustme.CA()
NAME = "api.internal.example"
ANSWER = answers()
GET = get()


def multiplexed(*ports: int, **changes: Any) -> Table:
    return one_route(ports, protocol="http2", **{"settings": H2C, **changes})


def post(body: bytes, path: str = "/") -> bytes:
    return get(path, f"Content-Length: {len(body)}", method="POST") + body


async def failure(port: int, request: bytes = GET, **changes: Any) -> tuple[int, str]:
    """Status, and reason in the log."""
    table = multiplexed(port, settings=Settings(access_log="json"), **changes)
    async with log_pipe() as log, running_proxy(table, log_fd=log.fd) as proxy:
        reply = await ask(proxy, request)
        return reply.status, str((await log.entry(proxy)).get("error"))


async def test_a_request_of_http_1_1_becomes_a_stream() -> None:
    """Request line and Host become pseudo-header fields, fields of the connection stay behind, the response comes back
    with its fields, and several requests share one connection."""
    script = answers(
        b"hello", ("content-type", "text/plain"), ("x-two", "2"), ("set-cookie", "a=b"), ("set-cookie", "c=d")
    )
    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        for _ in range(3):
            reply = await ask(proxy, get("/a/b?c=d", "X-One: 1", "Connection: X-Gone", "X-Gone: 1", "TE: gzip"))
        assert (reply.status, reply.body) == (200, b"hello")
        assert reply.fields["x-two"] == "2"
        assert reply.fields["set-cookie"] == "a=b, c=d"
        assert reply.fields["transfer-encoding"] == "chunked"
        assert len(backend.connections) == 1
    fields = backend.calls[0].fields
    assert [fields[name] for name in (":method", ":path", ":scheme", ":authority")] == ["GET", "/a/b?c=d", "http", HOST]
    assert fields["x-one"] == "1"
    assert fields["te"] == "trailers"
    assert fields["x-forwarded-for"] == "127.0.0.1"
    assert not {"connection", "host", "x-gone", "transfer-encoding", "upgrade"} & fields.keys()


@pytest.mark.parametrize("status", [200, 204, 304, 404, 599])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_responses_without_a_body(status: int, method: str) -> None:
    """A head that ends its stream is a whole response, in whatever version the client speaks."""

    async def script(call: Call) -> None:
        call.headers(status, ("x-a", "b"), end=True)

    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        client = await proxy.connect()
        for _ in range(2):
            client.send(get(method=method))
            reply = await read_reply(client, method=method)
            assert (reply.status, reply.body, reply.fields["x-a"]) == (status, b"", "b")
        client.close()
        async with http2_client(proxy) as other:
            answer = await other.get(method=method)
            assert (answer.status, answer.body, answer.ended) == (status, b"", True)


@pytest.mark.parametrize("chunked", [False, True])
async def test_bodies_and_trailers_pass_both_ways(chunked: bool) -> None:
    """A body of any framing becomes DATA; trailers come through, to HTTP/1.1 in chunks and to HTTP/2 as they are."""

    async def script(call: Call) -> None:
        await call.ended.wait()
        call.headers(200, ("content-type", "application/grpc"))
        await call.data(call.body)
        call.finish(("grpc-status", "0"), ("grpc-message", "fine"))

    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        client = await proxy.connect()
        if chunked:
            client.send(get("/", "Transfer-Encoding: chunked", "TE: trailers", method="POST"))
            client.send(b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n")
        else:
            client.send(post(b"abcde"))
        reply = await read_reply(client)
        assert reply.body == b"abcde"
        assert reply.trailers == {"grpc-status": "0", "grpc-message": "fine"}
        client.close()
        async with http2_client(proxy) as other:
            number = other.ask(request_fields(method="POST"), end=False)
            other.send(number, b"12345", end=True)
            answer = await other.answer(number)
            assert (answer.body, answer.trailers) == (b"12345", {"grpc-status": "0", "grpc-message": "fine"})
    assert backend.calls[0].trailers == ({"x-sum": "5"} if chunked else {})
    assert backend.calls[0].fields.get("content-length") == (None if chunked else "5")


async def test_many_requests_share_a_connection() -> None:
    """100 requests at a time need one connection, and only one is made for them; they end in any order."""

    async def script(call: Call) -> None:
        await call.ended.wait()
        number = int(call.fields[":path"][1:])
        await asyncio.sleep(0.1 + (number % 7) / 100)
        call.headers(200)
        await call.data(b"%d" % number, end=True)

    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        replies = await asyncio.gather(*(ask(proxy, get(f"/{number}")) for number in range(100)))
        assert [reply.body for reply in replies] == [b"%d" % number for number in range(100)]
        assert len(backend.connections) == 1


async def test_a_limit_on_streams_is_kept() -> None:
    """An endpoint that takes three at a time gets more connections, and never a fourth stream on one."""
    most: dict[Connection, int] = {}

    async def script(call: Call) -> None:
        most[call.connection] = max(most.get(call.connection, 0), call.connection.h2.open_inbound_streams)
        await asyncio.sleep(0.1)
        call.headers(200)
        await call.data(b"ok", end=True)

    limit = {SettingCodes.MAX_CONCURRENT_STREAMS: 3}
    async with http2_backend(script, settings=limit) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        await ask(proxy, get())
        replies = await asyncio.gather(*(ask(proxy, get()) for _ in range(12)))
        assert [reply.status for reply in replies] == [200] * 12
        assert max(most.values()) <= 3
        assert len(backend.connections) >= 4


async def test_large_bodies_pass_within_the_windows() -> None:
    """Megabytes up and down, beyond every window, whole."""
    body = bytes(range(256)) * 16384

    async def script(call: Call) -> None:
        await call.ended.wait()
        call.headers(200, ("content-length", str(len(call.body))))
        await call.data(call.body, end=True)

    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        client = await proxy.connect()
        client.send(get("/", f"Content-Length: {len(body)}", method="PUT") + body)
        assert (await read_reply(client)).body == body
        client.close()
    assert backend.calls[0].body == body


async def test_a_slow_reader_stops_its_own_stream_only() -> None:
    """A client that does not read stops the backend after some hundred KiB; ten of them cost another client nothing."""
    sent = 0

    async def script(call: Call) -> None:
        nonlocal sent
        call.headers(200)
        if call.fields[":path"] == "/quick":
            await call.data(bytes(100_000), end=True)
        while True:
            await call.data(bytes(65536))
            sent += 65536

    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        slow = []
        for _ in range(10):
            client = await proxy.connect()
            client.reader._limit = 65536  # type: ignore[attr-defined]
            client.writer.transport.pause_reading()
            client.send(get("/endless"))
            slow.append(client)
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 10 * 12 * 1024 * 1024
        assert len((await asyncio.wait_for(ask(proxy, get("/quick")), 5)).body) == 100_000
        assert len(backend.connections) == 1
        for client in slow:
            client.close()
        await eventually(
            lambda: all(c.reset == CANCEL for c in backend.calls if c.fields[":path"] == "/endless"), "reset"
        )


async def test_a_backend_that_does_not_read_stops_the_client() -> None:
    """A request body waits with the client while the endpoint's window is closed, and goes on once it opens."""
    opened = asyncio.Event()

    async def script(call: Call) -> None:
        call.greedy = False
        await opened.wait()
        call.greedy = True
        call.connection.h2.acknowledge_received_data(len(call.body), call.number)
        call.connection.flush()
        await call.ended.wait()
        call.headers(200)
        await call.data(b"%d" % len(call.body), end=True)

    size = 8 * 1024 * 1024
    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        client = await proxy.connect()
        client.send(get("/", f"Content-Length: {size}", method="PUT") + bytes(size))
        await asyncio.sleep(0.3)
        left = client.writer.transport.get_write_buffer_size()
        assert left > 1024 * 1024
        opened.set()
        assert (await read_reply(client)).body == b"%d" % size
        client.close()


async def test_a_refused_stream_is_sent_again_whatever_its_method() -> None:
    """REFUSED_STREAM says that nothing was done: a POST goes out again, on another connection."""

    async def script(call: Call) -> None:
        await call.ended.wait()
        if len(backend.calls) == 2:
            call.refuse(REFUSED_STREAM)
            return
        call.headers(200)
        await call.data(call.body, end=True)

    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        for _ in range(2):
            client = await proxy.connect()
            client.send(post(b"body"))
            assert (await read_reply(client)).body == b"body"
            client.close()
        assert [call.body for call in backend.calls] == [b"body"] * 3
        assert proxy.worker.telemetry.ejections == 0


@pytest.mark.parametrize("code", [INTERNAL_ERROR, CANCEL, ENHANCE_YOUR_CALM])
async def test_another_reset_is_not_sent_again_unless_it_is_safe(code: int) -> None:
    """A POST may have been done: 502, once. A GET may be done twice: another endpoint answers."""

    async def script(call: Call) -> None:
        await call.ended.wait()
        call.refuse(code)

    async with (
        http2_backend(script) as bad,
        http2_backend(ANSWER) as good,
        running_proxy(multiplexed(bad.port)) as alone,
        running_proxy(multiplexed(bad.port, good.port)) as proxy,
    ):
        client = await alone.connect()
        client.send(post(b"body"))
        assert (await read_reply(client)).status == 502
        client.close()
        assert len(bad.calls) == 1
        for _ in range(2):
            assert (await ask(proxy, get())).status == 200


async def test_goaway_loses_no_request() -> None:
    """Streams above the last one are sent again, a POST too; those below end as they would have; the connection takes
    no more and closes."""

    async def script(call: Call) -> None:
        await call.ended.wait()
        path = call.fields[":path"]
        if path == "/last" and call.connection is backend.connections[0]:
            call.goaway(backend.calls[0].number)
            return
        if path == "/first":
            await asyncio.sleep(0.3)
        call.headers(200)
        await call.data(path.encode() + call.body, end=True)

    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        first = asyncio.get_running_loop().create_task(ask(proxy, get("/first")))
        await eventually(lambda: len(backend.calls) == 1, "the first is under way")
        client = await proxy.connect()
        client.send(post(b"x", "/last"))
        assert (await read_reply(client)).body == b"/lastx"
        client.close()
        assert (await first).body == b"/first"
        await asyncio.wait_for(backend.connections[0].lost.wait(), 5)
        assert len(backend.connections) == 2
        assert [call.fields[":path"] for call in backend.calls] == ["/first", "/last", "/last"]
        assert proxy.worker.telemetry.ejections == 0


async def test_a_warning_of_the_end_is_heeded() -> None:
    """GOAWAY that names no last stream yet (RFC 9113 section 6.8): new requests go to another connection at once."""

    async def script(call: Call) -> None:
        if len(backend.calls) == 1:
            call.goaway(2**31 - 1)
            await asyncio.sleep(0.1)
        call.headers(200)
        await call.data(b"ok", end=True)

    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        first = asyncio.get_running_loop().create_task(ask(proxy, get()))
        await eventually(lambda: len(backend.calls) == 1, "the first is under way")
        await asyncio.sleep(0.02)
        assert (await ask(proxy, get())).status == 200
        assert (await first).status == 200
        assert backend.calls[1].connection is not backend.calls[0].connection


@pytest.mark.parametrize("begun", [False, True])
async def test_a_connection_that_is_lost_fails_its_streams(begun: bool) -> None:
    """What may have been done is not done again: 502 before a response, a truncated one within it."""

    async def script(call: Call) -> None:
        await call.ended.wait()
        if begun:
            call.headers(200)
            await call.data(b"some")
        if len(backend.calls) == 2:
            await asyncio.sleep(0.05)
            call.connection.transport.abort()

    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        clients = [await proxy.connect() for _ in range(2)]
        for client in clients:
            client.send(post(b"x"))
        for client in clients:
            if begun:
                with pytest.raises(asyncio.IncompleteReadError):
                    await read_reply(client)
            else:
                assert (await read_reply(client)).status == 502
            client.close()
        assert len(backend.calls) == 2


async def test_a_get_on_a_connection_that_was_given_up_is_sent_again() -> None:
    """The close crosses the request: it goes out again on a new connection, and is no fault of the endpoint."""

    async def script(call: Call) -> None:
        await call.ended.wait()
        if len(backend.calls) == 2:
            call.connection.transport.abort()
            return
        call.headers(200)
        await call.data(b"ok", end=True)

    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        assert (await ask(proxy, get())).status == 200
        assert (await ask(proxy, get())).status == 200
        assert len(backend.connections) == 2
        assert proxy.worker.telemetry.ejections == 0


MALFORMED: dict[str, list[tuple[str, str]]] = {
    "no status": [("x-a", "b")],
    "a status that is none": [(":status", "20")],
    "a switch": [(":status", "101")],
    "a line end in a value": [(":status", "200"), ("x-a", "b\r\nSet-Cookie: c=d")],
    "an upper-case name": [(":status", "200"), ("X-A", "b")],
    "a field of the connection": [(":status", "200"), ("connection", "close")],
    "a coding": [(":status", "200"), ("transfer-encoding", "chunked")],
    "a length that is none": [(":status", "200"), ("content-length", "1x")],
    "a pseudo-header field behind others": [(":status", "200"), ("x-a", "b"), (":path", "/")],
}


@pytest.mark.parametrize("case", MALFORMED)
async def test_a_malformed_response_costs_its_stream(case: str) -> None:
    """502; nothing of it reaches the client, and the connection serves others."""

    async def script(call: Call) -> None:
        await call.ended.wait()
        if call.fields[":path"] == "/good":
            await ANSWER(call)
            return
        connection = call.connection
        block = connection.h2.encoder.encode(MALFORMED[case])
        frame = len(block).to_bytes(3, "big") + b"\x01\x05" + call.number.to_bytes(4, "big") + block
        connection.transport.write(frame)

    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        reply = await ask(proxy, get("/bad"))
        assert reply.status == 502
        assert "set-cookie" not in reply.fields
        assert (await ask(proxy, get("/good"))).status == 200
        assert len(backend.connections) == 1


async def test_a_response_shorter_or_longer_than_it_says_is_cut() -> None:
    """A length that the stream does not keep (RFC 9113 section 8.1.1) is no whole response."""
    for size in (2, 4):

        async def script(call: Call, *, size: int = size) -> None:
            call.connection.h2.config.validate_outbound_headers = False
            call.headers(200, ("content-length", "3"))
            await call.data(bytes(size), end=True)

        async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
            client = await proxy.connect()
            client.send(get())
            with pytest.raises(asyncio.IncompleteReadError):
                await read_reply(client)
            client.close()


async def test_informational_responses_pass() -> None:
    """103 comes through; 100 is ours to answer."""

    async def script(call: Call) -> None:
        call.headers(100)
        call.headers(103, ("link", "</a.css>"))
        await ANSWER(call)

    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        client = await proxy.connect()
        client.send(get())
        head = await client.read_head()
        assert head.startswith(b"HTTP/1.1 103 ")
        assert b"link: </a.css>" in head.lower()
        assert (await read_reply(client)).status == 200
        client.close()


async def test_an_early_response_stops_the_request() -> None:
    """A backend that answers before the request is whole: the client sees the answer, the rest of the request is
    cancelled, and the connection serves on."""

    async def script(call: Call) -> None:
        call.headers(413)
        await call.data(b"no", end=True)

    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        for _ in range(2):
            client = await proxy.connect()
            client.send(get("/", "Content-Length: 100000", method="POST") + b"some")
            assert (await read_reply(client)).status == 413
            client.close()
        await eventually(lambda: all(call.reset == CANCEL for call in backend.calls), "cancelled")
        assert len(backend.connections) == 1


async def test_a_client_that_leaves_cancels_its_stream_alone() -> None:
    """RST_STREAM with CANCEL; the connection stays for others."""

    async def script(call: Call) -> None:
        if call.fields[":path"] != "/slow":
            await ANSWER(call)

    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        client = await proxy.connect()
        client.send(get("/slow"))
        await eventually(lambda: len(backend.calls) == 1, "under way")
        reset(client)
        await eventually(lambda: backend.calls[0].reset == CANCEL, "cancelled")
        assert (await ask(proxy, get())).status == 200
        assert len(backend.connections) == 1


async def test_an_endpoint_that_speaks_http_1_1_only() -> None:
    """502 with the reason in the log; it gets no request that it could misread."""
    async with raw_backend(fixed(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")) as backend:
        assert await failure(backend.port) == (502, "ConnectNoHttp2")

    async def closing(conversation: Conversation, backend: Backend) -> None:
        await conversation.reader.read(10)

    async with raw_backend(closing) as backend:
        assert (await failure(backend.port, post(b"x")))[0] == 502


async def test_idle_connections_end() -> None:
    """After the keep-alive time, and when the table no longer names the endpoint; with GOAWAY."""
    settings = msgspec.structs.replace(H2C, upstream_keepalive_timeout=0.01)
    async with http2_backend(ANSWER) as backend, running_proxy(multiplexed(backend.port, settings=settings)) as proxy:
        await ask(proxy, get())
        await asyncio.sleep(0.05)
        await proxy.tick()
        await asyncio.wait_for(backend.connections[0].lost.wait(), 5)
        await ask(proxy, get())
        proxy.publish(Table(settings=settings))
        await asyncio.wait_for(backend.connections[1].lost.wait(), 5)
        assert [connection.goaway for connection in backend.connections] == [0, 0]


async def test_an_endpoint_that_goes_finishes_what_is_under_way() -> None:
    """Its stream ends as it would have, then its connection."""

    async def script(call: Call) -> None:
        await asyncio.sleep(0.2)
        await ANSWER(call)

    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:
        asking = asyncio.get_running_loop().create_task(ask(proxy, get()))
        await eventually(lambda: len(backend.calls) == 1, "under way")
        proxy.publish(Table(settings=H2C))
        assert (await asking).body == b"ok"
        await asyncio.wait_for(backend.connections[0].lost.wait(), 5)


async def test_over_tls_it_is_agreed_by_alpn() -> None:
    """``h2`` is offered alone, the scheme is https, and the session is taken up again."""
    reused: list[bool] = []

    async def script(call: Call) -> None:
        connection = call.connection.transport.get_extra_info("ssl_object")
        assert connection.selected_alpn_protocol() == "h2"
        reused.append(connection.session_reused)
        await ANSWER(call)

    tls = UpstreamTls(verify=True, ca_pem=ca_pem(AUTHORITY), server_name=NAME)
    settings = msgspec.structs.replace(H2C, upstream_keepalive_timeout=0.01)
    async with (
        http2_backend(script, tls=server_context(AUTHORITY, NAME)) as backend,
        running_proxy(multiplexed(backend.port, tls=tls, settings=settings)) as proxy,
    ):
        for _ in range(2):
            assert (await ask(proxy, get())).status == 200
            await asyncio.sleep(0.05)
            await proxy.tick()
        assert backend.calls[0].fields[":scheme"] == "https"
    assert reused == [False, True]


async def test_without_alpn_there_is_no_http_2() -> None:
    """An endpoint that agrees to nothing is 502, and gets no request."""
    context: ssl.SSLContext = server_context(AUTHORITY, NAME)
    async with raw_backend(fixed(b"HTTP/1.1 200 OK\r\n\r\n"), tls=context) as backend:
        assert await failure(backend.port, tls=UpstreamTls()) == (502, "ConnectNoHttp2")


async def test_a_dead_endpoint_costs_all_who_wait_one_attempt() -> None:
    """Ten requests that wait for the same connection hear of its failure together, and go to another endpoint."""
    async with http2_backend(ANSWER) as backend:
        table = multiplexed(1, backend.port)
        async with running_proxy(table) as proxy:
            replies = await asyncio.gather(*(ask(proxy, get()) for _ in range(10)))
            assert [reply.status for reply in replies] == [200] * 10


async def settled(proxy: RunningProxy) -> None:
    """Nothing is under way or counted as such."""
    (endpoint,) = proxy.worker.runtime.state.clusters[CLUSTER].endpoints
    await eventually(lambda: endpoint.active == 0 and proxy.worker.runtime.active == 0, "nothing is under way")


async def test_a_hundred_connections_at_random_moments_lose_nothing() -> None:
    """Requests, cancellations and connections that end, mixed: every request gets one answer, and nothing is left."""

    async def script(call: Call) -> None:
        await call.ended.wait()
        number = int(call.fields[":path"][1:])
        await asyncio.sleep(number % 5 / 100)
        if number % 17 == 0:
            call.goaway(call.number)
        call.headers(200)
        await call.data(bytes(number * 100), end=True)

    async with http2_backend(script) as backend, running_proxy(multiplexed(backend.port)) as proxy:

        async def one(number: int) -> bool:
            client = await proxy.connect()
            client.send(get(f"/{number}"))
            if number % 3 == 0:
                await asyncio.sleep(number % 7 / 100)
                client.close()
                return True
            reply = await read_reply(client)
            client.close()
            return (reply.status, len(reply.body)) == (200, number * 100)

        assert all(await asyncio.gather(*(one(number) for number in range(1, 150))))
        await settled(proxy)
