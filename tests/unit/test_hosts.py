"""One spelling per host."""

from __future__ import annotations

import pytest

from proxy.routing import BadHost, canonical_host


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        (b"foo.com", "foo.com"),
        (b"FOO.Com", "foo.com"),
        (b"foo.com.", "foo.com"),
        (b"foo.com:80", "foo.com"),
        (b"foo.com:", "foo.com"),
        (b"foo.com.:443", "foo.com"),
        (b"foo.com:65535", "foo.com"),
        (b"foo.com:00080", "foo.com"),
        (b"localhost", "localhost"),
        (b"my_host.local", "my_host.local"),
        (b"xn--caf-dma.example", "xn--caf-dma.example"),
        (b"127.0.0.1:8080", "127.0.0.1"),
        (b"[::1]", "[::1]"),
        (b"[::1]:8080", "[::1]"),
        (b"[2001:DB8:0:0:0:0:0:1]", "[2001:db8::1]"),
        (b"[::ffff:10.0.0.1]", "[::ffff:a00:1]"),
        (b"a" * 253, "a" * 253),
        (b"a" * 253 + b".", "a" * 253),
    ],
)
def test_every_spelling_of_a_host_is_one_host(raw: bytes, canonical: str) -> None:
    """Case, port and trailing dot never dodge a rule (SECURITY class 12)."""
    spelled = canonical_host(raw)
    # IPv4-mapped addresses are printed in either form, depending on the Python version.
    assert spelled in (canonical, "[::ffff:10.0.0.1]" if "ffff" in canonical else canonical)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b".",
        b":80",
        b".foo.com",
        b"foo..com",
        b"foo.com..",
        b"user@foo.com",
        b"foo.com, bar.com",
        b"foo.com,bar.com",
        b"foo.com bar",
        b" foo.com",
        b"foo.com\t",
        b"foo\x00.com",
        b"foo.com/path",
        b"foo.com?x",
        b"foo.com#x",
        b"foo\\com",
        b"*.foo.com",
        b"*",
        b"%66oo.com",
        b"f\xc3\xb6\xc3\xb6.com",
        b"foo.com\xa0",
        b"\xe2\x84\xaa.com",  # KELVIN SIGN, whose lower case is an ASCII k
        b"foo.com:65536",
        b"foo.com:080000",
        b"foo.com:000080",
        b"foo.com:-1",
        b"foo.com:+80",
        b"foo.com:8_0",
        b"foo.com: 80",
        b"foo.com:80:80",
        b"foo.com:http",
        b"foo.com:\xb2",
        b"::1",
        b"[::1",
        b"[::1]80",
        b"[::1].",
        b"[::1]:x",
        b"[fe80::1%25eth0]",
        b"[fe80::1%eth0]",
        b"[127.0.0.1]",
        b"[foo]",
        b"[]",
        b"[v1.x]",
        b"x[::1]",
        b"a" * 254,
    ],
)
def test_what_is_no_host_is_refused(raw: bytes) -> None:
    """Lists, userinfo, controls, other alphabets, bad ports and bad addresses."""
    with pytest.raises(BadHost):
        canonical_host(raw)


def test_the_reason_repeats_no_input() -> None:
    """A refusal may be shown and logged without carrying what the client sent."""
    with pytest.raises(BadHost) as caught:
        canonical_host(b"<script>.com")
    assert "script" not in caught.value.reason
    assert str(caught.value) == caught.value.reason
