"""Blocks of header lines: what is cut out, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.message.lines import cut_named, cut_spelled, values

NAMES = [b"A", b"a", b"Bc", b"X-A", b"A-X"]
LINES = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from([b"", b" 1", b" A: 2", b"a:", b" X-A"])))


def block(lines: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(name + b":" + value + b"\r\n" for name, value in lines)


@given(LINES, st.sets(st.sampled_from(NAMES)))
def test_exactly_the_lines_of_the_spelled_names_are_cut(lines: list[tuple[bytes, bytes]], names: set[bytes]) -> None:
    """First, last, repeated, many or few: no other line loses a byte."""
    dropped = [name for name, _ in lines if name in names]
    assert cut_spelled(block(lines), dropped) == block([line for line in lines if line[0] not in names])


@given(LINES, st.sets(st.sampled_from([b"a", b"bc", b"x-a"])))
def test_names_in_any_spelling_are_cut(lines: list[tuple[bytes, bytes]], names: set[bytes]) -> None:
    """As Connection names them."""
    assert cut_named(block(lines), names) == block([line for line in lines if line[0].lower() not in names])


@given(LINES, st.sampled_from([b"a", b"bc", b"x-a", b"a-x"]))
def test_the_values_of_a_field(lines: list[tuple[bytes, bytes]], name: bytes) -> None:
    """In order, without the spaces around them; a value that looks like a field is none."""
    assert list(values(block(lines), name)) == [value.strip() for field, value in lines if field.lower() == name]


@pytest.mark.parametrize("count", [1, 4, 5, 100])
def test_a_field_repeated_often_is_cut_wholly(count: int) -> None:
    """Both ways of cutting, at their border."""
    assert cut_spelled(b"K: 1\r\n" * count + b"Keep: 2\r\n", [b"K"] * count) == b"Keep: 2\r\n"
