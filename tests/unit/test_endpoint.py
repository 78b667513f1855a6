"""An endpoint's idle connections and its health, by a clock that the tests set."""

from __future__ import annotations

from random import Random
from typing import Any

from proxy.table import Ejection
from proxy.upstream.endpoint import SLOW_RETURN, EndpointState

USUAL = Ejection()


class Connection:
    """As much of an upstream connection as the pool touches."""

    def __init__(self, idle_since: float = 0.0) -> None:
        self.idle_since = idle_since
        self.usable = True

    def close(self) -> None:
        self.usable = False


def _endpoint() -> EndpointState:
    return EndpointState("10.0.0.1", 80, by_name=False)


def _pool(endpoint: EndpointState, number: int, limit: int = 10) -> list[Any]:
    connections: list[Any] = [Connection() for _ in range(number)]
    for connection in connections:
        endpoint.keep(connection, limit, 0.0)
    return connections


def test_the_name_is_an_authority() -> None:
    """IPv6 addresses stand in brackets."""
    assert _endpoint().name == "10.0.0.1:80"
    assert EndpointState("fd00::1", 80, by_name=False).name == "[fd00::1]:80"


def test_the_last_one_kept_is_the_first_one_taken() -> None:
    """Last in, first out; then there is none."""
    endpoint = _endpoint()
    connections = _pool(endpoint, 3)
    assert [endpoint.take() for _ in range(4)] == [*reversed(connections), None]


def test_a_connection_that_ended_while_idle_is_passed_over() -> None:
    """Only usable ones are given out."""
    endpoint = _endpoint()
    connections = _pool(endpoint, 3)
    connections[2].usable = connections[1].usable = False
    assert endpoint.take() is connections[0]
    assert endpoint.take() is None


def test_what_is_over_the_limit_is_closed() -> None:
    """The limit counts idle connections only."""
    endpoint = _endpoint()
    connections = _pool(endpoint, 5, limit=2)
    assert [connection.usable for connection in connections] == [True, True, False, False, False]


def test_idle_connections_expire_oldest_first() -> None:
    """Those idle since before the moment are closed, and only those."""
    endpoint = _endpoint()
    connections = _pool(endpoint, 4)
    for number, connection in enumerate(connections):
        connection.idle_since = float(number)
    endpoint.expire(2.0)
    assert [connection.usable for connection in connections] == [False, False, True, True]
    assert len(endpoint.idle) == 2


def test_a_retired_endpoint_closes_what_it_has_and_what_comes_back() -> None:
    """Nothing is pooled for an address that left."""
    endpoint = _endpoint()
    connections = _pool(endpoint, 2)
    endpoint.retire()
    late = _pool(endpoint, 1)
    assert not any(connection.usable for connection in [*connections, *late])
    assert not endpoint.idle


def _eject_until_out(endpoint: EndpointState, now: float) -> float:
    assert endpoint.failed(now)
    return endpoint.ejected_until - now


def test_ejections_grow_with_each_failure_in_a_row() -> None:
    """5, 10, 20, 40 seconds, and no more than 60."""
    endpoint = _endpoint()
    now, times = 1000.0, []
    for _ in range(6):
        times.append(_eject_until_out(endpoint, now))
        now = endpoint.ejected_until
    assert times == [USUAL.base_time, 10.0, 20.0, 40.0, USUAL.max_time, USUAL.max_time]


def test_a_burst_of_failures_is_one() -> None:
    """What fails while the endpoint is out was under way before; it counts nothing."""
    endpoint = _endpoint()
    assert endpoint.failed(1000.0)
    assert [endpoint.failed(1000.0 + number / 100) for number in range(100)] == [False] * 100
    assert endpoint.failures == 1
    assert endpoint.ejected_until == 1000.0 + USUAL.base_time


def test_after_an_ejection_one_request_at_a_time_tries_the_endpoint() -> None:
    """Nothing while it is out; then one, until that one has an answer."""
    endpoint, random = _endpoint(), Random(1)
    endpoint.failed(1000.0)
    assert not endpoint.admits(1000.0, random)
    assert not endpoint.admits(1004.9, random)
    assert endpoint.admits(1005.0, random)
    endpoint.active = 1
    assert not endpoint.admits(1005.0, random)
    endpoint.active = 0
    assert endpoint.admits(1006.0, random)


