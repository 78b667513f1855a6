"""What is fuzzed. A target takes any bytes and raises only where the code under test breaks a promise.

Each stands on one parser, or on whole connections of the proxy with transports that only remember. The first bytes of
the input may choose among variants and say where the rest is cut; nothing depends on time or on an event loop.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, Final

import msgspec

from ingress.annotations import parse_annotations
from ingress.annotations.table import ANNOTATIONS, NGINX_PREFIX, OUR_PREFIX
from ingress.options import Options
from ingress.resources import ObjectMeta
from ingress.translate import translate
from ingress.watch.reading import decode_text
from proxy.engine.state import EMPTY, compile_state
from proxy.http1.chunked import ChunkedDecoder
from proxy.http1.reader import HEAD_END, ResponseParser
from proxy.http2 import PREFACE, Http2Connection
from proxy.message.errors import BadResponse, MessageError
from proxy.message.proxy_protocol import MAX_HEADER, BadProxyHeader, encode_header, read_header
from proxy.message.response import ResponseHead
from proxy.routing import BadHost, BadPath, canonical_host, normalise_path
from proxy.table import Table
from proxy.table.feed import Down, FrameDecoder, Up, difference, encode_frame
from proxy.telemetry import Telemetry
from proxy.tls.hello import MAX_HELLO, server_name_in
from tests.golden.case import NOW, snapshot_of
from tests.support.wires import Wires, wired

__all__ = ["TARGETS"]

GET: Final = b"GET /ok HTTP/1.1\r\nHost: foo.example.com\r\nX-Request-ID: 1\r\n\r\n"
OK: Final = b"HTTP/1.1 200 OK\r\nServer: s\r\nDate: d\r\nContent-Length: 2\r\n\r\nok"
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_HEAD: Final = re.compile(rb"[A-Z]+ /[\x21-\x7e]* HTTP/1\.1\r\n(?:%b:[ \t]*(?:[\x20-\x7e\x80-\xff\t]*)\r\n)+" % _TOKEN)
"""What a backend may see: nothing that two parsers could read in two ways."""


@contextmanager
def _wires() -> Iterator[Wires]:
    """A proxy whose event loop is there, and does not turn."""
    loop = asyncio.new_event_loop()
    try:
        wires = loop.run_until_complete(wired())
        yield wires
        loop.run_until_complete(wires.worker.close())
    finally:
        loop.close()


_KEPT: list[tuple[object, Wires]] = []


def _kept_wires() -> Wires:
    """One proxy for all inputs: what an input leaves behind in it shows in the next one."""
    if not _KEPT:
        context = _wires()
        _KEPT.append((context, context.__enter__()))
    return _KEPT[0][1]


def _cut(data: bytes) -> list[bytes]:
    """The first byte says into pieces of how many bytes; 0: one piece."""
    if len(data) < 2:
        return []  # a transport never gives out nothing
    size, rest = data[0], data[1:]
    return [rest[index : index + size] for index in range(0, len(rest), size)] if size else [rest]


def exchange(data: bytes) -> None:
    """A client's bytes through the proxy: a backend sees whole, plain requests, and the next client is served."""
    wires = _kept_wires()
    upstream, seen = wires.upstream()
    client, got = wires.client()
    for part in _cut(data):
        if got.ended:
            break
        client.data_received(part)
        while upstream.exchange is not None and upstream.request_sent:
            _check_request(bytes(seen.written))
            seen.written.clear()
            upstream.data_received(OK)
    client.connection_lost(None)
    assert wires.worker.runtime.active == 0
    assert wires.endpoint.active == 0
    _check_next(wires)


def _check_request(written: bytes) -> None:
    head, _, body = written.partition(HEAD_END)
    assert _HEAD.fullmatch(head + b"\r\n"), head
    lowered = head.lower()
    lengths, codings = lowered.count(b"\r\ncontent-length:"), lowered.count(b"\r\ntransfer-encoding:")
    assert lengths + codings <= 1, head
    assert lowered.count(b"\r\nhost:") == 1, head
    if codings:
        decoder = ChunkedDecoder()
        decoder.feed(body)
        assert decoder.done
        assert not decoder.surplus
    else:
        match = re.search(rb"\r\ncontent-length: (\d+)", lowered)
        assert len(body) == (int(match[1]) if match else 0), head


def _check_next(wires: Wires) -> None:
    upstream, seen = wires.upstream()
    client, got = wires.client()
    client.data_received(GET)
    assert seen.written.startswith(b"GET /ok HTTP/1.1\r\n")
    upstream.data_received(OK)
    client.connection_lost(None)
    assert got.written == OK


def response(data: bytes) -> None:
    """A backend's bytes through the proxy: the client sees one response, whole or ended; nothing reaches the next."""
    wires = _kept_wires()
    upstream, seen = wires.upstream()
    client, got = wires.client()
    client.data_received(GET)
    for part in _cut(data):
        if seen.ended:
            break
        upstream.data_received(part)
    if not seen.ended:
        upstream.connection_lost(None)
    if got.written:
        assert re.match(rb"HTTP/1\.1 [1-9]\d\d [\x20-\x7e\x80-\xff\t]*\r\n", got.written), bytes(got.written)
    client.connection_lost(None)
    assert wires.worker.runtime.active == 0
    assert wires.endpoint.active == 0
    _check_next(wires)


