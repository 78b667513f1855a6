"""Which fields are passed on, which are taken apart, and which stay behind."""

from __future__ import annotations

import pytest

from proxy.message import fields
from proxy.message.request import RequestHead


def kept(*lines: tuple[bytes, bytes], trusted: bool = False, underscores: bool = False) -> list[bytes]:
    head = RequestHead()
    head.trusted, head.allow_underscores = trusted, underscores
    for name, value in lines:
        head.add_field(name, value)
    return [name for name, _ in lines if name not in head.dropped]


@pytest.mark.parametrize(
    "name",
    [
        b"Keep-Alive", b"Proxy-Connection", b"Proxy-Authorization", b"HTTP2-Settings", b"Proxy", b"Forwarded",
        b"X-Real-IP", b"X-Scheme", b"X-Forwarded-Scheme", b"X-Forwarded-Ssl", b"X-Original-URL", b"X-Rewrite-URL",
        b"X-Original-URI", b"X-Original-Forwarded-For", b"X-Forwarded-TLS-Client-Cert",
    ],
)  # fmt: skip
def test_dropped_fields_go_in_any_case_and_from_anyone(name: bytes) -> None:
    """Fields of one hop, and fields that would speak with the proxy's voice."""
    for spelling in (name, name.lower(), name.upper(), name.swapcase()):
        assert kept((spelling, b"x"), trusted=True) == []


@pytest.mark.parametrize("name", [b"X-Forwarded-Prefix", b"x-forwarded-user", b"X-FORWARDED-SERVER", b"X-Forwarded-Zz"])
def test_any_other_x_forwarded_field_needs_a_trusted_peer(name: bytes) -> None:
    """A name nobody thought of is no way in: the whole family is believed from trusted proxies only."""
    assert kept((name, b"x")) == []
    assert kept((name, b"x"), trusted=True) == [name]


@pytest.mark.parametrize(
    "name",
    [b"X_Forwarded_For", b"x_forwarded_user", b"Transfer_Encoding", b"CONTENT_LENGTH", b"X-Forwarded_Proto", b"Host_"],
)
def test_underscored_names_are_dropped(name: bytes) -> None:
    """CGI-like backends cannot tell them from the dashed name."""
    assert kept((name, b"x")) == []


def test_allowed_underscores_still_alias_nothing() -> None:
    """Where underscores are allowed, the aliases of fields that the proxy minds stay behind all the same."""
    names = [b"my_field", b"X_Forwarded_For", b"Content_Length", b"X.Real.IP", b"X!Forwarded!User", b"a.b"]
    assert kept(*((name, b"x") for name in names), underscores=True) == [b"my_field", b"a.b"]


def test_dotted_aliases_are_dropped_and_other_dots_kept() -> None:
    """Some backends turn every byte that is no letter or digit into ``_``."""
    assert kept((b"X.Forwarded.For", b"x"), (b"Transfer.Encoding", b"x"), (b"v1.2", b"x")) == [b"v1.2"]


def test_repeated_special_fields_are_joined() -> None:
    """So that a repeated Host or length fails its own grammar, and lists stay lists."""
    head = RequestHead()
    for value in (b"a", b"", b"b"):
        head.add_field(b"Host", value)
    assert head.special[fields.HOST] == b"a, , b"


def test_the_memory_for_spellings_is_bounded() -> None:
    """A client that sends ever new names fills nothing, and its names are judged all the same."""
    before = dict(fields.REQUEST_KINDS), dict(fields.RESPONSE_KINDS)
    try:
        for number in range(5000):
            assert fields.request_kind(b"x-%d" % number) == fields.FORWARD
            assert fields.response_kind(b"x-%d" % number) == fields.FORWARD
        assert len(fields.REQUEST_KINDS) == len(fields.RESPONSE_KINDS) == 4096
        assert fields.request_kind(b"hOsT") == fields.HOST
        assert fields.request_kind(b"new_name") == fields.UNDERSCORED
        assert fields.response_kind(b"uPGRADE") == fields.UPGRADE
    finally:
        for kinds, saved in zip((fields.REQUEST_KINDS, fields.RESPONSE_KINDS), before, strict=True):
            kinds.clear()
            kinds.update(saved)


def test_list_members() -> None:
    """Empty members count for nothing; only spaces and tabs are trimmed, only ASCII lowered."""
    assert fields.list_members(b" A ,,\tb\t, c d ,") == [b"a", b"b", b"c d"]
    assert fields.list_members(b"\x0bclose,\xa0x,\xc3\x84") == [b"\x0bclose", b"\xa0x", b"\xc3\x84"]
    assert fields.is_list_member(b"x, Close", b"close")
    assert not fields.is_list_member(b"closed, x-close", b"close")


@pytest.mark.parametrize(
    "name",
    [
        b"Transfer-Encoding", b"Content-Length", b"Host", b"Connection", b"TE", b"Trailer", b"Upgrade",
        b"Authorization",
        b"Cookie", b"Set-Cookie", b"Content-Type", b"Content-Encoding", b"Range", b"Expect", b"Date", b"Server",
        b"X-Forwarded-For", b"x-forwarded-anything", b"X-Real-IP", b"X-Request-ID", b"Forwarded", b"X-Original-URL",
        b"X-Scheme", b"Proxy", b"HTTP2-Settings", b"X_Y", b"Content.Length",
    ],
)  # fmt: skip
def test_trailers_that_change_meaning_stay_behind(name: bytes) -> None:
    """A lenient backend merges trailers into its header fields (TERM.EXT smuggling; RFC 9110 section 6.5.1)."""
    assert not fields.is_trailer_allowed(name)
    assert not fields.is_trailer_allowed(name.upper())


@pytest.mark.parametrize("name", [b"X-Checksum", b"ETag", b"Server-Timing", b"grpc-status", b"Digest"])
def test_other_trailers_pass(name: bytes) -> None:
    """Such as checksums and the status of a stream."""
    assert fields.is_trailer_allowed(name)
