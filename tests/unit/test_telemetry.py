"""Counters: what is counted, what is sent, what is forgotten."""

from __future__ import annotations

import gc

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.table import Labels
from proxy.table.feed import DURATION_BOUNDS, Histogram, RouteStats, Stats
from proxy.telemetry import Telemetry

LABELS = Labels(namespace="ns", ingress="web", path="/api", service="api", port="80")


def counts(**buckets: int) -> list[int]:
    """A list of bucket counts from ``b3=2``: two in bucket number 3."""
    result = [0] * (len(DURATION_BOUNDS) + 1)
    for name, count in buckets.items():
        result[int(name[1:])] = count
    return result


def test_requests_are_told_by_route_method_and_status() -> None:
    """Everything of a request reaches the stats of its route, under the labels of the table."""
    telemetry = Telemetry()
    route = telemetry.route("foo.com", LABELS)
    route.record(b"GET", 200, 0.004, 0.003, 100, 1000, 0)
    route.record(b"GET", 200, 0.005, 0.0, 100, 1000, 1)
    route.record(b"POST", 502, 60.0, 59.0, 7, 9, 2)
    route.record(b"GET", 503, 0.0, -1.0, 1, 1, 0)
    stats = telemetry.drain({"connections": 3.0}, 7)
    assert stats == Stats(
        token=7,
        gauges={"connections": 3.0},
        routes=[
            RouteStats(
                host="foo.com",
                namespace="ns",
                ingress="web",
                path="/api",
                service="api",
                requests={"GET 200": 2, "POST 502": 1, "GET 503": 1},
                duration=Histogram(counts=counts(b0=3, b11=1), total=60.009),
                upstream_duration=Histogram(counts=counts(b0=2, b11=1), total=59.003),
                request_bytes=208,
                response_bytes=2010,
                retries=3,
            )
        ],
    )


def test_a_value_on_a_bound_belongs_below_it() -> None:
    """As Prometheus counts: ``le`` includes the bound."""
    telemetry = Telemetry()
    route = telemetry.route("foo.com", LABELS)
    for bound in DURATION_BOUNDS:
        route.record(b"GET", 200, bound, bound, 0, 0, 0)
    (stats,) = telemetry.drain({}).routes
    assert stats.duration is not None
    assert stats.upstream_duration is not None
    assert stats.duration.counts == stats.upstream_duration.counts == [1] * len(DURATION_BOUNDS) + [0]


def test_a_route_that_no_upstream_served_has_no_upstream_times() -> None:
    """Redirects and refusals do not pull the upstream's times towards zero."""
    telemetry = Telemetry()
    telemetry.route("foo.com", LABELS).record(b"GET", 308, 0.001, -1.0, 0, 0, 0)
    assert telemetry.drain({}).routes[0].upstream_duration is None


def test_methods_outside_the_common_ones_are_one() -> None:
    """A client cannot make label values (SECURITY class 38)."""
    telemetry = Telemetry()
    route = telemetry.route("foo.com", LABELS)
    for number in range(1000):
        route.record(b"M%d" % number, 405, 0.0, -1.0, 0, 0, 0)
    route.record(b"get", 405, 0.0, -1.0, 0, 0, 0)
    route.record(b"PATCH", 200, 0.0, -1.0, 0, 0, 0)
    (stats,) = telemetry.drain({}).routes
    assert stats.requests == {"other 405": 1001, "PATCH 200": 1}


def test_a_drain_tells_only_what_changed_since_the_last() -> None:
    """Routes without requests are not sent, and nothing is sent twice."""
    telemetry = Telemetry()
    quiet, busy = telemetry.route("quiet.com", LABELS), telemetry.route("busy.com", LABELS)
    busy.record(b"GET", 200, 0.1, 0.1, 1, 1, 0)
    telemetry.accepted += 2
    first = telemetry.drain({})
    assert [route.host for route in first.routes] == ["busy.com"]
    assert first.counters == {"accepted": 2}
    assert telemetry.drain({}) == Stats()
    quiet.record(b"GET", 200, 0.1, 0.1, 1, 1, 0)
    telemetry.upstream_reused += 1
    second = telemetry.drain({})
    assert [route.host for route in second.routes] == ["quiet.com"]
    assert second.counters == {"upstream_reused": 1}
    assert first.routes[0].requests == {"GET 200": 1}
    assert first.routes[0].duration is not None
    assert sum(first.routes[0].duration.counts) == 1


