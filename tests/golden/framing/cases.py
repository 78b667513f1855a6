"""The oddities: what a client might send. Each is a name and the very bytes.

A case is sent whole on a new connection of a proxy that serves ``foo.example.com`` and, as its default, every other
host; its body limit is 100 000 bytes. ``NEXT`` behind a message shows whether the proxy still knows where it ended.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["BODY_LIMIT", "CASES", "NEXT", "Case"]

BODY_LIMIT: Final = 100_000
HOST: Final = b"Host: foo.example.com\r\n"
NEXT: Final = b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n"
SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


class Case(NamedTuple):
    """``half_close``: the client sends FIN behind its bytes."""

    name: str
    data: bytes
    half_close: bool = False


def _target(target: bytes, host: bytes = HOST) -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + host + b"\r\n" + NEXT


def _get(*lines: bytes, minor: int = 1, host: bytes = HOST) -> bytes:
    return b"GET /a HTTP/1.%d\r\n" % minor + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + NEXT


def _post(*lines: bytes, body: bytes = b"", minor: int = 1) -> bytes:
    head = b"POST /a HTTP/1.%d\r\n" % minor + HOST + b"".join(line + b"\r\n" for line in lines)
    return head + b"\r\n" + body + NEXT


def _chunks(body: bytes) -> bytes:
    return _post(b"Transfer-Encoding: chunked", body=body)


_START_LINES: Final = {
    "plain": b"GET /a HTTP/1.1\r\n",
    "two spaces before the target": b"GET  /a HTTP/1.1\r\n",
    "two spaces before the version": b"GET /a  HTTP/1.1\r\n",
    "tab for a space": b"GET\t/a HTTP/1.1\r\n",
    "space at the end": b"GET /a HTTP/1.1 \r\n",
    "space at the beginning": b" GET /a HTTP/1.1\r\n",
    "no version": b"GET /a\r\n",
    "no target": b"GET HTTP/1.1\r\n",
    "empty target": b"GET  HTTP/1.1\r\n",
    "version 0.9": b"GET /a HTTP/0.9\r\n",
    "version 1.2": b"GET /a HTTP/1.2\r\n",
    "version 2.0": b"GET /a HTTP/2.0\r\n",
    "version 1.10": b"GET /a HTTP/1.10\r\n",
    "version 01.1": b"GET /a HTTP/01.1\r\n",
    "version in lower case": b"GET /a http/1.1\r\n",
    "version with a comma": b"GET /a HTTP/1,1\r\n",
    "another protocol": b"GET /a ICE/1.0\r\n",
    "another protocol, RTSP": b"DESCRIBE /a RTSP/1.0\r\n",
    "bare line feed": b"GET /a HTTP/1.1\n",
    "bare carriage return": b"GET /a HTTP/1.1\r",
    "carriage return twice": b"GET /a HTTP/1.1\r\r\n",
    "method in lower case": b"get /a HTTP/1.1\r\n",
    "method unknown": b"BREW /a HTTP/1.1\r\n",
    "method with a NUL": b"G\0ET /a HTTP/1.1\r\n",
    "method with more behind it": b"GETX /a HTTP/1.1\r\n",
    "method CONNECT, authority": b"CONNECT foo.example.com:443 HTTP/1.1\r\n",
    "method CONNECT, path": b"CONNECT /a HTTP/1.1\r\n",
    "method CONNECT, absolute": b"CONNECT http://foo.example.com/a HTTP/1.1\r\n",
    "method TRACE": b"TRACE /a HTTP/1.1\r\n",
    "method SOURCE": b"SOURCE /a HTTP/1.1\r\n",
    "method QUERY": b"QUERY /a HTTP/1.1\r\n",
    "method PRI, as HTTP/2 begins": b"PRI * HTTP/2.0\r\n",
}

_TARGETS: Final = {
    "asterisk": b"*",
    "authority": b"foo.example.com:80",
    "relative": b"a/b",
    "question mark only": b"?x",
    "space inside": b"/a b",
    "tab inside": b"/a\tb",
    "NUL inside": b"/a\0b",
    "control inside": b"/a\x01b",
    "DEL inside": b"/a\x7fb",
    "high byte": b"/a\xe9",
    "high byte in the query": b"/a?\xe9",
    "line feed inside": b"/a\nX: b",
    "carriage return inside": b"/a\rb",
    "fragment": b"/a#b",
    "fragment in the query": b"/a?b#c",
    "backslash": b"/a\\..\\b",
    "two slashes first": b"//evil.example.com/a",
    "two slashes inside": b"/a//b",
    "dot segments": b"/a/./b/../c",
    "dot segments above the root": b"/../a",
    "dot segments, escaped": b"/a/%2e%2E/b",
    "dot segments, escaped twice": b"/a/%252e%252e/b",
    "dot segment with a parameter": b"/a/..;x/b",
    "dot segment with an escaped slash": b"/a/..%2Fb",
    "dot segment with an escaped backslash": b"/a/..%5cb",
    "escaped slash": b"/a%2fb",
    "escaped NUL": b"/a%00b",
    "escaped line end": b"/a%0d%0aX:%20b",
    "escape cut short": b"/a%2",
    "escape of no digits": b"/a%zz",
    "escape of a letter": b"/%61dmin",
    "quotes and braces": b'/a"<>{}|^`b',
    "parameter": b"/a;x=1/b",
    "absolute": b"http://foo.example.com/b?c",
    "absolute, upper case": b"HTTP://FOO.example.com/b",
    "absolute, https": b"https://foo.example.com/b",
    "absolute, no path": b"http://foo.example.com",
    "absolute, query without a path": b"http://foo.example.com?x",
    "absolute, other host than Host": b"http://bar.example.com/b",
    "absolute, port": b"http://foo.example.com:8080/b",
    "absolute, user": b"http://foo.example.com@evil.example.com/b",
    "absolute, no host": b"http:///b",
    "absolute, fragment": b"http://foo.example.com#/b",
    "absolute, dot segments above the root": b"http://foo.example.com/../b",
    "absolute, other scheme": b"ftp://foo.example.com/b",
    "absolute, one slash": b"http:/foo.example.com/b",
    "absolute, bad port": b"http://foo.example.com:x/b",
}

_HOSTS: Final = {
    "missing": b"",
    "empty": b"Host:\r\n",
    "two, equal": HOST + HOST,
    "two, different": HOST + b"Host: evil.example.com\r\n",
    "two, one empty": b"Host:\r\n" + HOST,
    "two, cases differ": HOST + b"hOST: evil.example.com\r\n",
    "list": b"Host: foo.example.com, evil.example.com\r\n",
    "port": b"Host: foo.example.com:8080\r\n",
    "port empty": b"Host: foo.example.com:\r\n",
    "port too large": b"Host: foo.example.com:65536\r\n",
    "port signed": b"Host: foo.example.com:+80\r\n",
    "port twice": b"Host: foo.example.com:80:80\r\n",
    "upper case and trailing dot": b"Host: FOO.Example.com.\r\n",
    "two trailing dots": b"Host: foo.example.com..\r\n",
    "spaces around": b"Host: \t foo.example.com \t\r\n",
    "space inside": b"Host: foo example.com\r\n",
    "user": b"Host: foo.example.com@evil.example.com\r\n",
    "path": b"Host: foo.example.com/x\r\n",
    "backslash": b"Host: foo.example.com\\x\r\n",
    "percent": b"Host: foo%2eexample.com\r\n",
    "NUL": b"Host: foo.example.com\0\r\n",
    "high byte": b"Host: f\xc3\xb6\xc3\xb6.example.com\r\n",
    "quote": b'Host: "foo.example.com"\r\n',
    "no-break space": b"Host: foo.example.com\xa0\r\n",
    "longer than a name may be": b"Host: " + b"a." * 127 + b"a\r\n",
    "IPv6": b"Host: [2001:DB8::1]:80\r\n",
    "IPv6 with a zone": b"Host: [fe80::1%eth0]\r\n",
    "IPv6 not closed": b"Host: [::1\r\n",
    "unknown name": b"Host: unknown.example.com\r\n",
    "underscored alias": b"Host_: a\r\n",
}

_FIELDS: Final = {
    "folded, space": b"X: a\r\n b",
    "folded, tab": b"X: a\r\n\tb",
    "folded, before anything": b" X: a",
    "folded, empty value": b"X:\r\n a",
    "folded Content-Length": b"Content-Length:\r\n 5",
    "space before the colon": b"X : a",
    "tab before the colon": b"X\t: a",
    "name empty": b": a",
    "no colon": b"just words",
    "line of spaces": b"   ",
    "name with a space": b"X Y: a",
    "name with a NUL": b"X\0: a",
    "name with a quote": b'X": a',
    "name with a high byte": b"X\xe9: a",
    "name of odd token characters": b"!#$%&'*+.^`|~: a",
    "value with a NUL": b"X: a\0b",
    "value with a control": b"X: a\x1bb",
    "value with a DEL": b"X: a\x7fb",
    "value with a bare line feed": b"X: a\nY: b",
    "value with a bare carriage return": b"X: a\rY: b",
    "value with two carriage returns": b"X: a\r",
    "value ended by line feed and carriage return": b"X: a\n\rY: b",
    "value with a high byte": b"X: \xe9",
    "value with a tab": b"X: a\tb",
    "value empty": b"X:",
    "value without a space": b"X:a",
    "underscore": b"X_Y: a",
    "underscored Content_Length": b"Content_Length: 5",
    "underscored Transfer_Encoding": b"Transfer_Encoding: chunked",
    "underscored X_Forwarded_For": b"X_Forwarded_For: 1.2.3.4",
    "dotted X.Forwarded.For": b"X.Forwarded.For: 1.2.3.4",
    "X-Forwarded-For": b"X-Forwarded-For: 1.2.3.4",
    "X-Forwarded-Host and others": b"X-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 1",
    "X-Forwarded-Prefix, -User": b"X-Forwarded-Prefix: /evil\r\nX-Forwarded-User: root",
    "Forwarded, X-Real-IP": b"Forwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4",
    "X-Original-URL, X-Rewrite-URL": b"X-Original-URL: /evil\r\nX-Rewrite-URL: /evil",
    "Proxy": b"Proxy: http://evil.example.com",
    "X-Request-ID kept": b"X-Request-ID: mine-1",
    "X-Request-ID with a space": b"X-Request-ID: a b",
    "X-Request-ID twice": b"X-Request-ID: a\r\nX-Request-ID: b",
}

_CONNECTION: Final = {
    "close": b"Connection: close",
    "close among others, odd case": b"Connection: foo, CLOSE",
    "keep-alive": b"Connection: keep-alive\r\nKeep-Alive: timeout=5",
    "names a field": b"Connection: X-Secret\r\nX-Secret: a",
    "names a field above it": b"X-Secret: a\r\nConnection: x-secret, close",
    "names fields of ours": b"Connection: X-Forwarded-For, X-Forwarded-Proto, X-Real-IP, X-Request-ID, Host",
    "names framing": b"Connection: Transfer-Encoding, Content-Length",
    "empty members": b"Connection: , ,",
    "Proxy-Connection": b"Proxy-Connection: keep-alive",
    "TE trailers": b"TE: trailers, deflate\r\nConnection: TE",
    "TE without trailers": b"TE: deflate",
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA",
    "upgrade to something else": b"Connection: Upgrade\r\nUpgrade: TLS/1.0",
    "upgrade to a list": b"Connection: Upgrade\r\nUpgrade: websocket, h2c",
    "upgrade without Connection": b"Upgrade: websocket",
    "upgrade to a WebSocket that the backend declines": b"Connection: Upgrade\r\nUpgrade: websocket",
    "upgrade with a body": b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0",
}

_LENGTHS: Final = {
    "zero": (b"0", b""),
    "right": (b"5", b"hello"),
    "a request as the body": (b"%d" % len(SMUGGLED), SMUGGLED),
    "leading zeros": (b"005", b"hello"),
    "spaces around": (b" \t5 \t", b"hello"),
    "empty": (b"", b""),
    "plus": (b"+5", b"hello"),
    "minus": (b"-5", b"hello"),
    "minus zero": (b"-0", b""),
    "underscore": (b"1_0", b"hellohello"),
    "list, equal": (b"5, 5", b"hello"),
    "list, different": (b"5, 0", b"hello"),
    "space inside": (b"5 5", b"hello"),
    "hexadecimal": (b"0x5", b"hello"),
    "float": (b"5.0", b"hello"),
    "exponent": (b"1e1", b"hellohello"),
    "semicolon": (b"5;", b"hello"),
    "quoted": (b'"5"', b"hello"),
    "vertical tab": (b"\x0b5", b"hello"),
    "no-break space": (b"5\xa0", b"hello"),
    "digit of another script": ("٥".encode(), b"hello"),
    "NUL": (b"5\0", b"hello"),
    "18 digits": (b"9" * 18, b""),
    "19 digits": (b"1" + b"0" * 18, b""),
    "over 64 bits": (b"18446744073709551621", b"hello"),
    "over the body limit": (b"%d" % (BODY_LIMIT + 1), b"hello"),
}

_CODINGS: Final = {
    "chunked": b"chunked",
    "upper case": b"CHUNKED",
    "spaces around": b"  chunked  ",
    "tab before": b"\tchunked",
    "tab behind": b"chunked\t",
    "vertical tab before": b"\x0bchunked",
    "form feed behind": b"chunked\x0c",
    "no-break space": b"chunked\xa0",
    "NUL behind": b"chunked\0",
    "empty": b"",
    "identity": b"identity",
    "identity, chunked": b"identity, chunked",
    "chunked, identity": b"chunked, identity",
    "chunked, chunked": b"chunked, chunked",
    "gzip, chunked": b"gzip, chunked",
    "chunked, gzip": b"chunked, gzip",
    "comma before": b", chunked",
    "comma behind": b"chunked,",
    "letter before": b"xchunked",
    "letter behind": b"chunkedx",
    "quoted": b'"chunked"',
    "parameter": b"chunked;q=1",
    "Kelvin sign": "chun\u212aed".encode(),
    "folded": b"\r\n chunked",
    "two lines": b"chunked\r\nTransfer-Encoding: chunked",
    "two lines, identity first": b"identity\r\nTransfer-Encoding: chunked",
    "two lines, identity last": b"chunked\r\nTransfer-Encoding: identity",
    "line feed inside": b"\nchunked",
    "length before": b"chunked\r\nContent-Length: 5",
    "length zero": b"chunked\r\nContent-Length: 0",
}

_CHUNKED: Final = {
    "empty": b"0\r\n\r\n",
    "one": b"3\r\nabc\r\n0\r\n\r\n",
    "upper and lower case digits": b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
    "empty lines in the data": b"8\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n",
    "a request in the data": b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
    "size with leading zeros": b"0003\r\nabc\r\n0000\r\n\r\n",
    "size empty": b"\r\nabc\r\n0\r\n\r\n",
    "size with 0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "size with plus": b"+3\r\nabc\r\n0\r\n\r\n",
    "size with minus": b"-3\r\nabc\r\n0\r\n\r\n",
    "size with underscore": b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "size no digit": b"g\r\nabc\r\n0\r\n\r\n",
    "size with a space before": b" 3\r\nabc\r\n0\r\n\r\n",
    "size with a space behind": b"3 \r\nabc\r\n0\r\n\r\n",
    "size of another script": "\u0663\r\nabc\r\n0\r\n\r\n".encode(),
    "size over 64 bits": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "size over the body limit": b"fffffff\r\nabc\r\n0\r\n\r\n",
    "size smaller than the data": b"2\r\nabc\r\n0\r\n\r\n",
    "size larger than the data": b"4\r\nabc\r\n0\r\n\r\n",
    "no line end behind the data": b"3\r\nabc0\r\n\r\n",
    "two bytes for a line end": b"3\r\nabcXX0\r\n\r\n",
    "bare line feed behind the size": b"3\nabc\r\n0\r\n\r\n",
    "bare line feed behind the data": b"3\r\nabc\n0\r\n\r\n",
    "bare carriage return behind the size": b"3\rabc\r\n0\r\n\r\n",
    "bare line feeds at the end": b"3\r\nabc\r\n0\n\n",
    "extension": b'3;a=b;c="d e"\r\nabc\r\n0;f\r\n\r\n',
    "extension with a line feed": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "extension with a carriage return": b"3;a\rb\r\nabc\r\n0\r\n\r\n",
    "extension with a quoted line end": b'3;a="\r\nabc\r\n0\r\n\r\n',
    "extension with a NUL": b"3;a\0\r\nabc\r\n0\r\n\r\n",
    "extension, endless": b"3;" + b"a" * 20_000 + b"\r\nabc\r\n0\r\n\r\n",
    "extension, large beside a small body": b"".join(b"1;%b\r\na\r\n" % (b"x" * 1000) for _ in range(20))
    + b"0\r\n\r\n",
    "trailer": b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
    "trailer that frames": b"0\r\nContent-Length: 5\r\n\r\nhello",
    "trailer that frames, chunked": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "trailer that routes": b"0\r\nHost: evil.example.com\r\nX-Forwarded-For: 1.2.3.4\r\nX-Original-URL: /evil\r\n\r\n",
    "trailer that authenticates": b"0\r\nAuthorization: Basic eA==\r\nCookie: a=b\r\nX_Y: a\r\n\r\n",
    "trailer that upgrades": b"0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "trailer folded": b"0\r\nX: a\r\n b\r\n\r\n",
    "trailer without a colon": b"0\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "trailer with a bare line feed": b"0\r\nX: a\nY: b\r\n\r\n",
    "trailer with a NUL": b"0\r\nX: a\0\r\n\r\n",
    "trailer, endless": b"0\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    "trailers, many": b"0\r\n" + b"X: a\r\n" * 65 + b"\r\n",
}

_LIMITS: Final = {
    "request line at its limit": b"GET /%b HTTP/1.1\r\n" % (b"a" * (8192 - 14)) + HOST + b"\r\n",
    "request line over its limit": b"GET /%b HTTP/1.1\r\n" % (b"a" * (8193 - 14)) + HOST + b"\r\n",
    "request line without an end": b"GET /" + b"a" * 9000,
    "headers under their limit": b"GET /a HTTP/1.1\r\n" + HOST + b"X: %b\r\n\r\n" % (b"a" * 32_000),
    "headers over their limit": b"GET /a HTTP/1.1\r\n" + HOST + b"X: %b\r\n\r\n" % (b"a" * 33_000),
    "headers without an end": b"GET /a HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 33_000,
    "100 fields": b"GET /a HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 99 + b"\r\n",
    "101 fields": b"GET /a HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 100 + b"\r\n",
}

_STREAMS: Final = {
    "one empty line first": b"\r\n" + NEXT,
    "two empty lines first": b"\r\n\r\n" + NEXT,
    "three empty lines first": b"\r\n\r\n\r\n" + NEXT,
    "bare line feed first": b"\n" + NEXT,
    "space first": b" " + NEXT,
    "NUL first": b"\0" + NEXT,
    "byte order mark first": b"\xef\xbb\xbf" + NEXT,
    "empty lines between": NEXT + b"\r\n" + NEXT,
    "three in a row": NEXT + NEXT + NEXT,
    "malformed behind a good one": NEXT + b"GET /a b HTTP/1.1\r\n\r\n" + SMUGGLED,
    "good behind a malformed one": b"GET /a b HTTP/1.1\r\n\r\n" + SMUGGLED,
    "garbage behind a good one": NEXT + b"\x16\x03\x01\x02\x00\x01",
    "TLS on the plain port": b"\x16\x03\x01\x00\x20\x01\x00\x00\x1c\x03\x03" + bytes(26),
    "HTTP/2 on the plain port": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "response for a request": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "close, then more": _get(b"Connection: close"),
    "body of a GET": b"GET /a HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED + NEXT,
    "bytes behind a bodiless POST": b"POST /a HTTP/1.1\r\n" + HOST + b"\r\n" + NEXT,
    "Expect with a body": _post(b"Expect: 100-continue", b"Content-Length: 5", body=b"hello"),
    "Expect, odd case": _post(b"expect: 100-Continue", b"Content-Length: 5", body=b"hello"),
    "Expect without a body": _get(b"Expect: 100-continue"),
    "Expect of something else": _post(b"Expect: 200-ok", b"Content-Length: 5", body=b"hello"),
    "Expect twice": _post(b"Expect: 100-continue", b"Expect: 100-continue", b"Content-Length: 5", body=b"hello"),
    "Expect with a body over the limit": _post(b"Expect: 100-continue", b"Content-Length: 100001") + SMUGGLED,
    "Expect with chunks": _post(b"Expect: 100-continue", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "1.0": _get(minor=0),
    "1.0 without a Host": _get(minor=0, host=b""),
    "1.0 kept alive": _get(b"Connection: keep-alive", minor=0),
    "1.0 with chunks": _post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n", minor=0),
    "1.0 with chunks and a length": _post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"hello", minor=0),
    "1.0 with a length": _post(b"Content-Length: 5", body=b"hello", minor=0),
    "1.0 with a body that ends by closing": _post(body=b"hello", minor=0),
    "1.0 with Expect": _post(b"Expect: 100-continue", b"Content-Length: 5", body=b"hello", minor=0),
    "1.0 with an upgrade": _get(b"Connection: Upgrade", b"Upgrade: websocket", minor=0),
    "absolute with no Host": _target(b"http://foo.example.com/b", b""),
    "absolute with two Hosts": _target(b"http://foo.example.com/b", HOST + HOST),
    "absolute with a bad Host": _target(b"http://foo.example.com/b", b"Host: a b\r\n"),
    "absolute in 1.0 with no Host": b"GET http://foo.example.com/b HTTP/1.0\r\n\r\n",
}

_CUT_SHORT: Final = {
    "half a head, then FIN": b"GET /a HTTP/1.1\r\nHost: foo",
    "half a counted body, then FIN": b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\nhello",
    "half a chunk, then FIN": b"POST /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nA\r\nhello",
    "chunks without the last, then FIN": b"POST /a HTTP/1.1\r\n"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    "whole request, then FIN": NEXT,
}


def _cases() -> list[Case]:
    cases = [Case(f"start line: {name}", line + HOST + b"\r\n" + NEXT) for name, line in _START_LINES.items()]
    cases += [Case(f"target: {name}", _target(target)) for name, target in _TARGETS.items()]
    cases += [Case(f"host: {name}", _get(host=host)) for name, host in _HOSTS.items()]
    cases += [Case(f"field: {name}", _get(field)) for name, field in _FIELDS.items()]
    cases += [Case(f"connection: {name}", _get(field)) for name, field in _CONNECTION.items()]
    for name, (value, body) in _LENGTHS.items():
        cases.append(Case(f"length: {name}", _post(b"Content-Length: " + value, body=body)))
    cases += [
        Case("length: two lines, equal", _post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello")),
        Case("length: two lines, different", _post(b"Content-Length: 0", b"Content-Length: 5", body=b"hello")),
        Case("length: two lines, one empty", _post(b"Content-Length:", b"Content-Length: 5", body=b"hello")),
        Case("length: space before the colon", _post(b"Content-Length : 5", body=b"hello")),
        Case("length: then chunked", _post(b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n")),
    ]
    body = b"5\r\nhello\r\n0\r\n\r\n"
    cases += [
        Case(f"coding: {name}", _post(b"Transfer-Encoding: " + value, body=body)) for name, value in _CODINGS.items()
    ]
    cases.append(Case("coding: space before the colon", _post(b"Transfer-Encoding : chunked", body=body)))
    cases += [Case(f"chunks: {name}", _chunks(chunks)) for name, chunks in _CHUNKED.items()]
    cases += [Case(f"limit: {name}", data) for name, data in _LIMITS.items()]
    cases += [Case(f"stream: {name}", data) for name, data in _STREAMS.items()]
    cases += [Case(f"cut short: {name}", data, half_close=True) for name, data in _CUT_SHORT.items()]
    return cases


CASES: Final = tuple(_cases())
