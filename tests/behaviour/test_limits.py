"""The number of client connections is bounded, and refusals are clean."""

from __future__ import annotations

import asyncio
import socket
import ssl

from proxy.table import Settings
from tests.support.backend import raw_backend
from tests.support.failing import answers, client_of, eventually, hangs, quiet, request, status
from tests.support.proxy import one_route, running_proxy


async def test_connections_over_the_limit_get_503_and_room_comes_back() -> None:
    """The refused client reads a whole response; when another client leaves, the next one is served."""
    settings = Settings(max_connections=2)
    async with (
        raw_backend(answers()) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
        client_of(proxy) as first,
    ):
        async with client_of(proxy) as second:
            for client in (first, second):
                client.send(request())
                assert status((await client.read_response())[0]) == 200
            async with client_of(proxy) as third:
                third.send(request())
                answer = await third.read_to_end()
                assert status(answer) == 503
                assert b"\r\nConnection: close\r\n" in answer
                assert b"\r\nContent-Length: %d\r\n" % len(answer.partition(b"\r\n\r\n")[2]) in answer
            assert proxy.worker.telemetry.refused_limit == 1
            first.send(request())
            assert status((await first.read_response())[0]) == 200
        await quiet(proxy, connections=1)
        async with client_of(proxy) as fourth:
            fourth.send(request())
            assert status((await fourth.read_response())[0]) == 200
    assert len(backend.heads) == 4


async def test_a_flood_over_the_limit_costs_bounded_memory_and_leaves_nothing() -> None:
    """Beyond a number of refusals under way further connections are cut; the one client that is served notices not."""
    settings = Settings(max_connections=1)
    async with (
        raw_backend(answers()) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
        client_of(proxy) as client,
    ):
        client.send(request())
        await client.read_response()
        flood = []
        for _ in range(400):
            handle = socket.socket()
            handle.setblocking(False)
            await asyncio.get_running_loop().sock_connect(handle, ("127.0.0.1", proxy.port))
            flood.append(handle)
        await eventually(lambda: proxy.worker.telemetry.refused_limit == 400, "all were looked at")
        assert len(proxy.worker.connections) <= 1 + 128 + 1
        client.send(request())
        assert status((await client.read_response())[0]) == 200
        for handle in flood:
            handle.close()
        await quiet(proxy, connections=1)


async def test_the_limit_follows_the_settings() -> None:
    """A published change holds for the next connection; those that are there stay."""
    async with (
        raw_backend(answers()) as backend,
        running_proxy(one_route([backend.port], settings=Settings(max_connections=1))) as proxy,
        client_of(proxy) as first,
    ):
        first.send(request())
        await first.read_response()
        assert status(await proxy.ask(request())) == 503
        proxy.publish(one_route([backend.port], settings=Settings(max_connections=5, access_log="off")))
        async with client_of(proxy) as second:
            second.send(request())
            assert status((await second.read_response())[0]) == 200
        first.send(request())
        assert status((await first.read_response())[0]) == 200


async def test_tls_connections_over_the_limit_are_closed_before_their_handshake() -> None:
    """A handshake only to refuse would cost more than the request; handshakes under way count."""
    settings = Settings(max_connections=3)
    async with (
        raw_backend(hangs()) as backend,
        running_proxy(one_route([backend.port], settings=settings)) as proxy,
    ):
        silent = [socket.create_connection(("127.0.0.1", proxy.tls_port)) for _ in range(3)]
        await eventually(lambda: proxy.worker._listeners.handshakes == 3, "three handshakes are under way")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            await proxy.connect(tls_context=context, server_hostname="foo.example.com")
        except (ConnectionError, ssl.SSLError):
            refused = True
        assert refused
        assert proxy.worker.telemetry.refused_limit == 1
        assert proxy.worker._listeners.handshakes == 3
        for handle in silent:
            handle.close()
        await eventually(lambda: proxy.worker._listeners.handshakes == 0, "there is room again")
        client = await proxy.connect(tls_context=context, server_hostname="foo.example.com")
        client.send(b"GET / HTTP/1.1\r\nHost: unknown\r\n\r\n")
        assert status((await client.read_response())[0]) == 404
        client.close()
        await quiet(proxy)