def test_a_try_that_fails_ejects_for_longer() -> None:
    """The count goes on from where it was."""
    endpoint = _endpoint()
    endpoint.failed(1000.0)
    assert _eject_until_out(endpoint, 1006.0) == 10.0
    assert not endpoint.admits(1015.9, Random(1))


def test_a_returning_endpoint_gets_its_share_back_slowly() -> None:
    """From a tenth to all of it over the time of return; then nothing speaks against it any more."""
    endpoint, random = _endpoint(), Random(1)
    endpoint.failed(1000.0)
    endpoint.succeeded(1006.0)

    def share(now: float) -> float:
        return sum(endpoint.admits(now, random) for _ in range(2000)) / 2000

    endpoint.active = 50
    assert 0.07 < share(1006.1) < 0.13
    assert 0.27 < share(1006.0 + 0.3 * SLOW_RETURN) < 0.33
    assert 0.77 < share(1006.0 + 0.8 * SLOW_RETURN) < 0.83
    assert endpoint.suspect
    assert endpoint.admits(1006.0 + SLOW_RETURN, random)
    assert not endpoint.suspect
    assert endpoint.failures == 0


def test_a_failure_during_the_return_begins_again() -> None:
    """Out for longer, and afterwards one request at a time once more."""
    endpoint = _endpoint()
    endpoint.failed(1000.0)
    endpoint.succeeded(1006.0)
    assert _eject_until_out(endpoint, 1008.0) == 10.0
    endpoint.active = 1
    assert not endpoint.admits(1019.0, Random(1))


def test_an_answer_to_an_older_request_ends_no_ejection() -> None:
    """Requests that were under way when it failed may still succeed; that it can be reached again is not shown."""
    endpoint = _endpoint()
    endpoint.failed(1000.0)
    endpoint.succeeded(1001.0)
    assert not endpoint.admits(1002.0, Random(1))
    assert not endpoint.returned_at


def _ruled(**rules: object) -> EndpointState:
    endpoint = _endpoint()
    endpoint.ejection = Ejection(**rules)  # type: ignore[arg-type]
    return endpoint


def test_as_many_failures_in_a_row_as_the_rules_say_eject() -> None:
    """Until then it is served as before; a success in between begins the count anew."""
    endpoint, random = _ruled(consecutive_failures=3), Random(1)
    endpoint.active = 7
    for _ in range(2):
        assert not endpoint.failed(1000.0)
        assert endpoint.admits(1000.0, random)
    endpoint.succeeded(1000.0)
    assert not endpoint.suspect
    assert [endpoint.failed(1001.0) for _ in range(3)] == [False, False, True]
    assert not endpoint.admits(1001.0, random)


def test_after_an_ejection_one_failure_is_enough() -> None:
    """It has shown what it is; the time out doubles."""
    endpoint = _ruled(consecutive_failures=2, base_time=1.0, max_time=3.0)
    endpoint.failed(1000.0)
    times = []
    now = 1000.0
    for _ in range(3):
        times.append(_eject_until_out(endpoint, now))
        now = endpoint.ejected_until
    assert times == [1.0, 2.0, 3.0]


def test_without_ejection_failures_are_counted_and_nothing_else() -> None:
    """It is never out, and a success clears it."""
    endpoint = _ruled(consecutive_failures=0)
    assert [endpoint.failed(1000.0) for _ in range(50)] == [False] * 50
    assert endpoint.suspect
    assert endpoint.admits(1000.0, Random(1))
    endpoint.succeeded(1000.0)
    assert not endpoint.suspect


def test_an_endpoint_that_fails_for_days_is_still_only_out() -> None:
    """Thousands of ejections in a row double no number beyond what there is."""
    endpoint, now = _endpoint(), 1000.0
    for _ in range(3000):
        assert endpoint.failed(now)
        now = endpoint.ejected_until
    assert endpoint.failed(now)
    assert endpoint.ejected_until == now + USUAL.max_time
