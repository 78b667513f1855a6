"""HTTP/2 from clients, on real sockets, to HTTP/1.1 backends: what passes, in which form, and who waits for whom."""

from __future__ import annotations

import asyncio
import ssl

import msgspec
import pytest

from proxy.http2.codes import INTERNAL_ERROR, NO_ERROR
from proxy.table import Settings
from tests.behaviour.test_tls_termination import secured, trusting
from tests.support.backend import Backend, Conversation, fixed, raw_backend
from tests.support.clients import curl, get, parse_request, read_reply
from tests.support.failing import OK, eventually, quiet
from tests.support.http2 import http2_client, request_fields
from tests.support.log import log_pipe
from tests.support.proxy import HOST, one_route, running_proxy

pytestmark = pytest.mark.usefixtures("http2_codec")

H2C = Settings(h2c=True, access_log="off")
POST = request_fields("/upload", method="POST")


def offering(*protocols: str) -> ssl.SSLContext:
    """A client context that offers these protocols."""
    context = trusting()
    context.set_alpn_protocols(list(protocols))
    return context


async def test_a_request_reaches_an_http_1_1_backend_as_one_of_its_own() -> None:
    """Pseudo-header fields become request line and Host, cookie crumbs one field, TE says what HTTP/1.1 wants."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        answer = await client.get(
            "/a/b?c=d",
            (b"x-one", b"1"),
            (b"cookie", b"a=b"),
            (b"te", b"trailers"),
            (b"cookie", b"c=d"),
            (b"x-forwarded-for", b"1.2.3.4"),
            (b"x_under", b"score"),
        )
        assert (answer.status, answer.body) == (200, b"ok")
        assert answer.fields["server"] == "pyngress"
        head = parse_request(backend.heads[0])
        assert head.line == "GET /a/b?c=d HTTP/1.1"
        assert head.fields["host"] == HOST
        assert head.fields["cookie"] == "a=b; c=d"
        assert head.fields["te"] == "trailers"
        assert head.fields["connection"] == "TE"
        assert head.fields["x-one"] == "1"
        assert head.fields["x-forwarded-for"] == "127.0.0.1"
        assert "x_under" not in head.fields
        assert "transfer-encoding" not in head.fields
    await quiet(proxy)


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_curl_over_tls_gets_the_version_it_asks_for(version: str) -> None:
    """ALPN chooses; answer, HEAD and upload are the same in both."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(secured([backend.port])) as proxy:
        url = f"https://{HOST}:{proxy.tls_port}/"
        common = ("-k", "-v", version, "--resolve", f"{HOST}:{proxy.tls_port}:127.0.0.1", url)
        for more in ((), ("-I",), ("-T", "-")):
            code, out, said = await curl(*more, *common, stdin=b"x" * 300_000)
            assert code == 0, said
            assert ("< HTTP/2 200" if version == "--http2" else "< HTTP/1.1 200 OK") in said
            assert out.startswith(b"HTTP/") if more == ("-I",) else out == b"ok"
        assert [len(each.replace(b"\r\n", b"")) >= 300_000 for each in backend.bodies] == [False, False, True]


async def test_http_2_can_be_switched_off() -> None:
    """Without it in the settings a client that offers both gets HTTP/1.1, on contexts that were made before too."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(secured([backend.port])) as proxy:
        for http2, agreed in ((True, "h2"), (False, "http/1.1"), (True, "h2")):
            settings = msgspec.structs.replace(proxy.table.settings, http2=http2)
            proxy.publish(msgspec.structs.replace(proxy.table, settings=settings))
            client = await proxy.connect(tls_context=offering("h2", "http/1.1"), server_hostname=HOST)
            tls = client.writer.get_extra_info("ssl_object")
            assert tls.selected_alpn_protocol() == agreed
            client.close()


async def test_plain_text_http_2_needs_the_switch() -> None:
    """With ``h2c`` the preface is recognised however it is cut, and HTTP/1.1 is served as ever; without it is 400."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port], settings=H2C)) as proxy:
        async with http2_client(proxy) as client:
            assert (await client.get()).status == 200
        for piece in (b"P", b"PRI * HTT"):
            raw = await proxy.connect()
            raw.send(piece)
            await asyncio.sleep(0.02)
            raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[len(piece) :] + b"\0\0\0\x04\0\0\0\0\0")
            assert (await asyncio.wait_for(raw.reader.readexactly(9), 5))[3] == 4, "SETTINGS"
            raw.close()
        raw = await proxy.connect()
        for part in (b"P", b"OST / HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\nContent-Length: 0\r\n\r\n"):
            raw.send(part)
            await asyncio.sleep(0.02)
        assert (await read_reply(raw)).status == 200
        raw.send(get())
        assert (await read_reply(raw)).status == 200
        raw.close()
        await quiet(proxy)
        assert proxy.worker.telemetry.accepted == 4
    async with running_proxy(one_route([])) as proxy, http2_client(proxy) as client:
        await client.until(lambda: client.ended)
        assert not client.connection.remote_settings.max_concurrent_streams < 1000


