"""Bodies in every framing, both ways, for clients of both versions; what belongs to one hop stays on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.backend import Backend, Conversation, Script, fixed, raw_backend
from tests.support.clients import ask, curl, get, parse_request, read_chunks, read_reply
from tests.support.proxy import HOST, one_route, running_proxy

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BODY = b"the body of the response"
RESPONSES = {
    "counted": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n%b\r\n%x;a=b\r\n%b\r\n0\r\n\r\n"
    % (BODY[:3], len(BODY) - 3, BODY[3:]),
    "until close": b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
    "until close, HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    "counted, HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
}
REQUESTS = {
    "none": b"GET /x HTTP/%b\r\nHost: foo.example.com\r\n\r\n",
    "counted": b"POST /x HTTP/%b\r\nHost: foo.example.com\r\nContent-Length: 6\r\n\r\nabcdef",
    "chunked": b"POST /x HTTP/%b\r\nHost: foo.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n",
}
UPLOADS = [("none", "1.1"), ("counted", "1.1"), ("chunked", "1.1"), ("none", "1.0"), ("counted", "1.0")]


def closing(response: bytes) -> Script:
    """A backend that closes behind each response."""

    async def script(conversation: Conversation, backend: Backend) -> None:
        head = await conversation.read_head()
        backend.heads.append(head)
        backend.bodies.append(await conversation.read_body(head))
        conversation.send(response)
        conversation.writer.write_eof()
        await conversation.reader.read()

    return script


@pytest.mark.parametrize(("upload", "version"), UPLOADS)
@pytest.mark.parametrize("framing", RESPONSES)
async def test_a_body_of_any_framing_arrives_whole(upload: str, version: str, framing: str) -> None:
    """Each framing of a request and of a response passes, and the client gets one that its version knows."""
    script = (closing if "close" in framing else fixed)(RESPONSES[framing])
    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        reply = await ask(proxy, REQUESTS[upload] % version.encode())
    assert reply.status == 200
    assert reply.body == BODY
    assert reply.version == "HTTP/1.1"
    if version == "1.0":
        assert "transfer-encoding" not in reply.fields
        assert reply.fields["connection"] == "close"
    elif "counted" in framing:
        assert reply.fields["content-length"] == str(len(BODY))
    else:
        assert reply.fields["transfer-encoding"] == "chunked"
    sent = parse_request(backend.heads[0])
    assert sent.line.endswith("/x HTTP/1.1")
    expected = {"none": b"", "counted": b"abcdef", "chunked": b"6\r\nabcdef\r\n0\r\n\r\n"}[upload]
    assert backend.bodies[0] in (expected, b"4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n" if upload == "chunked" else expected)


async def test_a_body_until_close_leaves_the_client_connection_open() -> None:
    """A response that ends with its backend connection reaches an HTTP/1.1 client in chunks, which goes on."""
    script = closing(RESPONSES["until close"])
    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        for _ in range(2):
            client.send(get())
            assert (await read_reply(client)).body == BODY
        client.close()
    assert backend.connections == 2


async def test_trailers_pass_both_ways() -> None:
    """Trailers of a chunked request and of a chunked response arrive behind their bodies, dangerous ones do not."""
    response = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        b"2\r\nok\r\n0\r\nX-Sum: 77\r\nSet-Cookie: a=1\r\n\r\n"
    )
    request = (
        b"POST / HTTP/1.1\r\nHost: foo.example.com\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n0\r\nX-Check: 1\r\nHost: evil\r\n\r\n"
    )
    seen: list[bytes] = []

    async def script(conversation: Conversation, backend: Backend) -> None:
        backend.heads.append(await conversation.read_head())
        seen.append(await conversation.reader.readuntil(b"\r\n\r\n"))
        conversation.send(response)
        await conversation.reader.read()

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        reply = await ask(proxy, request)
    assert reply.body == b"ok"
    assert reply.trailers == {"x-sum": "77"}
    assert seen == [b"3\r\nabc\r\n0\r\nX-Check: 1\r\n\r\n"]
    assert parse_request(backend.heads[0]).fields["te"] == "trailers"


async def test_trailers_are_dropped_where_they_have_no_place() -> None:
    """An HTTP/1.0 client gets the body of a chunked response and an end, without its trailers."""
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 77\r\n\r\n"
    async with raw_backend(fixed(response)) as backend, running_proxy(one_route([backend.port])) as proxy:
        answer = await proxy.ask(get(version="1.0"))
    assert answer.endswith(b"\r\n\r\nok")


async def test_fields_of_one_hop_stay_on_it() -> None:
    """Connection, what it names, and the other hop-by-hop fields go neither to the backend nor to the client."""
    response = (
        b"HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: a\r\n"
        b"X-End: 2\r\nContent-Length: 2\r\n\r\nok"
    )
    async with raw_backend(fixed(response)) as backend, running_proxy(one_route([backend.port])) as proxy:
        reply = await ask(
            proxy,
            get("/", "Connection: keep-alive, X-Mine", "X-Mine: 1", "Keep-Alive: 5", "Proxy-Connection: x", "X-End: 2"),
        )
    assert reply.fields["x-end"] == "2"
    assert not reply.fields.keys() & {"connection", "x-hop", "keep-alive", "proxy-connection"}
    sent = parse_request(backend.heads[0]).fields
    assert sent["x-end"] == "2"
    assert not sent.keys() & {"connection", "x-mine", "keep-alive", "proxy-connection"}


async def test_fields_of_the_backend_pass_unchanged() -> None:
    """Repeated fields, their order, and the backend's Server and Date reach the client as they were."""
    fields = (
        b"Set-Cookie: a=1\r\nServer: mine\r\nSet-Cookie: b=2\r\nDate: Tue, 24 Nov 2026 18:55:09 GMT\r\nx-Odd:  v \r\n"
    )
    response = b"HTTP/1.1 299 Odd Words\r\n" + fields + b"Content-Length: 0\r\n\r\n"
    async with raw_backend(fixed(response)) as backend, running_proxy(one_route([backend.port])) as proxy:
        client = await proxy.connect()
        client.send(get())
        head = await client.read_head()
        client.close()
    assert head.startswith(b"HTTP/1.1 299 Odd Words\r\nSet-Cookie: a=1\r\nServer: mine\r\nSet-Cookie: b=2\r\nDate: Tue")
    assert head.count(b"Date:") == head.count(b"Server:") == 1
    assert b"\r\nx-Odd:  v \r\n" in head


