"""A Problem says what is wrong in one line, whatever the object holds."""

from __future__ import annotations

import msgspec
import pytest

from ingress.resources import ObjectRef, Problem


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("plain", "plain"),
        ("ümläut 日本", "ümläut 日本"),
        ("a\nlevel=error msg=forged", "a\\nlevel=error msg=forged"),
        ("a\r\x1b[2K\x00", "a\\r\\x1b[2K\\x00"),
        ("a\u2028b\u202ec", "a\\u2028b\\u202ec"),
    ],
)
def test_what_does_not_print_is_escaped(written: str, shown: str) -> None:
    """No object writes a line into a log, or moves the cursor of a terminal; also after a copy or a change."""
    ref = ObjectRef(kind="Ingress", namespace="a", name="b")
    problem = Problem(object=ref, field=written, reason="Bad", message=written)
    assert str(ObjectRef(kind="Ingress", namespace="a", name=written)) == f"Ingress a/{shown}"
    assert (problem.field, problem.message) == (shown, shown)
    assert msgspec.structs.replace(problem, message=written) == problem
    assert msgspec.json.decode(msgspec.json.encode(problem), type=Problem) == problem
