"""Fields and cookies as balancers read them."""

from __future__ import annotations

from proxy.message.request import RequestHead


def test_the_first_value_of_a_field() -> None:
    """Names in any case; absent is None, empty is empty."""
    head = RequestHead()
    head.lines = b"X-A: 1\r\nx-a:2\r\nX-B:\r\nNot-X-C: x-c: 3\r\n"
    assert (head.field(b"x-a"), head.field(b"x-b"), head.field(b"x-c")) == (b"1", b"", None)


def test_cookies() -> None:
    """Across several Cookie fields, by exact name, with ``=`` in the value."""
    head = RequestHead()
    head.lines = b"Cookie: a=1; b=2=3;c\r\ncookie:  d=4 ; a=5\r\n"
    assert [head.cookie(name) for name in (b"a", b"b", b"c", b"d", b"A")] == [b"1", b"2=3", None, b"4", None]
