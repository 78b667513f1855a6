"""Requests reach the API server with our credentials, and its answers come back whole, errors too."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trustme
import yaml
from aiohttp import web

from ingress.kube import KubeClient, KubeError, KubeUnreachable
from ingress.kube import client as client_module
from ingress.options import Options
from ingress.version import VERSION
from tests.support.apiserver import api_server, service
from tests.support.kube_client import client_of, until

SERVICES = "/api/v1/namespaces/default/services"


@asynccontextmanager
async def scripted(handler: object, tmp_path: Path, **user: str) -> AsyncIterator[KubeClient]:
    """A client of a server that answers every request by ``handler``."""
    server = web.Server(handler, handler_cancellation=True)  # type: ignore[arg-type]  # each test has its own
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    path = tmp_path / "config"
    context = {"name": "a", "context": {"cluster": "a", "user": "a"}}
    clusters = [{"name": "a", "cluster": {"server": f"http://127.0.0.1:{port}"}}]
    users = [{"name": "a", "user": user}] if user else []
    config = {"clusters": clusters, "users": users, "contexts": [context], "current-context": "a"}
    path.write_text(yaml.safe_dump(config))
    client = await KubeClient.connect(Options(kubeconfig=str(path)))
    try:
        yield client
    finally:
        await client.close()
        listening.close()
        await server.shutdown(0.1)


async def test_objects_are_written_and_read() -> None:
    """Create, read, patch and replace; bodies are JSON, ready-made or not."""
    async with api_server() as server, client_of(server) as client:
        await client.post(SERVICES, service("a"))
        await client.patch(f"{SERVICES}/a", msgspec.json.encode({"metadata": {"labels": {"k": "v"}}}))
        read = msgspec.json.decode(await client.get(f"{SERVICES}/a"))
        assert read["metadata"]["labels"] == {"k": "v"}
        read["metadata"]["labels"] = {"k": "w"}
        await client.put(f"{SERVICES}/a", read)
        assert server.get("v1", "Service", "a", "default")["metadata"]["labels"] == {"k": "w"}  # type: ignore[index]  # it is there


async def test_lists_come_in_pages() -> None:
    """``limit`` and ``continue`` go through as they are."""
    async with api_server() as server, client_of(server) as client:
        for name in "abc":
            server.put(service(name))
        first = await client.list_page(SERVICES, {"limit": 2})
        rest = await client.list_page(SERVICES, {"limit": 2, "continue": first.metadata.continue_})
        assert [len(page.items or ()) for page in (first, rest)] == [2, 1]
        assert rest.metadata.continue_ == ""


async def test_an_error_tells_what_the_status_object_says() -> None:
    """Code, reason and message are apart, so that nobody has to read the text."""
    async with api_server() as server, client_of(server) as client:
        with pytest.raises(KubeError) as caught:
            await client.get(f"{SERVICES}/none")
        error = caught.value
        assert (error.status, error.reason, error.retry_after) == (404, "NotFound", None)
        assert "none" in error.message
        server.faults.fail(429, retry_after=7)
        with pytest.raises(KubeError) as caught:
            await client.get(SERVICES)
        assert (caught.value.status, caught.value.retry_after) == (429, 7.0)


@pytest.mark.parametrize(("after", "seconds"), [("3", 3.0), ("Fri, 31 Dec 1999 23:59:59 GMT", None), ("-1", None)])
async def test_an_error_page_of_something_in_between_is_an_error_too(
    tmp_path: Path, after: str, seconds: float | None
) -> None:
    """A load balancer knows no Status objects."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=503, body=b"<html>\xff down", headers={"Retry-After": after})

    async with scripted(answer, tmp_path) as client:
        with pytest.raises(KubeError) as caught:
            await client.get("/version")
        assert (caught.value.status, caught.value.retry_after) == (503, seconds)
        assert "down" in caught.value.message


async def test_a_list_that_is_none_is_an_error(tmp_path: Path) -> None:
    """Whatever is in between may say 200."""

    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(body=b"<html>")

    async with scripted(answer, tmp_path) as client:
        with pytest.raises(KubeUnreachable):
            await client.list_page(SERVICES)


async def test_requests_say_who_asks(tmp_path: Path) -> None:
    """The audit log of a cluster shows the version of the controller."""
    seen: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        seen.append(request.headers["User-Agent"])
        return web.Response(body=b"{}")

    async with scripted(answer, tmp_path) as client:
        await client.get("/version")
    assert seen == [f"pyngress/{VERSION}"]


async def test_a_server_that_is_away_is_unreachable() -> None:
    """Also after it was there, and also for watches; when it is back, the same client goes on."""
    async with api_server() as server, client_of(server) as client:
        await client.get(SERVICES)
        await server.stop()
        with pytest.raises(KubeUnreachable, match=r"127\.0\.0\.1"):
            await client.get(SERVICES)
        with pytest.raises(KubeUnreachable):
            await anext(client.watch(SERVICES, inactivity=5.0))
        await server.start()
        await client.get(SERVICES)


