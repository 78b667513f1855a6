"""Header fields that a table author wrote."""

from __future__ import annotations

import pytest

from proxy.message.authored import field_line, field_name


def test_what_is_fit_is_written_as_it_is() -> None:
    """The name in its own spelling, the value without the spaces around it; a tab and other scripts may stand in it."""
    assert field_line("X-Ab_c", " a\tb ") == b"X-Ab_c: a\tb\r\n"
    assert field_line("x", "") == b"x: \r\n"
    assert field_line("x", "é") == b"x: \xc3\xa9\r\n"
    assert field_name("X-Ab") == b"x-ab"


@pytest.mark.parametrize("byte", [*range(0x21), *b'"(),/:;<=>?@[\\]{}', 0x7F, 0xE9])
def test_no_byte_that_ends_a_name_passes(byte: int) -> None:
    """Only those of a token (RFC 9110 section 5.6.2), wherever they stand."""
    for name in (f"x{chr(byte)}y", f"x{chr(byte)}", f"{chr(byte)}x"):
        with pytest.raises(ValueError, match="no field name"):
            field_name(name)


@pytest.mark.parametrize("byte", [*range(9), *range(10, 32), 0x7F])
def test_no_control_passes_in_a_value(byte: int) -> None:
    """Not even at its ends."""
    for value in (f"a{chr(byte)}b", f"a{chr(byte)}", chr(byte)):
        with pytest.raises(ValueError, match="control"):
            field_line("x", value)


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Content_Length", "Transfer.Encoding", "CONNECTION", "Upgrade", "TE", "Trailer"]
)
def test_the_fields_of_the_proxy_are_locked(name: str) -> None:
    """In any case, and in what CGI-like readers take for them."""
    with pytest.raises(ValueError, match="own"):
        field_name(name)


def test_an_unpaired_surrogate_is_refused() -> None:
    """JSON can carry one; no encoding can."""
    with pytest.raises(ValueError, match="surrogates"):
        field_line("x", "\ud800")