async def test_a_post_without_a_body_says_so_to_the_backend() -> None:
    """A POST with neither length nor chunks is forwarded with Content-Length: 0, and no backend waits."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        await ask(proxy, get(method="POST"))
    assert parse_request(backend.heads[0]).fields["content-length"] == "0"


@pytest.mark.parametrize("target", ["/a%20b?q=%2F&x=1+2", "/%2F/x", "/a;b=c", "/?"])
async def test_the_target_is_forwarded_as_it_is_meant(target: str) -> None:
    """Escapes, empty queries and parameters reach the backend as the client wrote them."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(one_route([backend.port])) as proxy:
        reply = await ask(proxy, get(target))
    assert reply.status == 200
    assert parse_request(backend.heads[0]).line.split(" ")[1] == target


async def test_curl_uploads_and_downloads_a_large_file(tmp_path: Path) -> None:
    """A file of 8 MiB sent by curl, counted and chunked, comes back byte for byte."""
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * (8 * 1024 * 4))

    async def script(conversation: Conversation, backend: Backend) -> None:
        while head := await conversation.read_head():
            chunked = b"chunked" in head.lower()
            body = (await read_chunks(conversation.reader))[0] if chunked else await conversation.read_body(head)
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with raw_backend(script) as backend, running_proxy(one_route([backend.port])) as proxy:
        url = f"http://{HOST}:{proxy.port}/file"
        names = ("--resolve", f"{HOST}:{proxy.port}:127.0.0.1")
        counted = await curl(*names, "--upload-file", str(file), url)
        chunked = await curl(*names, "-H", "Transfer-Encoding: chunked", "--upload-file", str(file), url)
    assert counted[:2] == (0, file.read_bytes())
    assert chunked[0] == 0
    assert chunked[1] == file.read_bytes()
