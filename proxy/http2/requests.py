"""Request heads from fields, under the rules that HTTP/1.1 heads have (RFC 9113 section 8.3.1)."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from proxy.http2 import sort_out
from proxy.http2.events import Fields
from proxy.http2.fields import Malformed, are_clean, check_field
from proxy.message import fields as kinds
from proxy.message.errors import BadRequest
from proxy.message.grpc import is_grpc, timeout_of
from proxy.message.request import NO_BODY, RequestHead
from proxy.table import Settings

__all__ = ["Request", "RequestReader", "read_request"]

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_TARGET: Final = re.compile(rb"[\x21-\x7e]+\Z")
_SCHEMES: Final = (b"http", b"https")
_METHODS: Final = frozenset(
    b"GET HEAD POST PUT DELETE PATCH OPTIONS COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND UNBIND"
    b" ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE MKCALENDAR LINK UNLINK SOURCE"
    b" QUERY".split()
)
"""Those that the HTTP/1.1 side takes."""
_REFUSED: Final = {b"CONNECT": "ConnectRefused", b"TRACE": "TraceRefused"}
_PSEUDO: Final = frozenset({b":method", b":scheme", b":authority", b":path", b":protocol"})
_MAX_PLAIN: Final = 4096
_MAX_KNOWN: Final = 4
_MAX_REMEMBERED: Final = 2048
"""Bytes of a head that is remembered: with the copy that is sent on, 16 KiB in all for a connection."""


_plain: dict[bytes, bool] = {}
"""Names seen of fields that are passed on as they are, whoever sends them and whatever they say; bounded, since clients
make them up."""


class Request(msgspec.Struct, frozen=True, gc=False):
    """What was read of a request beside its head."""

    protocol: bytes = b""
    """Of an extended CONNECT (RFC 8441); empty: it is none."""
    is_grpc: bool = False
    timeout: float = 0.0
    """Seconds within which a client of gRPC wants its answer; 0: it does not say."""


_USUAL: Final = Request()


class RequestReader:
    """Reads the request heads of one connection.

    Clients that keep a connection tend to send the same fields again. Where every byte but the path is that of one of
    the last heads, so is everything that follows from them: only the path is new, and only it is looked at.
    """

    __slots__ = ("_known", "_settings")

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bool], tuple[RequestHead, Request]] = {}
        self._settings: Settings | None = None
        """Under which they were read."""

    def read(self, head: RequestHead, path: bytes, others: bytes, *, ended: bool, settings: Settings) -> Request:
        """As ``read_request``; ``path`` and ``others`` as of ``RequestReceived``."""
        known = self._known.get((others, ended))
        if known is not None and settings is self._settings:
            template, request = known
            if (
                path[:1] == b"/"
                and _TARGET.match(path) is not None
                and len(path) + len(template.method) <= settings.max_request_line
            ):
                head.target = path
                head.take(template)
                return request
        return self._read(head, path, others, ended, settings)

    def _read(self, head: RequestHead, path: bytes, others: bytes, ended: bool, settings: Settings) -> Request:
        lines, count, fields = sort_out(others, _plain)
        if path:
            fields.insert(0, (b":path", path))
        protocol = read_request(head, fields, ended=ended, settings=settings, lines=lines, count=count)
        request = _USUAL
        if protocol:
            request = Request(protocol)
        elif head.method == b"POST" and is_grpc(head):
            request = Request(is_grpc=True, timeout=timeout_of(head))
        if len(others) <= _MAX_REMEMBERED:
            if settings is not self._settings or len(self._known) >= _MAX_KNOWN:
                self._known.clear()
                self._settings = settings
            template = RequestHead()
            template.take(head)
            self._known[others, ended] = template, request
        return request

    def forget(self) -> None:
        """The connection rests."""
        self._known.clear()


def read_request(
    head: RequestHead, fields: Fields, *, ended: bool, settings: Settings, lines: bytes = b"", count: int = 0
) -> bytes:
    """Fill ``head`` (a fresh or used one) from the fields of a request; the protocol of an extended CONNECT (RFC 8441),
    else nothing. ``ended``: no body follows. ``lines`` are ``count`` fields more; see ``sort_out``.

    Raises:
        Malformed: it is no request.
        BadRequest: it is one that is refused; method and target are set as far as they came.
    """
    head.reset()
    pseudo = _take_pseudo(fields)
    method = head.method = pseudo.get(b":method", b"")
    target = head.target = pseudo.get(b":path", b"")
    protocol = pseudo.get(b":protocol", b"")
    _check_pseudo(pseudo, method, target, protocol)
    first = _take_fields(head, fields[len(pseudo) :], pseudo.get(b":authority", b""))
    lines = b"".join(first) + lines
    if len(lines) > settings.max_header_bytes:
        raise BadRequest("HeadersTooLarge", 431)
    if len(first) + count > settings.max_header_fields:
        raise BadRequest("TooManyHeaders", 431)
    if len(target) + len(method) > settings.max_request_line:
        raise BadRequest("RequestLineTooLong", 414)
    if method == b"CONNECT" and protocol == b"websocket" and not ended:
        _settle_websocket(head, lines)
        return protocol
    if method not in _METHODS:
        refused = _REFUSED.get(method)
        raise BadRequest(refused or "UnknownMethod", 405 if refused else 501)
    if not ended and kinds.CONTENT_LENGTH not in head.special:
        # A body without a length ends by its coding.
        head.plain = False
        head.special[kinds.TRANSFER_ENCODING] = b"chunked"
    head.settle(method, 1, lines)
    if ended and head.content_length != NO_BODY:
        raise Malformed("BodyMissing")
    return b""


def _take_pseudo(fields: Fields) -> dict[bytes, bytes]:
    pseudo: dict[bytes, bytes] = {}
    for name, value in fields:
        if name[:1] != b":":
            break
        if name in pseudo or name not in _PSEUDO:
            raise Malformed("BadPseudoHeader")
        pseudo[name] = value
    return pseudo


def _check_pseudo(pseudo: dict[bytes, bytes], method: bytes, target: bytes, protocol: bytes) -> None:
    if not _TOKEN.match(method):
        raise Malformed("BadMethod")
    if b":protocol" in pseudo:
        if method != b"CONNECT" or not _TOKEN.match(protocol):
            raise Malformed("BadProtocol")
    elif method == b"CONNECT":
        if b":scheme" in pseudo or b":path" in pseudo or not pseudo.get(b":authority"):
            raise Malformed("BadConnect")
        return
    if pseudo.get(b":scheme", b"").lower() not in _SCHEMES:
        raise Malformed("BadScheme")
    if not _TARGET.match(target) or (target[:1] != b"/" and (target != b"*" or method != b"OPTIONS")):
        raise Malformed("BadPath")
    authority = pseudo.get(b":authority")
    if authority is not None and (not _TARGET.match(authority) or b"@" in authority):
        raise Malformed("BadAuthority")


def _take_fields(head: RequestHead, fields: Fields, authority: bytes) -> list[bytes]:
    """The header lines, beginning with Host."""
    if authority:
        head.add_field(b"host", authority)
        parts = [b"Host: %b\r\n" % authority]
    else:
        parts = []
    cookies: list[bytes] = []
    add = head.add_field
    for name, value in fields:
        check_field(name, value)
        if name == b"cookie":
            cookies.append(value)
            continue
        if name == b"host" and authority:
            if value.lower() != authority.lower():
                raise Malformed("AuthorityIsNotHost")
            continue
        add(name, value)
        parts.append(b"%b: %b\r\n" % (name, value))
        if kinds.REQUEST_KINDS.get(name) == kinds.FORWARD and len(_plain) < _MAX_PLAIN:
            _plain[name] = True
    if cookies:
        # Crumbs of one field (RFC 9113 section 8.2.3).
        parts.append(b"cookie: %b\r\n" % b"; ".join(cookies))
    if not are_clean(b"".join(parts), len(parts)):
        raise Malformed("BadHeaderValue")
    return parts


def _settle_websocket(head: RequestHead, lines: bytes) -> None:
    """A WebSocket handshake, as HTTP/1.1 backends know it: a GET that asks for an upgrade."""
    head.plain = False
    for kind in (kinds.CONTENT_LENGTH, kinds.EXPECT, kinds.TE):
        if kind in head.special:
            raise Malformed("BadConnect")
    head.settle(b"GET", 1, lines)
    head.upgrade = True