async def test_answers_may_come_in_any_order() -> None:
    """A slow request holds no other one up."""
    release = asyncio.Event()

    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            if b"/slow" in head:
                await release.wait()
            conversation.send(OK)

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        slow = client.ask(request_fields("/slow"))
        for answer in await asyncio.gather(*(client.get(f"/{index}") for index in range(50))):
            assert answer.status == 200
        assert not client.answers[slow].ended
        release.set()
        assert (await client.answer(slow)).body == b"ok"
        await quiet(proxy, connections=1)


@pytest.mark.parametrize("length", [True, False])
async def test_a_body_streams_up_with_and_without_a_length(length: bool) -> None:
    """Content-Length is kept; without one the body is chunked. Megabytes go through the windows."""
    size = 3_000_000
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        stream = client.ask(POST + ([(b"content-length", b"%d" % size)] if length else []), end=False)
        await client.send_all(stream, b"x" * size)
        assert (await client.answer(stream)).status == 200
        head = parse_request(backend.heads[0])
        assert head.fields.get("content-length") == (str(size) if length else None)
        assert head.fields.get("transfer-encoding") == (None if length else "chunked")
        assert backend.bodies[0].count(b"x") == size


async def test_a_backend_that_does_not_read_stops_its_stream_alone() -> None:
    """The window of the stream closes; another stream of the connection goes on, and this one too once it is read."""
    read = asyncio.Event()

    async def script(conversation: Conversation, backend: Backend) -> None:
        head = await conversation.read_head()
        if b"/upload" in head:
            conversation.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await read.wait()
            conversation.writer.transport.resume_reading()  # type: ignore[attr-defined]
        backend.bodies.append(await conversation.read_body(head))
        conversation.send(OK)

    size = 12_000_000
    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        stream = client.ask([*POST, (b"content-length", b"%d" % size)], end=False)
        sending = asyncio.get_running_loop().create_task(client.send_all(stream, b"x" * size))
        connection = client.connection
        await eventually(lambda: proxy.worker.runtime.active == 1, "the request is under way")
        (member,) = proxy.worker.connections._members
        exchange = member._streams[stream].exchange  # type: ignore[attr-defined]  # it is an HTTP/2 connection
        await eventually(lambda: exchange.upstream_blocked_at, "the backend takes no more", 10)
        taken = exchange.request_bytes
        assert (await client.get("/other")).status == 200
        await asyncio.sleep(0.5)
        assert exchange.request_bytes - taken <= 256 * 1024
        assert connection.local_flow_control_window(stream) == 0
        assert not sending.done()
        read.set()
        await sending
        assert (await client.answer(stream)).status == 200
        assert len(backend.bodies[-1]) == size


async def test_a_client_that_opens_no_window_stops_its_backend_alone() -> None:
    """A response waits at the backend while its window is closed; others of the connection are served meanwhile."""
    size = 20_000_000
    sent = 0

    async def script(conversation: Conversation, backend: Backend) -> None:
        nonlocal sent
        while head := await conversation.read_head():
            if b"/big" not in head:
                conversation.send(OK)
                continue
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size // 100_000):
                conversation.send(b"x" * 100_000)
                await conversation.writer.drain()
                sent += 100_000

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy, greedy=False) as client,
    ):
        stream = client.ask(request_fields("/big"))
        await client.until(lambda: len(client.answers[stream].received) >= 65535)
        await asyncio.sleep(0.2)
        assert len(client.answers[stream].body) == 65535
        assert sent < size / 2
        (member,) = proxy.worker.connections._members
        assert member.codec.waiting(stream) < 1_000_000  # type: ignore[attr-defined]  # it is an HTTP/2 connection
        client.connection.increment_flow_control_window(10_000)
        client.flush()
        assert (await client.get("/small")).body == b"ok"
        client._greedy = True
        client.connection.increment_flow_control_window(size)
        client.connection.increment_flow_control_window(size, stream)
        client.flush()
        assert len((await client.answer(stream)).body) == size


