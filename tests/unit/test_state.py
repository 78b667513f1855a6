"""Deltas made live: what is compiled anew, what is shared, what is refused."""

from __future__ import annotations

from random import Random
from time import perf_counter

import msgspec
import pytest

from proxy.engine.state import EMPTY, CompileError, State, compile_state
from proxy.table import Cluster, Endpoint, Forward, Host, Respond, Route, Settings, Table
from proxy.table.feed import Delta, difference
from proxy.telemetry import Telemetry


def _table(count: int = 2, /, **changes: object) -> Table:
    def route(number: int) -> Route:
        return Route(action=Forward(cluster=f"c{number}"))

    table = Table(
        hosts={f"h{number}.example.com": Host(routes=(route(number),)) for number in range(count)},
        clusters={
            f"c{number}": Cluster(endpoints=(Endpoint(address=f"10.0.0.{number + 1}", port=80),))
            for number in range(count)
        },
    )
    return msgspec.structs.replace(table, **changes)


class Live:
    """A state, and the deltas that lead on from it."""

    def __init__(self, table: Table) -> None:
        self.telemetry = Telemetry()
        self.state = EMPTY
        self.apply(difference(Table(), table, generation=1))

    def apply(self, delta: Delta) -> State:
        self.state, settle = compile_state(self.state, delta, self.telemetry, Random(1))
        settle()
        return self.state

    def publish(self, table: Table) -> State:
        return self.apply(difference(self.state.table, table, generation=self.state.generation + 1))

    def route(self, host: str) -> object:
        matcher = self.state.matcher.find(host)
        return None if matcher is None else matcher.match(b"/")


def test_a_change_of_one_cluster_compiles_nothing_else() -> None:
    """A pod that comes or goes: hosts, routes and other clusters are the same objects; the cluster changes in place."""
    live = Live(_table())
    before, endpoints = live.state, live.state.clusters["c0"].endpoints
    clusters = {**before.table.clusters, "c0": Cluster(endpoints=(Endpoint(address="10.9.9.9", port=1),))}
    after = live.publish(_table(clusters=clusters))
    assert after.matcher is before.matcher
    assert after.clusters is before.clusters
    assert after.clusters["c0"].endpoints[0].name == "10.9.9.9:1"
    assert endpoints[0].retired


def test_a_change_of_one_host_leaves_the_others() -> None:
    """Their routes are the same objects; a state that an exchange still holds has the old one."""
    live = Live(_table())
    before = live.state
    untouched = live.route("h1.example.com")
    hosts = {**before.table.hosts, "h0.example.com": Host(routes=(Route(action=Respond(status=503, reason="x")),))}
    live.publish(_table(hosts=hosts))
    assert live.route("h1.example.com") is untouched
    assert live.route("h0.example.com").response.status == 503  # type: ignore[attr-defined]
    old = before.matcher.find("h0.example.com")
    assert old is not None
    assert old.match(b"/").cluster == "c0"  # type: ignore[union-attr]


def test_hosts_and_clusters_go() -> None:
    """A host that is removed is found no more; the endpoints of a cluster that is removed are retired."""
    live = Live(_table())
    endpoint = live.state.clusters["c1"].endpoints[0]
    live.publish(_table(1))
    assert live.route("h1.example.com") is None
    assert set(live.state.clusters) == {"c0"}
    assert endpoint.retired


def test_settings_reach_every_route() -> None:
    """Timeouts are compiled into routes: a change of the settings compiles them all."""
    live = Live(_table())
    live.publish(_table(settings=Settings(read_timeout=7.0)))
    assert live.route("h0.example.com").read_timeout == 7.0  # type: ignore[attr-defined]
    assert live.route("h1.example.com").read_timeout == 7.0  # type: ignore[attr-defined]


def test_the_default_comes_changes_and_goes() -> None:
    """``UNSET`` leaves it, ``None`` removes it."""
    live = Live(_table(default=Route(action=Forward(cluster="c0"))))
    first = live.state.default
    assert first is not None
    assert live.apply(Delta(generation=2)).default is first
    assert live.apply(Delta(generation=3, default=None)).default is None


def test_a_reset_forgets_everything_else() -> None:
    """The whole table replaces the old one, under any number; what stays keeps its endpoints."""
    live = Live(_table(3))
    kept, gone = live.state.clusters["c0"].endpoints[0], live.state.clusters["c2"].endpoints[0]
    whole = msgspec.structs.replace(difference(Table(), _table(1), generation=77), reset=True)
    state = live.apply(whole)
    assert state.generation == 77
    assert state.table == _table(1)
    assert state.clusters["c0"].endpoints[0] is kept
    assert gone.retired
    assert live.route("h2.example.com") is None


@pytest.mark.parametrize("generation", [0, 1, 3, 100])
def test_a_gap_between_generations_is_refused(generation: int) -> None:
    """Only the next number may follow."""
    live = Live(_table())
    before = live.state
    with pytest.raises(CompileError, match=f"generation {generation} does not follow 1"):
        live.apply(Delta(generation=generation))
    assert live.state is before


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (_table(settings=Settings(trusted_proxies=("10.0.0.0/40",))), "trusted_proxies"),
        (
            _table(hosts={"h0.example.com": Host(routes=(Route(path="/\udc80", action=Forward(cluster="c")),))}),
            "hosts",
        ),
    ],
)
def test_a_delta_that_does_not_compile_changes_nothing(table: Table, message: str) -> None:
    """Nothing of it, its clusters included, is live afterwards."""
    live = Live(_table())
    before = live.state
    endpoint = before.clusters["c0"].endpoints[0]
    table = msgspec.structs.replace(table, clusters={})
    with pytest.raises(CompileError, match=message):
        live.publish(table)
    assert live.state is before
    assert not endpoint.retired
    assert set(before.clusters) == {"c0", "c1"}


def test_nothing_is_touched_before_the_delta_is_live() -> None:
    """Compiling alone leaves the shared clusters as they are; only ``settle`` changes them."""
    live = Live(_table())
    endpoint = live.state.clusters["c0"].endpoints[0]
    delta = difference(live.state.table, _table(0), generation=2)
    _, settle = compile_state(live.state, delta, live.telemetry, Random(1))
    assert not endpoint.retired
    assert len(live.state.clusters["c0"].endpoints) == 1
    settle()
    assert endpoint.retired


def test_a_change_costs_the_same_in_a_large_table() -> None:
    """One cluster of 10,000 is replaced, added and removed in less than a millisecond each (the best of many tries)."""
    live = Live(_table(10_000))

    def seconds(key: str, value: Cluster | None) -> float:
        delta = Delta(generation=live.state.generation + 1, clusters={key: value})
        begun = perf_counter()
        live.apply(delta)
        return perf_counter() - begun

    values = [Cluster(endpoints=(Endpoint(address="10.9.9.9", port=port),)) for port in range(1, 21)]
    replaced = min(seconds("c7", value) for value in values)
    pairs = [(seconds("new", value), seconds("new", None)) for value in values]
    added, removed = (min(times) for times in zip(*pairs, strict=True))
    assert max(replaced, added, removed) < 0.001, (replaced, added, removed)
    assert live.state.clusters["c7"].endpoints[0].name == "10.9.9.9:20"
    assert "new" not in live.state.clusters
