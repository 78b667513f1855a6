"""``pyngress routes``: how routes that reach no backend are told."""

from __future__ import annotations

from ingress.cli.routes import route_lines
from proxy.table import Cluster, Endpoint, Forward, Host, Redirect, Respond, Route, Table


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


def test_a_route_shows_its_cluster_for_tls_too() -> None:
    """Both clusters, and their endpoints, once where they are the same."""
    here, there = (Cluster(endpoints=(Endpoint(address=f"10.0.0.{last}", port=80),)) for last in (1, 2))
    table = Table(
        hosts={"a.example.com": Host(routes=(Route(action=Forward(cluster="c", tls_cluster="d")),))},
        clusters={"c": here, "d": here},
    )
    assert "c, d 10.0.0.1:80 " in " ".join(route_lines(table)[1].split())
    other = Table(hosts=table.hosts, clusters={"c": here, "d": there})
    assert "c, d 10.0.0.1:80, 10.0.0.2:80 " in " ".join(route_lines(other)[1].split())
    lost = Table(hosts=table.hosts, clusters={"c": here})
    assert "c, d 10.0.0.1:80, none (503) " in " ".join(route_lines(lost)[1].split())
