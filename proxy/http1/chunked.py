"""The chunked transfer coding (RFC 9112 section 7.1), both ways.

llhttp decodes, but does not tell where a message ends in the bytes it was given. A chunked message can only end in an
empty line, so the input is cut behind each of those, and the byte after the end is never shown to the parser.
"""

from __future__ import annotations

from typing import Final

import httptools

from proxy.http1.reader import HEAD_END
from proxy.message.errors import MessageError
from proxy.message.fields import is_trailer_allowed

__all__ = ["LAST_CHUNK", "ChunkedDecoder", "encode_chunk", "encode_last_chunk"]

LAST_CHUNK: Final = b"0\r\n\r\n"

_SYNTHETIC_HEAD: Final = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
_MAX_OVERHEAD: Final = 16 * 1024
"""Bytes of sizes, extensions and trailers allowed beyond ``_OVERHEAD_PER_BYTE`` times the body."""
_OVERHEAD_PER_BYTE: Final = 8
"""A body sent byte by byte needs 5; extensions that carry more than this are an attack."""
_MAX_TRAILERS: Final = 64
_MAX_TRAILER_BYTES: Final = 16 * 1024
"""Names and values of all trailers, also of those that are not passed on; the parser gathers them in memory."""


class ChunkedDecoder:
    """Decodes one body. ``done`` is true once its end was seen; ``surplus`` are the bytes behind it."""

    __slots__ = (
        "_barren_bytes",
        "_body_bytes",
        "_parser",
        "_payload",
        "_raw_bytes",
        "_started",
        "_tail",
        "_trailer_bytes",
        "done",
        "surplus",
        "trailers",
    )

    def __init__(self) -> None:
        self.done = False
        self.surplus = b""
        self.trailers: list[tuple[bytes, bytes]] = []
        """Only those that may be passed on."""
        self._payload: list[bytes] = []
        self._tail = b""
        self._raw_bytes = 0
        self._body_bytes = 0
        self._barren_bytes = 0
        """Bytes since the last read that held a byte of the body."""
        self._trailer_bytes = 0
        self._started = False
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._parser.feed_data(_SYNTHETIC_HEAD)
        self._started = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser, for a trailer."""
        if not self._started:
            return
        self._trailer_bytes += len(name) + len(value)
        if is_trailer_allowed(name):
            self.trailers.append((name, value))
        if len(self.trailers) > _MAX_TRAILERS or self._trailer_bytes > _MAX_TRAILER_BYTES:
            raise MessageError("TooManyTrailers")

    def on_body(self, data: bytes) -> None:
        """Called by the parser."""
        self._payload.append(data)

    def on_message_complete(self) -> None:
        """Called by the parser."""
        self.done = True

    def feed(self, data: bytes) -> bytes:
        """The decoded bytes of ``data``, which may be none.

        Raises:
            MessageError: the coding is broken, or its overhead out of proportion.
        """
        parser = self._parser
        assert parser is not None
        view = memoryview(data)
        start, size = 0, len(data)
        try:
            while start < size:
                cut = self._next_cut(data, start)
                parser.feed_data(view[start:cut])
                start = cut
                if self.done:
                    self.surplus = data[start:]
                    break
        except httptools.HttpParserCallbackError as error:
            raise MessageError("TooManyTrailers") from error
        except httptools.HttpParserError:
            raise MessageError("BadChunk") from None
        finally:
            payload = self._payload
            body = payload[0] if len(payload) == 1 else b"".join(payload)
            payload.clear()
        self._tail = (self._tail + data[-3:])[-3:]
        self._raw_bytes += start
        self._body_bytes += len(body)
        self._barren_bytes = 0 if body else self._barren_bytes + start
        if self._barren_bytes > _MAX_OVERHEAD:
            # However large the body was: this is one endless extension or trailer.
            raise MessageError("ChunkOverhead")
        if self._raw_bytes - self._body_bytes > _MAX_OVERHEAD + _OVERHEAD_PER_BYTE * self._body_bytes:
            raise MessageError("ChunkOverhead")
        return body

    def close(self) -> None:
        """Break the reference cycle between the parser and this object."""
        self._parser = None

    def _next_cut(self, data: bytes, start: int) -> int:
        """The index behind the next empty line, or the end of ``data``."""
        if start == 0 and self._tail:
            # An empty line may have begun in the bytes before these.
            joint = (self._tail + data[:3]).find(HEAD_END)
            if joint >= 0:
                return joint + 4 - len(self._tail)
        found = data.find(HEAD_END, start)
        return len(data) if found < 0 else found + 4


def encode_chunk(data: bytes) -> bytes:
    """One chunk. ``data`` must not be empty: an empty chunk ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_last_chunk(trailers: list[tuple[bytes, bytes]]) -> bytes:
    """The last chunk with its trailers."""
    if not trailers:
        return LAST_CHUNK
    return b"0\r\n" + b"".join(b"%b: %b\r\n" % field for field in trailers) + b"\r\n"
