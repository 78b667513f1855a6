"""What every request and response goes through."""

from __future__ import annotations

from tests.support.backend import fixed, raw_backend
from tests.support.proxy import HOST, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET /a?b=c HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\n\r\n"


async def test_a_request_reaches_the_backend_and_its_response_the_client() -> None:
    """A GET is forwarded with path, query and Host, and the response comes back with Date and Server."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(GET)
        head, body = await client.read_response()
        client.close()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nServer: pyngress\r\n" in head
    assert b"\r\nDate: " in head
    assert body == b"ok"
    assert backend.heads[0].startswith(b"GET /a?b=c HTTP/1.1\r\nHost: foo.example.com\r\n")


async def test_connections_are_kept_on_both_sides() -> None:
    """Ten requests on one client connection use one upstream connection."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        for _ in range(10):
            client.send(GET)
            assert (await client.read_response())[1] == b"ok"
        client.close()
    assert len(backend.heads) == 10
    assert backend.connections == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Several requests in one write get their responses in the order of the requests."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(GET + b"GET /none HTTP/1.1\r\nHost: unknown\r\n\r\n" + GET)
        heads = [(await client.read_response())[0][:12] for _ in range(3)]
        client.close()
    assert heads == [b"HTTP/1.1 200", b"HTTP/1.1 404", b"HTTP/1.1 200"]


async def test_a_chunked_upload_streams_through() -> None:
    """A chunked body arrives whole, still chunked, and a pipelined request behind it is served."""
    request = (
        b"POST /up HTTP/1.1\r\nHost: foo.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n"
    )
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(request + GET)
        assert (await client.read_response())[1] == b"ok"
        assert (await client.read_response())[1] == b"ok"
        client.close()
    assert b"x=y" not in backend.bodies[0]
    assert b"abc" in backend.bodies[0]
    assert len(backend.heads) == 2