async def test_a_closed_client_is_unreachable() -> None:
    """Who still asks at the end gets an error that it knows."""
    async with api_server() as server, client_of(server) as client:
        await client.close()
        with pytest.raises(KubeUnreachable, match="closed"):
            await client.get(SERVICES)


async def test_a_watch_stands_before_it_tells_and_ends_in_order() -> None:
    """The first list of lines is empty; events follow; the end of its time is no error."""
    async with api_server() as server, client_of(server) as client:
        got: list[list[bytes]] = []
        async with aclosing(client.watch(SERVICES, {"timeoutSeconds": 1}, inactivity=5.0)) as stream:
            async for lines in stream:
                if not got:
                    server.put(service("a"))
                got.append(lines)
        assert got[0] == []
        assert [msgspec.json.decode(line)["type"] for lines in got for line in lines] == ["ADDED"]


async def test_lines_are_whole_however_they_arrive(tmp_path: Path) -> None:
    """Bytes come one by one, many lines in one piece, and a last line without an end is none."""
    pieces = [*(bytes([byte]) for byte in b'{"a":1}\n{"b'), b'":2}\n{"c":3}\n{"d', b'":4']

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0.001)
        return response

    async with scripted(answer, tmp_path) as client:
        got = [line async for lines in client.watch("/w", inactivity=5.0) for line in lines]
    assert got == [b'{"a":1}', b'{"b":2}', b'{"c":3}']


async def test_a_watch_without_a_byte_is_lost() -> None:
    """A server that is stuck is left in time."""
    async with api_server() as server, client_of(server) as client:
        with pytest.raises(KubeUnreachable):
            async with aclosing(client.watch(SERVICES, inactivity=0.1)) as stream:
                async for _ in stream:
                    server.stall_watches()


async def test_a_watch_that_is_left_closes_its_connection() -> None:
    """Nothing is left over on the server."""
    async with api_server() as server, client_of(server) as client:
        async with aclosing(client.watch(SERVICES, inactivity=5.0)) as stream:
            await anext(stream)
            assert len(server.state.watches) == 1
        await until(lambda: not server.state.watches)


async def test_more_watches_than_a_pool_usually_holds() -> None:
    """Each Secret has a watch of its own: the hundred connections of the library's pool are no limit."""
    async with api_server() as server, client_of(server) as client:
        streams = [client.watch(SERVICES, inactivity=9.0) for _ in range(120)]
        await asyncio.wait_for(asyncio.gather(*(anext(stream) for stream in streams)), 8.0)
        await client.get(SERVICES)
        for stream in streams:
            await stream.aclose()


async def test_a_refused_token_is_read_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller does not notice; a token that stays wrong is an error, without asking again and again."""
    seen: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        seen.append(request.headers["Authorization"].removeprefix("Bearer "))
        return web.Response(status=200 if seen[-1] == "new" else 401)

    token = tmp_path / "token"
    token.write_text("old")
    async with scripted(answer, tmp_path, tokenFile=str(token)) as client:
        token.write_text("older")
        with pytest.raises(KubeError) as caught:
            await client.post(SERVICES, service("a"))
        assert caught.value.status == 401
        assert seen == ["old", "older"]
        token.write_text("new")
        with pytest.raises(KubeError):
            await client.get(SERVICES)
        assert seen == ["old", "older", "older"]
        monkeypatch.setattr(client_module, "RENEW_PAUSE", 0.0)
        await client.post(SERVICES, service("a"))
        assert seen[3:] == ["older", "new"]


async def test_servers_and_clients_prove_themselves_by_certificates(tmp_path: Path) -> None:
    """TLS both ways; an authority that is replaced is read again."""
    authority, others = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    proof = authority.issue_cert("controller@example.org")
    async with api_server(tls=context) as server:
        ca = tmp_path / "ca.crt"
        ca.write_bytes(authority.cert_pem.bytes())
        path = server.kubeconfig(tmp_path / "config")
        config = yaml.safe_load(path.read_text())
        config["clusters"][0]["cluster"]["certificate-authority"] = str(ca)
        chain = b"".join(each.bytes() for each in proof.cert_chain_pems)
        config["users"][0]["user"] = {
            "client-certificate-data": base64.b64encode(chain).decode(),
            "client-key-data": base64.b64encode(proof.private_key_pem.bytes()).decode(),
        }
        path.write_text(yaml.safe_dump(config))
        client = await KubeClient.connect(Options(kubeconfig=str(path)))
        await client.get(SERVICES)
        await client.close()

        ca.write_bytes(others.cert_pem.bytes())
        client = await KubeClient.connect(Options(kubeconfig=str(path)))
        ca.write_bytes(authority.cert_pem.bytes())
        await client.get(SERVICES)
        await client.close()


async def test_what_was_heard_last_is_remembered() -> None:
    """For the age of the state in the metrics."""
    async with api_server() as server, client_of(server) as client:
        began = client.heard_at
        await client.get(SERVICES)
        assert client.heard_at > began
        async with aclosing(client.watch(SERVICES, inactivity=5.0)) as stream:
            await anext(stream)
            stood = client.heard_at
            server.put(service("a"))
            await anext(stream)
            assert client.heard_at > stood
