"""Request heads of HTTP/2: fields in one piece, and heads that are like the last ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.http2 import CODEC, sort_out
from proxy.http2.fields import Malformed
from proxy.http2.joined import join_fields, split_fields, take_path
from proxy.http2.joined import sort_out as pure_sort_out
from proxy.http2.requests import Request, RequestReader, read_request
from proxy.message.errors import BadRequest, MessageError
from proxy.message.request import RequestHead
from proxy.table import Settings

NAMES = st.sampled_from([b":path", b":method", b"x", b"", b"cookie", b"content-length", b"host", b"te", b"x_y", b"\0"])
FIELDS = st.lists(st.tuples(NAMES | st.binary(max_size=3), st.binary(max_size=4)), max_size=6)
PSEUDO = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.org")]
PATHS = st.sampled_from([b"/", b"/a?b", b"/a b", b"*", b"", b"a", b"/" + b"x" * 50, b"/\x80"])
HEADS = st.tuples(
    st.sampled_from([b"GET", b"POST", b"CONNECT", b"OPTIONS", b"TRACE", b"NONE"]),
    PATHS,
    st.lists(
        st.sampled_from(
            [
                (b"accept", b"*/*"),
                (b"cookie", b"a=b"),
                (b"content-length", b"3"),
                (b"content-type", b"application/grpc"),
                (b"grpc-timeout", b"5S"),
                (b"x-forwarded-for", b"1.2.3.4"),
                (b"x_under", b"1"),
                (b"te", b"trailers"),
                (b"bad name", b""),
                (b":protocol", b"websocket"),
                (b"expect", b"100-continue"),
            ]
        ),
        max_size=3,
    ),
    st.booleans(),
)


@given(first=FIELDS, second=FIELDS)
@example(first=[(b"ab", b"c")], second=[(b"a", b"bc")])
@example(first=[(b"", b"")], second=[])
def test_fields_in_one_piece_are_those_that_it_was_made_of(
    first: list[tuple[bytes, bytes]], second: list[tuple[bytes, bytes]]
) -> None:
    """Whatever bytes are in them: the piece tells them all, and two that differ have pieces that do."""
    assert split_fields(join_fields(first)) == first
    assert (join_fields(first) == join_fields(second)) == (first == second)


def test_only_a_path_in_front_of_the_other_fields_is_taken_out() -> None:
    """Where it stands decides: one behind other fields, or a second one, is left for the judgement of fields."""
    assert take_path([*PSEUDO, (b":path", b"/"), (b":path", b"/2"), (b"a", b"b")]) == (
        b"/",
        [*PSEUDO, (b":path", b"/2"), (b"a", b"b")],
    )
    late = [*PSEUDO, (b"a", b"b"), (b":path", b"/")]
    assert take_path(late) == (b"", late)


def outcome(head: RequestHead, read: object) -> tuple[object, ...]:
    """All that is known of a request after ``read``."""
    return (
        read,
        head.method,
        head.target,
        head.host,
        # Fields of one name keep their order; between names it means nothing (RFC 9110 section 5.3).
        sorted(head.lines.splitlines(keepends=True), key=lambda line: line.partition(b":")[0]),
        head.special,
        head.plain,
        head.content_length,
        head.keep_alive,
        head.expects_continue,
        head.upgrade,
    )


@given(heads=st.lists(HEADS, min_size=1, max_size=8), limit=st.sampled_from([20, 8192]), underscores=st.booleans())
@example(heads=[(b"GET", b"/", [], True), (b"GET", b"/a b", [], True)], limit=8192, underscores=False)
@example(heads=[(b"GET", b"/", [], True), (b"GET", b"/" + b"x" * 50, [], True)], limit=20, underscores=False)
@example(heads=[(b"POST", b"/", [], True), (b"POST", b"/", [], False)], limit=8192, underscores=False)
@example(heads=[(b"OPTIONS", b"/", [], True), (b"OPTIONS", b"*", [], True)], limit=8192, underscores=False)
def test_what_is_known_of_earlier_heads_changes_nothing(
    heads: list[tuple[bytes, bytes, list[tuple[bytes, bytes]], bool]], limit: int, underscores: bool
) -> None:
    """A reader that remembers, filling one head again and again, ends each time where a new one does."""
    settings = Settings(max_request_line=limit)
    reader, used = RequestReader(), RequestHead()
    used.allow_underscores = underscores
    for method, path, more, ended in [*heads, *heads]:
        fields = [(b":method", method), *PSEUDO[1:], *sorted(more, key=lambda field: field[0] != b":protocol")]
        others = join_fields(fields)
        new = RequestHead()
        new.allow_underscores = underscores
        given_fields = [(b":path", path), *fields] if path else fields
        expected: tuple[object, ...]
        try:
            expected = outcome(new, read_request(new, given_fields, ended=ended, settings=settings))
        except (BadRequest, Malformed) as error:
            with pytest.raises(MessageError) as raised:
                reader.read(used, path, others, ended=ended, settings=settings)
            assert (type(raised.value), raised.value.reason) == (type(error), error.reason)
        else:
            request = reader.read(used, path, others, ended=ended, settings=settings)
            assert outcome(used, request.protocol) == expected
            assert request.is_grpc == (method == b"POST" and (b"content-type", b"application/grpc") in more)
            assert request.timeout == (5.0 if request.is_grpc and (b"grpc-timeout", b"5S") in more else 0.0)


SORTERS = [
    pytest.param(pure_sort_out, id="Python"),
    pytest.param(sort_out, id="libnghttp2", marks=pytest.mark.skipif(CODEC == "h2", reason="built without libnghttp2")),
]
PLAIN = {b"x": True, b"accept": True, b"": True}


@pytest.mark.parametrize("sorter", SORTERS)
@pytest.mark.parametrize(
    ("fields", "lines", "others"),
    [
        ([], [], []),
        ([(b"x", b"1"), (b"y", b"2"), (b"accept", b"*/*"), (b"x", b"")], [0, 2, 3], [1]),
        ([(b":path", b"/"), (b"x", b"1"), (b"cookie", b"a")], [1], [0, 2]),
        ([(b"x", b"1"), (b":path", b"/")], [], [0, 1]),
        ([(b"y", b"1"), (b":path", b"/"), (b"x", b"1")], [2], [0, 1]),
        ([(b"x", b" a"), (b"x", b"a\t"), (b"x", b"a b\tc")], [2], [0, 1]),
        ([(b"x", b"a\nb"), (b"x", b"a\r"), (b"x", b"\0"), (b"x", b"\x1f"), (b"x", b"\x7f")], [], [0, 1, 2, 3, 4]),
        ([(b"x", b"\x80\xff"), (b"X", b"1"), (b"", b"nameless"), (b"x", b" ")], [0, 2], [1, 3]),
    ],
)
def test_fields_that_ask_for_no_thought_become_lines(
    sorter: Any, fields: list[tuple[bytes, bytes]], lines: list[int], others: list[int]
) -> None:
    """Only known names with clean values; and a pseudo-header field that comes late stays where it came."""
    assert sorter(join_fields(fields), PLAIN) == (
        b"".join(b"%b: %b\r\n" % fields[index] for index in lines),
        len(lines),
        [fields[index] for index in others],
    )


@given(fields=FIELDS)
def test_both_builds_sort_fields_in_the_same_way(fields: list[tuple[bytes, bytes]]) -> None:
    """Whatever the fields; in the pure build there is but one."""
    joined = join_fields(fields)
    assert sort_out(joined, PLAIN) == pure_sort_out(joined, PLAIN)


def test_cookies_are_counted_as_one_field() -> None:
    """Browsers send a field per cookie, which is one for the backend."""
    reader, head, settings = RequestReader(), RequestHead(), Settings(max_header_fields=4)
    crumbs = [(b"cookie", b"%d=%d" % (index, index)) for index in range(50)]
    for _ in range(2):
        reader.read(
            head, b"/", join_fields([*PSEUDO, *crumbs, (b"a", b"1"), (b"b", b"1")]), ended=True, settings=settings
        )
        with pytest.raises(BadRequest, match="TooManyHeaders"):
            more = [(name, b"1") for name in (b"a", b"b", b"c", b"d")]
            reader.read(head, b"/", join_fields([*PSEUDO, *more]), ended=True, settings=settings)


def test_other_settings_are_heeded_at_once() -> None:
    """What was read under settings that hold no more is read again."""
    reader, head = RequestReader(), RequestHead()
    others = join_fields([*PSEUDO, (b"x-long", b"v" * 100)])
    assert reader.read(head, b"/", others, ended=True, settings=Settings()) == Request()
    with pytest.raises(BadRequest, match="HeadersTooLarge"):
        reader.read(head, b"/", others, ended=True, settings=Settings(max_header_bytes=50))


def test_a_head_taken_from_another_is_its_own() -> None:
    """What is done to the fields of a request afterwards is not done to those of the next one."""
    reader, head = RequestReader(), RequestHead()
    others = join_fields(PSEUDO)
    for _ in range(3):
        reader.read(head, b"/", others, ended=True, settings=Settings())
        assert list(head.special.values()) == [b"a.org"]
        head.special.clear()
