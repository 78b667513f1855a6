"""Calls of gRPC that end here get gRPC's own errors: HTTP 200, a status in the (only) header block, no page."""

from __future__ import annotations

import asyncio

import pytest

from proxy.table import Policy, RateLimit, Respond, RouteAction, Settings
from tests.support.backend import fixed, raw_backend
from tests.support.failing import OK, endpoint_of, eventually, hangs, quiet, refusing_port
from tests.support.http2 import Answer, http2_client, request_fields
from tests.support.log import log_pipe
from tests.support.proxy import HOST, one_route, running_proxy

H2C = Settings(h2c=True, access_log="off")


def call(*more: tuple[bytes, bytes], kind: bytes = b"application/grpc", host: str = HOST) -> list[tuple[bytes, bytes]]:
    """The head of a call."""
    fields = [(b"content-type", kind), (b"te", b"trailers"), *more]
    return request_fields("/pkg.Service/Method", *fields, method="POST", host=host)


def is_error(answer: Answer, code: int) -> None:
    """The answer is one header block, which ends its stream."""
    assert answer.status == 200
    assert answer.fields["content-type"] == "application/grpc"
    assert answer.fields["grpc-status"] == str(code)
    assert "Request id: " in answer.fields["grpc-message"]
    assert "content-length" not in answer.fields
    assert answer.body == b""
    assert answer.trailers == {}
    assert answer.ended


DENIED = Policy(deny=("127.0.0.1/32",))
LIMITED = Policy(rate_limit=RateLimit(key="k", rate=0.001, burst=0))


@pytest.mark.parametrize("kind", [b"application/grpc", b"application/grpc+proto", b"Application/gRPC;x=y"])
@pytest.mark.parametrize(
    ("policy", "action", "code"),
    [
        (None, None, 14),
        (DENIED, None, 7),
        (None, Respond(status=401, reason="Who are you?"), 16),
        (None, Respond(status=404, reason="Nothing here."), 12),
        (None, Respond(status=500, reason="Broken."), 13),
        (None, Respond(status=418, reason="Tea."), 2),
    ],
)
async def test_what_is_refused_here_has_its_status(
    kind: bytes, policy: Policy | None, action: RouteAction | None, code: int
) -> None:
    """Unavailable, permission denied, unauthenticated, unimplemented, internal, unknown."""
    table = one_route([], settings=H2C, policy=policy, action=action)
    async with running_proxy(table) as proxy, http2_client(proxy) as client:
        stream = client.ask(call(kind=kind), end=False)
        is_error(await client.answer(stream), code)


async def test_no_route_is_unimplemented_and_a_bad_head_is_internal() -> None:
    """As gRPC maps 404 and 400."""
    async with running_proxy(one_route([], settings=H2C)) as proxy, http2_client(proxy) as client:
        is_error(await client.answer(client.ask(call(host="unknown.org"))), 12)
        bad = [(name, b"/%zz" if name == b":path" else value) for name, value in call()]
        is_error(await client.answer(client.ask(bad)), 13)


async def test_a_limit_is_resource_exhausted_and_a_backend_that_is_down_unavailable() -> None:
    """A call over the rate limit, and one that found nobody."""
    with refusing_port() as port:
        table = one_route([port], settings=H2C, policy=LIMITED)
        async with running_proxy(table) as proxy, http2_client(proxy) as client:
            is_error(await client.answer(client.ask(call())), 14)
            is_error(await client.answer(client.ask(call())), 8)


async def test_a_call_has_its_deadline_here_too() -> None:
    """``grpc-timeout`` ends it with status 4 where the route would wait longer, and the backend is told."""
    async with (
        raw_backend(hangs()) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        short = client.ask(call((b"grpc-timeout", b"50m")))
        long = client.ask(call((b"grpc-timeout", b"1H")))
        nonsense = client.ask(call((b"grpc-timeout", b"-1S")))
        await eventually(lambda: endpoint_of(proxy).active == 3, "all calls are under way")
        await asyncio.sleep(0.06)
        await proxy.tick()
        is_error(await client.answer(short), 4)
        assert not client.answers[long].ended
        assert not client.answers[nonsense].ended
        await eventually(lambda: endpoint_of(proxy).active == 2, "the call that is over left its endpoint")
    await quiet(proxy)


async def test_the_read_timeout_of_the_route_is_a_deadline_too() -> None:
    """504 is status 4."""
    table = one_route([], settings=H2C)
    async with raw_backend(hangs()) as backend:
        table = one_route([backend.port], settings=H2C, policy=Policy(read_timeout=0.05, max_retries=0))
        async with running_proxy(table) as proxy, http2_client(proxy) as client:
            stream = client.ask(call())
            await eventually(lambda: endpoint_of(proxy).active == 1, "the call is under way")
            await asyncio.sleep(0.06)
            await proxy.tick()
            is_error(await client.answer(stream), 4)


async def test_what_is_no_call_gets_a_page() -> None:
    """Other content types keep their HTTP status, grpc-web among them: its clients read HTTP."""
    async with running_proxy(one_route([], settings=H2C)) as proxy, http2_client(proxy) as client:
        for kind in (b"application/grpc-web", b"application/json", b"text/plain"):
            answer = await client.answer(client.ask(call(kind=kind)))
            assert (answer.status, "grpc-status" in answer.fields) == (503, False)
            assert answer.body.startswith(b"503 Service Unavailable")


async def test_the_access_log_keeps_the_cause() -> None:
    """The status that HTTP would have had, and its reason, not the 200 that gRPC wants."""
    async with (
        log_pipe() as log,
        running_proxy(one_route([], settings=Settings(h2c=True)), log_fd=log.fd) as proxy,
        http2_client(proxy) as client,
    ):
        await client.answer(client.ask(call()))
        entry = await log.entry(proxy)
        assert (entry["status"], entry["error"], entry["protocol"]) == (503, "NoEndpoints", "HTTP/2.0")


async def test_a_unary_call_to_an_http_1_1_backend_passes_whole() -> None:
    """Length-prefixed messages pass as bytes, and what the backend says in its own words is left alone."""
    async with (
        raw_backend(fixed(OK)) as backend,
        running_proxy(one_route([backend.port], settings=H2C)) as proxy,
        http2_client(proxy) as client,
    ):
        stream = client.ask(call(), end=False)
        client.send(stream, b"\0\0\0\0\x03abc", end=True)
        answer = await client.answer(stream)
        assert (answer.status, answer.body) == (200, b"ok")
        assert b"\0\0\0\0\x03abc" in backend.bodies[0]
        assert b"\r\nTE: trailers\r\n" in backend.heads[0]