async def test_trailers_pass_both_ways() -> None:
    """What gRPC lives on, without the fields that could change the message."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        backend.bodies.append(
            await conversation.reader.readuntil(b"0\r\n") + await conversation.reader.readuntil(b"\r\n\r\n")
        )
        conversation.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Grpc-Status\r\n\r\n2\r\nok\r\n0\r\n"
            b"Grpc-Status: 0\r\nSet-Cookie: a=b\r\n\r\n"
        )
        assert await conversation.read_head() == b""

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        stream = client.ask([*POST, (b"te", b"trailers")], end=False)
        client.send(stream, b"hello")
        client.connection.send_headers(stream, [(b"x-sum", b"42"), (b"host", b"evil")], end_stream=True)
        client.flush()
        answer = await client.answer(stream)
        assert (answer.status, answer.body, answer.trailers) == (200, b"ok", {"grpc-status": "0"})
        assert backend.bodies == [b"5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n"]


@pytest.mark.parametrize(
    ("method", "response", "status", "length"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", 200, "500"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", 204, None),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: a\r\n\r\n", 304, None),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "0"),
        ("GET", b"HTTP/1.0 200 OK\r\nConnection: close\r\nKeep-Alive: x\r\n\r\n", 200, None),
    ],
)
async def test_responses_without_a_body(method: str, response: bytes, status: int, length: str | None) -> None:
    """They end with their head, or with nothing behind it; fields of the connection stay behind."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(response)
        if b"HTTP/1.0" in response:
            conversation.writer.close()
        await conversation.read_head()

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        answer = await client.get(method=method)
        assert (answer.status, answer.body, answer.reset) == (status, b"", None)
        assert answer.fields.get("content-length") == length
        assert not answer.fields.keys() & {"connection", "keep-alive", "transfer-encoding"}


async def test_informational_responses_pass() -> None:
    """100 is ours, 103 is the backend's."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        head = await conversation.read_head()
        conversation.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        backend.bodies.append(await conversation.read_body(head))
        conversation.send(OK)

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        stream = client.ask([*POST, (b"expect", b"100-continue"), (b"content-length", b"2")], end=False)
        answer = client.answers[stream]
        await client.until(lambda: sorted(answer.informational) == [100, 103])
        client.send(stream, b"hi", end=True)
        assert (await client.answer(stream)).status == 200
        assert backend.bodies == [b"hi"]


async def test_an_early_response_ends_the_upload_without_an_error() -> None:
    """The rest of the request is cancelled with NO_ERROR, and the connection serves on."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while await conversation.read_head():
            conversation.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        stream = client.ask(POST, end=False)
        client.send(stream, b"x" * 1000)
        answer = client.answers[stream]
        await client.until(lambda: answer.reset is not None)
        assert (answer.status, answer.body, answer.reset) == (401, b"no", NO_ERROR)
        assert (await client.get()).status == 401
        await quiet(proxy, connections=1)


