"""The shared table of a rate limit, by a clock that the tests set."""

from __future__ import annotations

import os
import tracemalloc

import pytest

from proxy.filters.allowances import PLACES, Allowances

NOW = 1000.0


def test_a_burst_passes_and_then_one_per_interval() -> None:
    """The rate and as many more at once as the burst says; what was refused costs nothing."""
    table = Allowances()
    assert [table.take(b"a", 0.1, 0.3, NOW) for _ in range(4)] == [0.0] * 4
    for _ in range(50):
        assert table.take(b"a", 0.1, 0.3, NOW) == pytest.approx(0.1)
    assert table.take(b"a", 0.1, 0.3, NOW + 0.099) > 0.0
    assert table.take(b"a", 0.1, 0.3, NOW + 0.1) == 0.0
    assert table.take(b"a", 0.1, 0.3, NOW + 0.1) > 0.0
    assert [table.take(b"a", 0.1, 0.3, NOW + 60.0) > 0.0 for _ in range(5)] == [False] * 4 + [True]


def test_keys_do_not_share() -> None:
    """Each has its own allowance."""
    table = Allowances()
    assert [table.take(b"%d" % number, 1.0, 0.0, NOW) for number in range(100)] == [0.0] * 100
    assert all(table.take(b"%d" % number, 1.0, 0.0, NOW) > 0.0 for number in range(100))


def test_what_one_view_takes_the_others_miss() -> None:
    """All views of one file are one table, and one that comes later finds it as it is."""
    fd = os.memfd_create("allowances")
    first, second = Allowances(fd), Allowances(fd)
    assert first.take(b"a", 1.0, 0.0, NOW) == 0.0
    assert second.take(b"a", 1.0, 0.0, NOW) == Allowances(fd).take(b"a", 1.0, 0.0, NOW) == 1.0
    os.close(fd)
    assert Allowances().take(b"a", 1.0, 0.0, NOW) == 0.0


def test_a_rate_that_was_raised_counts_at_once() -> None:
    """Nobody waits for what an older rule made of his requests."""
    table = Allowances()
    table.take(b"a", 3600.0, 0.0, NOW)
    assert table.take(b"a", 3600.0, 0.0, NOW) == 3600.0
    assert table.take(b"a", 0.1, 0.0, NOW) == pytest.approx(0.1)


def test_memory_is_bounded_whatever_clients_there_are() -> None:
    """Two clients for each place take no byte more, and who is met again soon is still known."""
    fd = os.memfd_create("allowances")
    table = Allowances(fd)
    size = os.fstat(fd).st_size
    for number in range(2 * PLACES):
        if number == PLACES - 1000:
            tracemalloc.start()
            before, _ = tracemalloc.get_traced_memory()
        elif number == PLACES + 1000:
            after, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        table.take(b"client %d" % number, 1.0, 0.0, NOW + number * 1e-6)
    assert after - before < 4096
    assert os.fstat(fd).st_size == size < 2 * 1024 * 1024
    late = range(2 * PLACES - PLACES // 8, 2 * PLACES)
    known = sum(table.take(b"client %d" % number, 1.0, 0.0, NOW + 0.2) > 0.0 for number in late)
    assert known > 0.9 * len(late)
    os.close(fd)


def test_the_oldest_gives_way() -> None:
    """A client that asks all the time keeps its entry while thousands pass by."""
    table = Allowances()
    lost = 0
    for round_ in range(50):
        now = NOW + round_
        table.take(b"steady", 10.0, 1000.0, now)
        for number in range(1000):
            table.take(b"%d %d" % (round_, number), 0.001, 0.0, now)
        lost += table.take(b"steady", 10.0, 0.0, now) <= 0.0
    assert lost == 0


def test_no_two_groups_of_workers_hash_alike() -> None:
    """Nobody outside can find keys that fall into one bucket: the hash has a key of its own each time."""
    tables = [Allowances(), Allowances()]
    for table in tables:
        table.take(b"a", 1.0, 0.0, NOW)
    used = [[place for place in range(8, 8 + 2 * PLACES, 2) if table._hashes[place]] for table in tables]
    assert [len(each) for each in used] == [1, 1]
    assert used[0] != used[1] or tables[0]._hashes[used[0][0]] != tables[1]._hashes[used[1][0]]
