"""What one match costs: ``python -m benchmarks.micro.match``.

The lines must stay flat from 10 hosts to 100,000, and from a shallow path to one of thousands of slashes.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from proxy.routing import HostMatcher, Matcher, canonical_host, normalise_path

ROUNDS = 5
CALLS = 20_000


def best_ns(call: Callable[[], object]) -> float:
    """Nanoseconds per call, the best of a few rounds, without the cost of the loop."""

    def round_of(function: Callable[[], object]) -> int:
        start = time.perf_counter_ns()
        for _ in range(CALLS):
            function()
        return time.perf_counter_ns() - start

    loop = min(round_of(lambda: None) for _ in range(ROUNDS))
    return (min(round_of(call) for _ in range(ROUNDS)) - loop) / CALLS


def line(name: str, nanoseconds: float) -> None:
    print(f"{name:<58} {nanoseconds:>8.0f} ns")


def by_hosts(count: int) -> None:
    """Host and path together, as the proxy does it once per request."""
    routes = HostMatcher([("prefix", "/", "root"), ("prefix", "/api", "api"), ("exact", "/healthz", "health")])
    matcher = Matcher({f"h{number}.example.com": routes for number in range(count)} | {"*.wild.com": routes})
    known = itertools.cycle([b"h%d.example.com" % number for number in range(0, count, max(1, count // 1000))])

    def match(raw: bytes) -> object:
        host = matcher.find_raw(raw)
        return None if host is None else host.match(b"/api/v1/users/12345")

    line(f"{count:>7,} hosts: exact, its spelling seen before", best_ns(lambda: match(next(known))))
    line(f"{count:>7,} hosts: wildcard", best_ns(lambda: match(b"tenant.wild.com")))
    line(f"{count:>7,} hosts: no such host", best_ns(lambda: match(b"nobody.example.org")))
    change = {"h1.example.com": routes}
    took = []
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        matcher.updated(change)
        took.append(time.perf_counter_ns() - start)
    line(f"{count:>7,} hosts: a delta of one host", min(took))


def by_path() -> None:
    """Path depth, number of routes, and hostile paths."""
    few = HostMatcher([("prefix", "/", 0), ("prefix", "/a/b/c", 1)])
    many = HostMatcher([("prefix", f"/service{number}/v1", number) for number in range(10_000)])
    exact = HostMatcher([("exact", "/healthz", 1)])
    for name, matcher, path in (
        ("path: root prefix alone", HostMatcher([("prefix", "/", 0)]), b"/api/v1/users/12345"),
        ("path: exact", exact, b"/healthz"),
        ("path: 3 elements, prefix of 3", few, b"/a/b/c"),
        ("path: 8 elements, prefix of 3", few, b"/a/b/c/d/e/f/g/h"),
        ("path: 8 elements, falls to the root", few, b"/x/b/c/d/e/f/g/h"),
        ("path: 4,000 elements, falls to the root", few, b"/x" * 4_000),
        ("path: one of 10,000 prefixes", many, b"/service7777/v1/users"),
    ):
        line(name, best_ns(lambda matcher=matcher, path=path: matcher.match(path)))  # type: ignore[misc]  # bound now


def by_spelling() -> None:
    """Canonical forms."""
    for path in (b"/api/v1/users/12345", b"/a/file.name.txt", b"/a%20b/caf%C3%A9", b"/a/./b/../c"):
        line(f"normalise {path.decode()}", best_ns(lambda path=path: normalise_path(path)))  # type: ignore[misc]  # bound now
    for host in (b"foo.example.com", b"foo.example.com:8080", b"FOO.example.com."):
        line(f"canonical {host.decode()}", best_ns(lambda host=host: canonical_host(host)))  # type: ignore[misc]  # bound now


def main() -> None:
    for count in (10, 1_000, 100_000):
        by_hosts(count)
    by_path()
    by_spelling()


if __name__ == "__main__":
    main()