async def test_a_truncated_response_is_a_reset() -> None:
    """The stream that lost its backend is reset with INTERNAL_ERROR; it never looks whole. Others go on."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        head = await conversation.read_head()
        if b"/cut" in head:
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            await asyncio.sleep(0.05)
            conversation.writer.close()
        else:
            conversation.send(OK)
            await conversation.read_head()

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        answer = await client.get("/cut")
        assert (answer.status, answer.body, answer.ended, answer.reset) == (200, b"half", False, INTERNAL_ERROR)
        assert (await client.get()).status == 200


async def test_a_cancelled_request_is_cancelled_at_its_backend() -> None:
    """RST_STREAM ends the upstream connection of its request alone, and is counted."""
    ended = asyncio.Event()

    async def script(conversation: Conversation, backend: Backend) -> None:
        backend.heads.append(await conversation.read_head())
        if await conversation.read_head() == b"":
            ended.set()

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        stream = client.ask()
        await eventually(lambda: len(backend.heads) == 1, "the request is there")
        client.connection.reset_stream(stream, 8)
        client.flush()
        await asyncio.wait_for(ended.wait(), 5)
        await quiet(proxy, connections=1)
        assert proxy.worker.telemetry.http2_resets == 1


async def test_refusals_are_answers_and_the_connection_serves_on() -> None:
    """404, 414, 431, 501 and a bad path are answered on their stream, in whole responses."""
    settings = Settings(h2c=True, access_log="off", max_request_line=200, max_header_bytes=1000, max_header_fields=5)
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
        http2_client(proxy) as client,
    ):
        assert (await client.get(host="unknown.org")).status == 404
        assert (await client.get("/" + "x" * 200)).status == 414
        assert (await client.get("/", (b"x", b"y" * 1000))).status == 431
        assert (await client.get("/", *((b"x%d" % index, b"y") for index in range(9)))).status == 431
        assert (await client.get(method="BREW")).status == 501
        assert (await client.get(method="TRACE")).status == 405
        answer = await client.get("/%zz")
        assert (answer.status, answer.fields["content-type"]) == (400, "text/plain; charset=utf-8")
        assert answer.body.startswith(b"400 Bad Request\n")
        assert (await client.get("/", (b"content-length", b"nan"))).reset == 1
        assert (await client.get(host="a b")).reset == 1
        assert (await client.get()).status == 200
        await quiet(proxy, connections=1)


async def test_the_access_log_says_http_2() -> None:
    """The version stands where HTTP/1.1 would."""
    settings = Settings(h2c=True, access_log="combined")
    async with (
        log_pipe() as log,
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], settings=settings), log_fd=log.fd) as proxy,
        http2_client(proxy) as client,
    ):
        await client.get("/logged")
        assert '"GET /logged HTTP/2.0" 200' in (await log.lines(proxy, 1))[0]


async def test_another_host_on_a_connection_whose_certificate_does_not_cover_it() -> None:
    """421 sends a client that coalesces back to a connection of its own; hosts that are covered are served."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(secured([backend.port])) as proxy:
        table = proxy.table
        proxy.publish(
            msgspec.structs.replace(
                table, hosts={**table.hosts, "bar.example.com": table.hosts[HOST], "other.org": table.hosts[HOST]}
            )
        )
        async with http2_client(proxy, tls_context=offering("h2"), server_hostname=HOST) as client:
            assert (await client.get()).status == 200
            assert (await client.get(host=HOST.upper())).status == 200
            assert (await client.get(host=f"{HOST}:8443")).status == 200
            answer = await client.get(host="bar.example.com")
            assert answer.status == 421
            assert (await client.get(host="other.org")).status == 421
            assert (await client.get()).status == 200
        async with http2_client(proxy, tls_context=offering("h2"), server_hostname="bar.example.com") as client:
            assert (await client.get(host=HOST)).status == 200
            assert (await client.get(host="other.org")).status == 421
        async with http2_client(proxy, tls_context=offering("h2"), server_hostname="nobody.net") as client:
            assert (await client.get(host="other.org")).status == 200, "it took a certificate for another name anyway"
        async with http2_client(proxy, tls_context=offering("h2")) as client:
            assert (await client.get(host="other.org")).status == 200, "no server name was given"


async def test_requests_that_share_a_connection_share_nothing_else() -> None:
    """Uploads, refusals, calls of gRPC and cancelled requests leave no trace in what plain requests are answered."""

    async def echo(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            body = await conversation.read_body(head)
            request = parse_request(head)
            text = f"{request.line} {request.fields.get('x-mark', '-')} {len(body)}".encode()
            if request.line.startswith("HEAD"):
                conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text))
            else:
                conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))

    mixed = [b"plain", b"upload", b"refused", b"grpc", b"cancelled", b"head", b"plain", b"marked"]
    async with (
        raw_backend(echo) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        for number, kind in enumerate(mixed * 3):
            path = f"/{number}"
            if kind == b"upload":
                stream = client.ask(request_fields(path, (b"content-length", b"5"), method="POST"), end=False)
                client.send(stream, b"12345", end=True)
                assert (await client.answer(stream)).body == f"POST {path} HTTP/1.1 - 5".encode()
            elif kind == b"refused":
                assert (await client.get(path, host="nowhere.mydomain.com")).status == 404
            elif kind == b"grpc":
                call = request_fields(path, (b"content-type", b"application/grpc"), method="POST", host="nowhere.org")
                assert (await client.answer(client.ask(call))).fields["grpc-status"] == "12"
            elif kind == b"cancelled":
                stream = client.ask(request_fields(path))
                client.connection.reset_stream(stream)
                client.flush()
            elif kind == b"head":
                answer = await client.get(path, method="HEAD")
                assert (answer.status, answer.body) == (200, b"")
            else:
                mark = "m" if kind == b"marked" else "-"
                answer = await client.get(path, *([(b"x-mark", b"m")] if kind == b"marked" else []))
                assert answer.body == f"GET {path} HTTP/1.1 {mark} 0".encode()
                assert set(answer.fields) == {":status", "content-length", "server", "date"}
        await quiet(proxy, connections=1)
