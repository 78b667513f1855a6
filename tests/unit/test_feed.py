"""The frames between the control process and a worker, and the deltas in them."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.table import Certificate, Cluster, Endpoint, Forward, Host, Respond, Route, Settings, Table
from proxy.table.feed import (
    Ack,
    AskStats,
    Delta,
    Down,
    Drain,
    FrameDecoder,
    Stop,
    apply_delta,
    difference,
    encode_frame,
)

MESSAGES: list[Down] = [
    Delta(generation=3, hosts={"a.example.com": None}, default=None),
    AskStats(token=1),
    Drain(delay=1.5, timeout=30.0),
    Stop(),
]

_names = st.sampled_from(["a", "b", "c", "d"])
_routes = st.builds(
    Route,
    path=st.sampled_from(["/", "/a"]),
    action=st.one_of(
        st.builds(Forward, cluster=_names, tls_cluster=st.just("") | _names),
        st.builds(Respond, status=st.just(503), reason=st.just("Unavailable.")),
    ),
)
_tables = st.builds(
    Table,
    hosts=st.dictionaries(_names, st.builds(Host, routes=st.tuples(_routes))),
    clusters=st.dictionaries(
        _names,
        st.builds(
            Cluster,
            endpoints=st.lists(st.integers(1, 3), max_size=2, unique=True).map(
                lambda ports: tuple(Endpoint(address="10.0.0.1", port=port) for port in sorted(ports))
            ),
        ),
    ),
    certificates=st.dictionaries(_names, st.builds(Certificate, chain_pem=_names, key_pem=_names)),
    server_names=st.dictionaries(_names, _names),
    passthrough=st.dictionaries(_names, _names),
    default=st.none() | _routes,
    default_certificate=st.none() | _names,
    settings=st.builds(Settings, max_retries=st.integers(0, 2)),
)


@given(st.lists(st.integers(1, 40), max_size=30))
def test_frames_come_out_whole_however_the_stream_is_cut(cuts: list[int]) -> None:
    """Any split of the bytes gives the same messages, in order."""
    stream = b"".join(map(encode_frame, MESSAGES))
    decoder: FrameDecoder[Down] = FrameDecoder(Down)
    heard, start = [], 0
    for cut in cuts:
        heard += decoder.feed(stream[start : start + cut])
        start += cut
    heard += decoder.feed(stream[start:])
    assert heard == MESSAGES


@pytest.mark.parametrize(
    "frame",
    [
        struct.pack(">I", (1 << 30) + 1),
        struct.pack(">I", 1) + b"\xc1",
        encode_frame(Ack(generation=1)),
        struct.pack(">I", 0),
    ],
)
def test_nonsense_is_an_error(frame: bytes) -> None:
    """A frame beyond any table, bytes that are no message, and a message of the other direction."""
    with pytest.raises((ValueError, msgspec.DecodeError)):
        FrameDecoder[Down](Down).feed(frame)


@given(_tables, _tables)
def test_a_difference_leads_from_one_table_to_the_other(old: Table, new: Table) -> None:
    """Whatever changed, came or went; also after the way through a frame."""
    delta = difference(old, new, generation=2)
    (sent,) = FrameDecoder[Delta](Down).feed(encode_frame(delta))
    assert apply_delta(old, sent) == new


@given(_tables, _tables)
def test_a_reset_needs_no_memory(old: Table, new: Table) -> None:
    """The whole table replaces any other."""
    delta = msgspec.structs.replace(difference(Table(), new, generation=9), reset=True)
    assert apply_delta(old, delta) == new


@given(_tables)
def test_no_change_is_an_empty_delta_that_copies_nothing(table: Table) -> None:
    """Equal tables differ in nothing, and the maps are shared."""
    delta = difference(table, table, generation=2)
    assert delta == Delta(generation=2)
    after = apply_delta(table, delta)
    assert after.hosts is table.hosts
    assert after.clusters is table.clusters


def test_only_what_changed_travels() -> None:
    """One endpoint of a thousand clusters is one key."""
    clusters = {f"c{number}": Cluster(endpoints=(Endpoint(address="10.0.0.1", port=80),)) for number in range(1000)}
    changed = {**clusters, "c7": Cluster()}
    delta = difference(Table(clusters=clusters), Table(clusters=changed), generation=2)
    assert delta.clusters == {"c7": Cluster()}
    assert len(encode_frame(delta)) < 100