def response_head(data: bytes) -> None:
    """The parser alone: a verdict or a head, and it is fresh afterwards."""
    parser = ResponseParser(ResponseHead())
    try:
        parser.parse(data + HEAD_END, is_head=bool(data) and data[0] & 1 == 1)
    except BadResponse as error:
        assert error.reason.isalnum()
    parser.parse(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", is_head=False)
    assert parser.head.content_length == 2


def chunks(data: bytes) -> None:
    """However the bytes are cut, the same payload, trailers and verdict come of them."""

    def decode(parts: list[bytes]) -> object:
        decoder, payload, behind = ChunkedDecoder(), b"", b""
        try:
            for part in parts:
                if decoder.done:
                    behind += part
                elif part:
                    payload += decoder.feed(part)
        except MessageError:
            return "refused"
        finally:
            trailers, done = decoder.trailers, decoder.done
            decoder.close()
        return payload, trailers, done, decoder.surplus + behind

    whole = decode([data[1:]])
    cut = decode(_cut(data))
    assert cut == whole, (cut, whole)


def proxy_header(data: bytes) -> None:
    """A header, the beginning of one, or a refusal; and what was read can be written and read again."""
    try:
        header = read_header(data)
    except BadProxyHeader:
        return
    if header is None:
        assert len(data) < MAX_HEADER
        return
    assert 0 < header.size <= min(len(data), MAX_HEADER)
    assert read_header(data[: header.size] + b"GET") == header
    if header.ends is not None:
        ipaddress.ip_address(header.ends.address)
        for version in ("v1", "v2"):
            again = read_header(encode_header(header.ends, version))
            assert again is not None
            assert again.ends == header.ends


def client_hello(data: bytes) -> None:
    """A name or none; what is decided stays so, whatever follows."""
    name = server_name_in(data)
    if name is None:
        assert len(data) < MAX_HELLO
    else:
        assert server_name_in(data + b"x") == name or len(data) >= MAX_HELLO
        assert len(name) <= 255


def target(data: bytes) -> None:
    """A path and a host in their normal form are their own normal form."""
    try:
        path = normalise_path(data)
        assert path.startswith(b"/")
        assert normalise_path(path) == path
        assert b"/../" not in path
        assert b"//" not in path
    except BadPath:
        pass
    try:
        host = canonical_host(data)
        assert canonical_host(host.encode("ascii") if ":" not in host else b"[%b]" % host.strip("[]").encode()) == host
    except BadHost:
        pass


def http2(data: bytes) -> None:
    """A peer's bytes, of either role: events or a failed connection, never an exception."""
    client = bool(data) and data[0] & 0x80 != 0
    connection = Http2Connection(client=client)
    if client:
        connection.open_stream(
            [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/")], end=True
        )
    else:
        connection.receive(PREFACE)
    connection.data_to_send()
    for part in _cut(bytes([data[0] & 0x7F]) + data[1:] if data else b""):
        connection.receive(part)
        connection.data_to_send()
    connection.tick()


_NAMES: Final = sorted(spec.name for spec in ANNOTATIONS)


def annotation(data: bytes) -> None:
    """The value of any annotation, under either prefix: values and problems, and nothing of it twice as long."""
    if len(data) < 2:
        return
    name = (OUR_PREFIX if data[0] & 1 else NGINX_PREFIX) + _NAMES[data[1] % len(_NAMES)]
    text = data[2:].decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode("utf-8")
    metadata = ObjectMeta(name="i", namespace="n", annotations={name: text, NGINX_PREFIX + "enable-cors": "true"})
    parsed = parse_annotations(metadata)
    assert all(len(problem.message) < 1000 and problem.message.isprintable() for problem in parsed.problems)
    msgspec.json.encode(parsed.values)


def manifest(data: bytes) -> None:
    """A file of manifests, through to the table: objects and problems, and what comes out is a table that compiles."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return
    content = decode_text(text, "a.yaml")
    objects = [item.object for item in content.decoded if item.object is not None]
    translation = translate(snapshot_of(objects), Options(), now=NOW)
    said = [*translation.problems, *(problem for item in content.decoded for problem in item.problems)]
    assert all(f"{problem.object} {problem.field} {problem.message}".isprintable() for problem in said)
    table = msgspec.json.decode(msgspec.json.encode(translation.table), type=Table)
    delta = difference(Table(), table, generation=1)
    compile_state(EMPTY, delta, Telemetry(), Random(0))


def _messages(kind: object, parts: list[bytes]) -> tuple[list[bytes], bool]:
    """What comes of them, encoded again, and whether it ends in an error."""
    decoder: FrameDecoder[Any] = FrameDecoder(kind)
    messages: list[bytes] = []
    try:
        for part in parts:
            messages += map(encode_frame, decoder.feed(part))
    except ValueError:
        # msgspec's errors are ones too.
        return messages, True
    return messages, False


def _frames(kind: object, data: bytes) -> None:
    messages, failed = _messages(kind, _cut(data))
    single, failed_too = _messages(kind, [data[index : index + 1] for index in range(1, len(data))])
    assert failed == failed_too
    assert single[: len(messages)] == messages, "an error takes the messages with it that came in the same piece"
    assert failed or len(single) == len(messages)
    for message in messages:
        assert _messages(kind, [message]) == ([message], False)


def frames_down(data: bytes) -> None:
    """What a worker reads from the control process: messages that can be written again, or an error."""
    _frames(Down, data)


def frames_up(data: bytes) -> None:
    """Likewise what the control process reads from a worker."""
    _frames(Up, data)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    each.__name__: each
    for each in (
        exchange,
        response,
        response_head,
        chunks,
        proxy_header,
        client_hello,
        target,
        http2,
        annotation,
        manifest,
        frames_down,
        frames_up,
    )
}
