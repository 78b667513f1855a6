"""Reading responses, one after the other, off the bytes that an endpoint sends: no socket in here."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from proxy.http1.chunked import ChunkedDecoder
from proxy.http1.reader import HEAD_END, ResponseParser
from proxy.message.errors import BadResponse
from proxy.message.request import CHUNKED, NO_BODY
from proxy.message.response import UNTIL_CLOSE, ResponseHead

if TYPE_CHECKING:
    from proxy.upstream.endpoint import Way

__all__ = ["HEAD_MODE", "Receiver", "ResponseReader", "TunnelEnd"]

MAX_HEAD: Final = 64 * 1024
"""Bytes of a response head; nginx fails at ``proxy_buffer_size`` 4–8 KiB, Envoy at 60 KiB."""
_MAX_INFORMATIONAL: Final = 16
"""1xx responses before the final one."""

HEAD_MODE: Final = 0
_COUNTED: Final = 1
_CHUNKED: Final = 2
_TO_EOF: Final = 3
_TUNNEL: Final = 4


class Receiver(Protocol):
    """The exchange, as its upstream connection sees it."""

    def informational(self, head: ResponseHead) -> None: ...

    def response_whole(self, head: ResponseHead, body: bytes, now: float) -> None:
        """The whole response at once; the connection is free already. ``now`` as of ``time.monotonic``."""

    def response_head(self, head: ResponseHead) -> None: ...

    def response_flush(self) -> None:
        """The head came alone: the client must not wait for the body to see it."""

    def response_body(self, data: bytes) -> None: ...

    def response_end(self, trailers: list[tuple[bytes, bytes]]) -> None: ...

    def switched(self, head: ResponseHead, rest: bytes) -> TunnelEnd | None:
        """The upstream switched protocols; ``None``: nobody asked it to."""

    def upstream_failed(self, connection: Way, reason: str) -> None:
        """The connection is gone before the response was whole."""

    def upstream_blocked(self) -> None: ...

    def upstream_writable(self) -> None: ...


class TunnelEnd(Protocol):
    """What reads a connection that switched protocols. All else still concerns the exchange."""

    def tunnel_data(self, data: bytes) -> None: ...

    def tunnel_eof(self) -> None: ...


class ResponseReader:
    """``exchange`` is set while a request is under way, and hears what its response consists of.

    It may end the exchange in any call, and even begin the next one on this same connection in the last of them.
    """

    __slots__ = (
        "_buffer",
        "_decoder",
        "_informational",
        "_is_head",
        "_left",
        "_mode",
        "_parser",
        "_tunnel",
        "exchange",
        "head",
        "responded",
    )

    def __init__(self) -> None:
        self.exchange: Receiver | None = None
        self.head = ResponseHead()
        self.responded = False
        """A byte of the response came."""
        self._parser = ResponseParser(self.head)
        self._buffer = b""
        self._decoder: ChunkedDecoder | None = None
        self._is_head = False
        self._informational = 0
        self._left = 0
        self._mode = HEAD_MODE

    def _read_rest(self, exchange: Receiver, data: bytes) -> None:
        """Take bytes that came in any mode but ``HEAD_MODE``.

        Raises:
            MessageError: they are no response.
        """
        mode = self._mode
        if mode == _COUNTED:
            self._read_counted(exchange, data)
        elif mode == _CHUNKED:
            self._read_chunked(exchange, data)
        elif mode == _TO_EOF:
            exchange.response_body(data)
        else:
            self._tunnel.tunnel_data(data)

    def _read_eof(self) -> bool:
        """Take the end of the stream; true where the other direction goes on."""
        if self._mode == _TO_EOF:
            self._end(b"")
        elif self._mode == _TUNNEL:
            self._tunnel.tunnel_eof()
            return True
        return False

    def _drop_decoder(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def _read_head(self, exchange: Receiver, data: bytes) -> None:
        buffered = self._buffer
        if buffered:
            data = buffered + data
        self.responded = True
        head = self.head
        while True:
            end = data.find(HEAD_END)
            if end < 0:
                if len(data) > MAX_HEAD:
                    raise BadResponse("HeadTooLarge")
                self._buffer = data
                return
            end += 4
            if end == len(data):
                whole, data = data, b""
            else:
                whole, data = data[:end], data[end:]
            if end > MAX_HEAD:
                raise BadResponse("HeadTooLarge")
            self._parser.parse(whole, is_head=self._is_head)
            if head.status >= 200:
                break
            self._buffer = b""
            if head.status == 101:
                self._switch(exchange, data)
                return
            self._informational += 1
            if self._informational > _MAX_INFORMATIONAL:
                raise BadResponse("TooManyInformational")
            if head.status != 100:
                # The proxy answered 100-continue itself; anything else (103) is for the client.
                exchange.informational(head)
                if self.exchange is not exchange:
                    return
            if not data:
                return
        if buffered:
            self._buffer = b""
        if self._informational:
            self._informational = 0
        length = head.content_length
        if length == len(data):
            now = monotonic()
            self._free(b"", now)
            exchange.response_whole(head, data, now)
            return
        exchange.response_head(head)
        if self.exchange is not exchange:
            return
        if length == NO_BODY:
            self._end(data)
            return
        if not data:
            exchange.response_flush()
        if length > 0:
            self._left = length
            self._mode = _COUNTED
            if data:
                self._read_counted(exchange, data)
        elif length == CHUNKED:
            self._decoder = ChunkedDecoder()
            self._mode = _CHUNKED
            if data:
                self._read_chunked(exchange, data)
        else:
            assert length == UNTIL_CLOSE
            self._mode = _TO_EOF
            head.keep_alive = False
            if data:
                exchange.response_body(data)

    def _read_counted(self, exchange: Receiver, data: bytes) -> None:
        left = self._left - len(data)
        if left > 0:
            self._left = left
            exchange.response_body(data)
            return
        surplus = b""
        if left < 0:
            data, surplus = data[:left], data[left:]
        exchange.response_body(data)
        if self.exchange is exchange:
            self._end(surplus)

    def _read_chunked(self, exchange: Receiver, data: bytes) -> None:
        decoder = self._decoder
        assert decoder is not None
        body = decoder.feed(data)
        if body:
            exchange.response_body(body)
            if self.exchange is not exchange:
                return
        elif not decoder.done:
            # The beginning of a chunk came with the head.
            exchange.response_flush()
        if decoder.done:
            self._drop_decoder()
            self._end(decoder.surplus, decoder.trailers)

    def _switch(self, exchange: Receiver, rest: bytes) -> None:
        tunnel = exchange.switched(self.head, rest)
        if tunnel is None:
            raise BadResponse("UnexpectedSwitch")
        self._tunnel = tunnel
        self._mode = _TUNNEL

    def _end(self, surplus: bytes, trailers: list[tuple[bytes, bytes]] | None = None) -> None:
        """The response is whole: free the connection, then tell the exchange (it may at once want one again)."""
        exchange = self.exchange
        assert exchange is not None
        self._mode = HEAD_MODE
        self._free(surplus, monotonic())
        exchange.response_end(trailers if trailers is not None else [])

    def _free(self, surplus: bytes, now: float) -> None:
        """The response is whole, with ``surplus`` behind it: the connection serves the next request, or ends."""
        raise NotImplementedError
