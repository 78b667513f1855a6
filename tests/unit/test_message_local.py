"""The answers that the proxy makes itself."""

from __future__ import annotations

import json

import pytest

from proxy.message.local import EXPLANATIONS, LocalResponse, local_response, render, wants_json

OWN = b"Server: pyngress\r\nDate: now\r\n"


def rendered(response: LocalResponse, *, accept: bytes = b"", head_only: bool = False, close: bool = False) -> bytes:
    return render(response, request_id=b"abc", accept=accept, own=OWN, head_only=head_only, close=close)


def test_text_for_people() -> None:
    """Status, explanation and request id, with an exact length."""
    head, _, body = rendered(local_response(404)).partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 404 Not Found"
    assert body == b"404 Not Found\nNo route matches this host and path.\nRequest id: abc\n"
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head
    assert b"\r\nX-Request-ID: abc" in head
    assert b"Connection" not in head


def test_json_for_programs() -> None:
    """The same facts where the client asks for JSON."""
    head, _, body = rendered(local_response(503), accept=b"application/json").partition(b"\r\n\r\n")
    assert b"\r\nContent-Type: application/json\r\n" in head
    assert json.loads(body) == {
        "status": 503, "error": "Service Unavailable", "message": EXPLANATIONS[503], "request_id": "abc",
    }  # fmt: skip


def test_no_body_for_head_and_close_where_wanted() -> None:
    """HEAD gets the length of what it does not get; close is said."""
    answer = rendered(local_response(400), head_only=True, close=True)
    assert answer.endswith(b"\r\nConnection: close\r\n\r\n")
    assert b"Content-Length: 0" not in answer


def test_fields_of_a_filter_and_unknown_statuses() -> None:
    """A redirect carries its Location; a status without a phrase has none."""
    assert b"\r\nLocation: x\r\n" in rendered(local_response(308, fields=b"Location: x\r\n"))
    assert rendered(local_response(599)).startswith(b"HTTP/1.1 599 \r\n")


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (b"application/json", True), (b"APPLICATION/JSON;q=0.9", True), (b"application/problem+json", True),
        (b"image/png, application/json", True), (b"text/html, application/json", False), (b"text/*", False),
        (b"*/*", False), (b"", False), (b"application/jsonx", False),
    ],
)  # fmt: skip
def test_who_gets_json(accept: bytes, wanted: bool) -> None:
    """Those who name JSON before any text."""
    assert wants_json(accept) is wanted
