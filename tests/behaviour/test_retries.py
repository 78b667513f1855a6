"""What happens to a request whose try failed: sent again where that is safe, else the right status, at once."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest

from proxy.table import Settings
from tests.support.backend import Backend, Conversation, fixed, raw_backend
from tests.support.clients import reset
from tests.support.failing import (
    CLUSTER,
    OK,
    answers,
    client_of,
    cluster_of,
    deaf_port,
    endpoint_of,
    eventually,
    hangs,
    quiet,
    refusing_port,
    request,
    resets,
    status,
    turn_to,
)
from tests.support.proxy import RunningProxy, one_route, running_proxy

IDEMPOTENT = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]
OTHERS = ["POST", "PATCH"]


async def _status(proxy: RunningProxy, text: bytes) -> int:
    """The status of one request on a connection of its own; afterwards nothing is left of it."""
    async with client_of(proxy) as client:
        client.send(text)
        answer = status(await client.read_head())
    await quiet(proxy)
    return answer


@pytest.mark.parametrize("method", IDEMPOTENT + OTHERS)
async def test_a_refused_connection_leads_to_another_endpoint(method: str) -> None:
    """Nothing was sent, so any method may be tried elsewhere, with its body."""
    body = b"abc"
    with refusing_port() as refusing:
        async with raw_backend(answers()) as backend, running_proxy(one_route([refusing, backend.port])) as proxy:
            turn_to(proxy, 0)
            assert await _status(proxy, request(method, body=body)) == 200
            assert endpoint_of(proxy, 0).suspect
            assert not endpoint_of(proxy, 1).suspect
            assert proxy.worker.telemetry.upstream_connect_failures == 1
    assert backend.bodies == [body]


async def test_when_all_refuse_the_answer_is_502() -> None:
    """Every endpoint is tried at most once, then the client hears of it."""
    with refusing_port() as first, refusing_port() as second:
        async with running_proxy(one_route([first, second])) as proxy:
            assert await _status(proxy, request()) == 502
            assert proxy.worker.telemetry.upstream_connect_failures == 2


@pytest.mark.parametrize("missing", [False, True])
async def test_without_endpoints_the_answer_is_503(missing: bool) -> None:
    """A cluster that is empty, and one that the table does not hold, are both unavailable."""
    table = one_route([])
    if missing:
        table = msgspec.structs.replace(table, clusters={})
    async with running_proxy(table) as proxy:
        assert await _status(proxy, request()) == 503
        assert await _status(proxy, request("POST", body=b"abc")) == 503


async def test_a_connect_timeout_leads_to_another_endpoint() -> None:
    """An endpoint that takes no connections costs the connect timeout once, and then other endpoints serve."""
    settings = Settings(connect_timeout=0.2)
    with deaf_port() as deaf:
        async with (
            raw_backend(answers()) as backend,
            running_proxy(one_route([deaf, backend.port], settings=settings)) as proxy,
        ):
            turn_to(proxy, 0)
            started = time.monotonic()
            assert await _status(proxy, request("POST", body=b"abc")) == 200
            assert 0.15 < time.monotonic() - started < 1
            started = time.monotonic()
            for _ in range(5):
                assert await _status(proxy, request()) == 200
            assert time.monotonic() - started < 0.2


async def test_a_connect_timeout_everywhere_is_504() -> None:
    """Nothing else is left to try."""
    with deaf_port() as deaf:
        async with running_proxy(one_route([deaf], settings=Settings(connect_timeout=0.2))) as proxy:
            assert await _status(proxy, request()) == 504


@pytest.mark.parametrize("method", IDEMPOTENT)
async def test_an_idempotent_request_that_was_reset_is_sent_elsewhere(method: str) -> None:
    """The endpoint read the request and reset: another one serves it, body included."""
    body = b"abc"
    async with (
        raw_backend(resets()) as broken,
        raw_backend(answers()) as backend,
        running_proxy(one_route([broken.port, backend.port])) as proxy,
    ):
        turn_to(proxy, 0)
        assert await _status(proxy, request(method, body=body)) == 200
    assert (len(broken.heads), len(backend.heads)) == (1, 1)
    assert backend.bodies == [body]


@pytest.mark.parametrize("method", OTHERS)
@pytest.mark.parametrize("body", [b"", b"abc"])
async def test_another_request_that_was_reset_is_not_sent_again(method: str, body: bytes) -> None:
    """The endpoint may have executed it: 502, and it was executed once."""
    async with (
        raw_backend(resets()) as broken,
        raw_backend(resets()) as other,
        running_proxy(one_route([broken.port, other.port])) as proxy,
    ):
        assert await _status(proxy, request(method, body=body)) == 502
    assert len(broken.heads) + len(other.heads) == 1


@pytest.mark.parametrize(("method", "expected"), [("GET", 200), ("POST", 502)])
async def test_a_request_that_an_endpoint_closed_on_is_sent_elsewhere_if_idempotent(method: str, expected: int) -> None:
    """A backend that takes a request in and closes without a word may have executed it."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        backend.heads.append(b"")
        await asyncio.sleep(0.02)
        conversation.writer.close()

    async with (
        raw_backend(script) as closing,
        raw_backend(answers()) as backend,
        running_proxy(one_route([closing.port, backend.port])) as proxy,
    ):
        turn_to(proxy, 0)
        assert await _status(proxy, request(method, body=b"abc")) == expected
        assert endpoint_of(proxy, 0).suspect
    assert (len(closing.heads), len(backend.heads)) == (1, expected == 200)