def test_the_process_counters_are_those_of_the_feed() -> None:
    """Every name that the feed promises is counted under that name."""
    telemetry = Telemetry()
    for name in telemetry.COUNTERS:
        setattr(telemetry, name, 1)
    assert set(telemetry.drain({}).counters) == {
        "accepted",
        "refused_limit",
        "proxy_header_failures",
        "bad_requests",
        "http2_connections",
        "http2_resets",
        "http2_floods",
        "tls_handshakes",
        "tls_handshake_failures",
        "upstream_connects",
        "upstream_connect_failures",
        "upstream_reused",
        "ejections",
        "retries_denied",
        "log_lines_dropped",
        "unrouted",
    }


def test_a_route_keeps_its_counters_over_changes_of_the_table() -> None:
    """The same host and labels are the same object; another host, path or service is another; the port is no label."""
    telemetry = Telemetry()
    route = telemetry.route("foo.com", LABELS)
    same = Labels(namespace="ns", ingress="web", path="/api", service="api", port="http")
    assert telemetry.route("foo.com", same) is route
    others = {
        id(telemetry.route("bar.com", LABELS)),
        *(id(telemetry.route("foo.com", Labels(namespace="ns", ingress="web", path=path))) for path in ("/", "/api")),
    }
    assert id(route) not in others


def test_a_route_is_forgotten_when_nobody_holds_it_and_all_was_drained() -> None:
    """What a removed route counted last is still sent; afterwards it takes no memory."""
    telemetry = Telemetry()
    telemetry.route("gone.com", LABELS).record(b"GET", 200, 0.1, 0.1, 1, 1, 0)
    gc.collect()
    assert len(telemetry._routes) == 1
    assert [route.host for route in telemetry.drain({}).routes] == ["gone.com"]
    gc.collect()
    assert len(telemetry._routes) == 0
    held = telemetry.route("held.com", LABELS)
    telemetry.drain({})
    gc.collect()
    assert telemetry.route("held.com", LABELS) is held


REQUESTS = st.tuples(
    st.sampled_from(["a", "b"]), st.sampled_from([b"GET", b"PUT", b"X"]), st.sampled_from([200, 404]), st.floats(0, 20)
)


@settings(deadline=None)
@given(st.lists(REQUESTS | st.none(), max_size=30))
def test_the_sums_over_all_drains_are_what_was_recorded(events: list[tuple[str, bytes, int, float] | None]) -> None:
    """However drains (None) fall between requests, nothing is lost or doubled."""
    telemetry = Telemetry()
    total: dict[tuple[str, str], int] = {}
    buckets = 0
    for event in [*events, None]:
        if event is not None:
            host, method, status, duration = event
            telemetry.route(host, LABELS).record(method, status, duration, -1.0, 0, 0, 0)
            continue
        stats = telemetry.drain({})
        assert len({route.host for route in stats.routes}) == len(stats.routes)
        for route in stats.routes:
            assert route.duration is not None
            buckets += sum(route.duration.counts)
            for key, count in route.requests.items():
                total[route.host, key] = total.get((route.host, key), 0) + count
    recorded = [event for event in events if event is not None]
    expected: dict[tuple[str, str], int] = {}
    for host, method, status, _ in recorded:
        told = (host, f"{'other' if method == b'X' else method.decode()} {status}")
        expected[told] = expected.get(told, 0) + 1
    assert total == expected
    assert buckets == len(recorded)
