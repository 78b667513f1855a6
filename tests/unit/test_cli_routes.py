"""``pyngress routes``: how routes that reach no backend are told."""

from __future__ import annotations

from ingress.cli.routes import route_lines
from proxy.table import Host, Redirect, Respond, Route, Table


def test_answers_and_redirects_stand_in_the_place_of_a_backend() -> None:
    """With their status, and the reason where there is one; they have no endpoints."""
    routes = (
        Route(path="/down", action=Respond(status=503, reason="the Service does not exist")),
        Route(path="/page", action=Respond(status=200, reason="", body="hello")),
        Route(path="/old", action=Redirect(status=301, host="new.example.com")),
    )
    lines = route_lines(Table(hosts={"a.example.com": Host(routes=routes)}))
    rows = {words[1]: " ".join(words[3:-2]) for line in lines[1:] if (words := line.split())}
    assert rows == {
        "/down": "answers 503: the Service does not exist -",
        "/page": "answers 200 -",
        "/old": "redirects with 301 -",
    }