@pytest.mark.parametrize(("size", "expected"), [(64 * 1024, 200), (64 * 1024 + 1, 502)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_replayed_up_to_a_limit(size: int, expected: int, chunked: bool) -> None:
    """A PUT with up to 64 KiB of body is sent again with all of it; a longer one is not sent again."""
    body = bytes(range(256)) * (size // 256) + b"!" * (size % 256)
    text = request("PUT", body=body)
    if chunked:
        text = request("PUT", fields=b"Transfer-Encoding: chunked\r\n") + b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    async with (
        raw_backend(resets()) as broken,
        raw_backend(answers()) as backend,
        running_proxy(one_route([broken.port, backend.port])) as proxy,
    ):
        turn_to(proxy, 0)
        assert await _status(proxy, text) == expected
    assert len(broken.heads) == 1
    if expected == 502:
        assert not backend.heads
    elif not chunked:
        assert backend.bodies == [body]
    else:
        assert _dechunked(backend.bodies[0]) == body


@pytest.mark.parametrize(("size", "expected"), [(64 * 1024, 200), (64 * 1024 + 1, 502)])
async def test_the_limit_holds_on_a_pooled_connection_too(size: int, expected: int) -> None:
    """There the body flows as it comes, and what went by is kept up to the limit and no further."""
    async with raw_backend(resets(after=1)) as backend, running_proxy(one_route([backend.port])) as proxy:
        assert await _status(proxy, request()) == 200
        assert await _status(proxy, request("PUT", body=b"x" * size)) == expected
    assert [len(body) for body in backend.bodies] == [0, size, size][: len(backend.bodies)]
    assert len(backend.bodies) == (3 if expected == 200 else 2)


def _dechunked(text: bytes) -> bytes:
    parts = []
    while True:
        size, _, text = text.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return b"".join(parts)
        parts.append(text[:length])
        text = text[length + 2 :]


async def test_a_body_that_still_comes_goes_on_at_the_other_endpoint() -> None:
    """The first endpoint resets in the middle of an upload: what was sent is replayed, and the rest follows."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        await conversation.reader.readexactly(5)
        conversation.reset()

    async with (
        raw_backend(script) as broken,
        raw_backend(answers()) as backend,
        running_proxy(one_route([broken.port, backend.port])) as proxy,
    ):
        turn_to(proxy, 0)
        async with client_of(proxy) as client:
            client.send(request("PUT", fields=b"Content-Length: 10\r\n") + b"01234")
            await eventually(lambda: endpoint_of(proxy, 1).active == 1, "the request is at the other endpoint")
            client.send(b"56789" + request("GET", "/next"))
            assert status((await client.read_response())[0]) == 200
            assert status((await client.read_response())[0]) == 200
        await quiet(proxy)
    assert backend.bodies[0] == b"0123456789"


@pytest.mark.parametrize(
    "response",
    [
        b"HELLO\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
)
async def test_a_malformed_response_is_502_and_not_retried(response: bytes) -> None:
    """The endpoint answered, if badly: another try would execute the request twice, and its health is not in doubt."""
    async with (
        raw_backend(fixed(response)) as broken,
        raw_backend(answers()) as backend,
        running_proxy(one_route([broken.port, backend.port])) as proxy,
    ):
        turn_to(proxy, 0)
        assert await _status(proxy, request()) == 502
        assert not endpoint_of(proxy, 0).suspect
        assert not endpoint_of(proxy, 0).idle
    assert (len(broken.heads), len(backend.heads)) == (1, 0)


async def test_a_response_that_breaks_off_in_its_head_is_not_retried() -> None:
    """A byte of the response came, so the request was executed: 502."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        backend.heads.append(await conversation.read_head())
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-")
        await conversation.writer.drain()
        await asyncio.sleep(0.02)
        conversation.writer.close()

    async with (
        raw_backend(script) as broken,
        raw_backend(answers()) as backend,
        running_proxy(one_route([broken.port, backend.port])) as proxy,
    ):
        turn_to(proxy, 0)
        assert await _status(proxy, request()) == 502
    assert (len(broken.heads), len(backend.heads)) == (1, 0)


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 100\r\n", b"half"),
        (b"Transfer-Encoding: chunked\r\n", b"4\r\nhalf\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"4\r\nhalf\r\n5\r\nmo"),
        (b"Transfer-Encoding: chunked\r\n", b"4\r\nhalf\r\n0\r\nX-Trailer: "),
    ],
)
async def test_a_truncated_response_stays_truncated(head: bytes, body: bytes, end: str) -> None:
    """The client gets what came and sees that it is not all: no final chunk, not the bytes announced."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body)
        await conversation.writer.drain()
        await asyncio.sleep(0.02)
        conversation.writer.close() if end == "close" else conversation.reset()

    async with raw_backend(script) as broken, running_proxy(one_route([broken.port])) as proxy:
        answer = await proxy.ask(request())
        await quiet(proxy)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"half" in answer
    assert not answer.endswith(b"\r\n0\r\n\r\n")
    assert len(answer.partition(b"\r\n\r\n")[2]) < 100


@pytest.mark.parametrize("minor", [0, 1])
async def test_a_response_until_close_that_is_reset_is_no_clean_end(minor: int) -> None:
    """HTTP/1.1 clients miss the last chunk; HTTP/1.0 clients, who have nothing else to tell it by, see a reset."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        await conversation.read_head()
        conversation.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await conversation.writer.drain()
        await asyncio.sleep(0.02)
        conversation.reset()

    async with raw_backend(script) as broken, running_proxy(one_route([broken.port])) as proxy:
        async with client_of(proxy) as client:
            client.send(request().replace(b"HTTP/1.1", b"HTTP/1.%d" % minor))
            await client.read_head()
            if minor == 0:
                with pytest.raises(ConnectionResetError):
                    await asyncio.wait_for(client.reader.read(), 5)
            else:
                assert await asyncio.wait_for(client.reader.read(), 5) == b"4\r\nhalf\r\n"
        await quiet(proxy)


async def test_max_retries_bounds_the_tries() -> None:
    """With one retry allowed, two of three endpoints are tried; with none, one."""
    async with raw_backend(resets()) as first, raw_backend(resets()) as second, raw_backend(resets()) as third:
        backends = (first, second, third)
        for allowed in (0, 1, 2, 5):
            for backend in backends:
                backend.heads.clear()
            table = one_route([each.port for each in backends], settings=Settings(max_retries=allowed))
            async with running_proxy(table) as proxy:
                assert await _status(proxy, request()) == 502
            assert sum(len(backend.heads) for backend in backends) == min(allowed + 1, 3)


async def test_retries_in_an_outage_have_a_budget() -> None:
    """With no healthy endpoint left and an empty purse, only the share that requests pay in is spent on retries."""
    async with raw_backend(resets()) as first, raw_backend(resets()) as second:
        settings = Settings(retry_budget_percent=20)
        async with running_proxy(one_route([first.port, second.port], settings=settings)) as proxy:
            assert await _status(proxy, request()) == 502
            cluster_of(proxy).retry_tokens = 0.0
            for _ in range(50):
                assert await _status(proxy, request()) == 502
            assert len(first.heads) + len(second.heads) == 2 + 50 + 9  # The tenth share comes with the last request.
            assert proxy.worker.telemetry.retries_denied == 50 - 9


async def test_a_retry_at_a_healthy_endpoint_costs_no_budget() -> None:
    """Requests that were under way at an endpoint when it failed go elsewhere, however many they are."""
    async with (
        raw_backend(resets()) as broken,
        raw_backend(answers()) as backend,
        running_proxy(one_route([broken.port, backend.port])) as proxy,
    ):
        cluster_of(proxy).retry_tokens = 0.0
        turn_to(proxy, 0)
        assert await _status(proxy, request()) == 200
        assert len(broken.heads) == 1


async def test_refusals_cost_no_budget() -> None:
    """A connection that could not be made is no load for anybody: another endpoint is tried with an empty purse too."""
    with refusing_port() as refusing:
        async with raw_backend(answers()) as backend, running_proxy(one_route([refusing, backend.port])) as proxy:
            cluster_of(proxy).retry_tokens = 0.0
            turn_to(proxy, 0)
            assert await _status(proxy, request("POST", body=b"x")) == 200


async def test_a_read_timeout_leads_to_another_endpoint_and_ejects_the_first() -> None:
    """A hanging endpoint costs its read timeout once; further requests do not go there."""
    settings = Settings(read_timeout=0.1)
    async with (
        raw_backend(hangs()) as hanging,
        raw_backend(answers()) as backend,
        running_proxy(one_route([hanging.port, backend.port], settings=settings)) as proxy,
    ):
        turn_to(proxy, 0)
        async with client_of(proxy) as client:
            client.send(request())
            await eventually(lambda: bool(hanging.heads), "the request hangs")
            await asyncio.sleep(0.15)
            await proxy.tick()
            assert status((await client.read_response())[0]) == 200
            for _ in range(10):
                client.send(request())
                assert status((await client.read_response())[0]) == 200
        assert len(hanging.heads) == 1
        assert endpoint_of(proxy, 0).suspect
        assert proxy.worker.telemetry.ejections == 1
        await quiet(proxy)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_read_timeout_with_nowhere_to_go_is_504(method: str) -> None:
    """The last endpoint for a GET, any endpoint for a POST."""
    settings = Settings(read_timeout=0.1)
    async with (
        raw_backend(hangs()) as hanging,
        raw_backend(answers()) as other,
        running_proxy(one_route([hanging.port, other.port][: 1 + (method == "POST")], settings=settings)) as proxy,
    ):
        turn_to(proxy, 0)
        async with client_of(proxy) as client:
            client.send(request(method, body=b"x" if method == "POST" else None))
            await eventually(lambda: bool(hanging.heads), "the request hangs")
            await asyncio.sleep(0.15)
            await proxy.tick()
            assert status((await client.read_response())[0]) == 504
        await quiet(proxy)
    assert not other.heads


async def test_a_client_that_leaves_while_its_request_is_dialled_leaves_nothing_behind() -> None:
    """The dial goes on without a caller, and what it brings is not given to the wrong request."""
    with deaf_port() as deaf:
        async with running_proxy(one_route([deaf], settings=Settings(connect_timeout=0.3))) as proxy:
            client = await proxy.connect()
            client.send(request())
            await eventually(lambda: endpoint_of(proxy).active == 1, "the dial is under way")
            reset(client)
            await quiet(proxy)
            assert proxy.worker.telemetry.upstream_connect_failures == 0
            assert not endpoint_of(proxy).suspect


async def test_a_dial_that_nobody_waits_for_any_more_fills_the_pool() -> None:
    """The connection is made after its request ended by other means: it is kept for the next one, unused."""
    async with raw_backend(answers()) as backend, running_proxy(one_route([backend.port])) as proxy:
        async with client_of(proxy) as client:
            client.send(b"x")
            await eventually(lambda: len(proxy.worker.connections) == 1, "the client is there")
            member = next(iter(proxy.worker.connections._members))
            member._buffer = b""
            # Both in one turn of the event loop: the request begins to dial, and its body is found malformed.
            member.data_received(request("POST", fields=b"Transfer-Encoding: chunked\r\n"))
            member.data_received(b"nonsense\r\n")
            answer = await client.read_to_end()
            assert status(answer) == 400
        await quiet(proxy)
        assert len(endpoint_of(proxy).idle) == 1
        assert await _status(proxy, request()) == 200
    assert backend.connections == 1
    assert len(backend.heads) == 1


async def test_a_client_that_leaves_during_a_retry_leaves_nothing_behind() -> None:
    """The first endpoint resets, the second takes no connection, the client goes: all is released."""
    with deaf_port() as deaf:
        async with (
            raw_backend(resets()) as broken,
            running_proxy(one_route([broken.port, deaf], settings=Settings(connect_timeout=0.3))) as proxy,
        ):
            turn_to(proxy, 0)
            client = await proxy.connect()
            client.send(request())
            await eventually(lambda: endpoint_of(proxy, 1).active == 1, "the retry is under way")
            assert endpoint_of(proxy, 0).active == 0
            reset(client)
            await quiet(proxy)


async def test_pipelined_requests_survive_a_failure_among_them() -> None:
    """Of three requests in one write the middle one fails; the others are answered, in order."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            if b"/bad" in head:
                conversation.reset()
                return
            conversation.send(OK)

    async with (
        raw_backend(script) as backend,
        running_proxy(one_route([backend.port])) as proxy,
        client_of(proxy) as client,
    ):
        for _ in range(20):
            client.send(request() + request("POST", "/bad") + request())
            assert [status((await client.read_response())[0]) for _ in range(3)] == [200, 502, 200]
        client.close()
        await quiet(proxy)
    assert CLUSTER in proxy.worker.runtime.state.clusters
