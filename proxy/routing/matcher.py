"""Host and path → route, in dictionary lookups.

Rules (Ingress API, and the choices it leaves to the controller):

1. Hosts: exact, then the wildcard of the parent name (one label only), then ``*``. The first host that exists decides;
   a path it does not know is not tried on the next one.
2. Paths: the longest wins; one trailing slash of a prefix does not count. Exact wins over a prefix of the same length.
3. A prefix matches whole elements: ``/foo`` takes ``/foo``, ``/foo/`` and ``/foo/x``, never ``/foobar``.
4. Of two prefixes that differ only in the trailing slash, the one with the slash wins. Of equal paths, the first.

A match costs at most as many lookups as the deepest prefix of that host has elements, whatever the request asks for and
however many routes there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Generic, TypeVar

from proxy.routing.hosts import canonical_host
from proxy.routing.paths import BadPath, normalise_path
from proxy.table import Host, PathKind, Route

__all__ = ["HostMatcher", "Matcher", "compile_host"]

R = TypeVar("R")

SPELLINGS_PER_HOST: Final = 4
"""How many raw spellings (case, port, trailing dot) of a known host are remembered, on average."""
MIN_SPELLINGS: Final = 64


class HostMatcher(Generic[R]):
    """The routes of one host pattern. Immutable after construction.

    A configured path that does not normalise can match no request, since those requests are refused; it is left out
    and listed in ``unmatchable``.
    """

    __slots__ = ("_deepest", "_exact", "_fallback", "_longest", "_prefixes", "default", "merge_slashes", "unmatchable")

    def __init__(
        self, routes: Iterable[tuple[PathKind, str, R]], default: R | None = None, *, merge_slashes: bool = True
    ) -> None:
        self.default = default
        self.merge_slashes = merge_slashes
        self.unmatchable: tuple[tuple[PathKind, str, str], ...] = ()
        """Kind, path and reason of each route that no request can reach."""
        exact: dict[bytes, R] = {}
        prefixes: dict[bytes, tuple[int, R]] = {}
        for kind, path, route in routes:
            try:
                spelled = normalise_path(path.encode(), merge_slashes=merge_slashes)
            except BadPath as bad:
                self.unmatchable += ((kind, path, bad.reason),)
                continue
            if kind == "exact":
                exact.setdefault(spelled, route)
                continue
            key = spelled[:-1] if spelled[-1:] == b"/" else spelled
            if key not in prefixes or prefixes[key][0] < len(spelled):
                prefixes[key] = (len(spelled), route)
        root = prefixes.pop(b"", None)
        self._exact = exact
        self._prefixes = {key: route for key, (_, route) in prefixes.items()}
        self._fallback = default if root is None else root[1]
        self._longest = max(map(len, prefixes), default=0)
        self._deepest = max((key.count(b"/") for key in prefixes), default=0)

    def match(self, path: bytes) -> R | None:
        """The route of a normalised ``path``, else the host's default, else ``None``."""
        found = self._exact.get(path)
        if found is not None:
            return found
        prefixes = self._prefixes
        if not prefixes:
            return self._fallback
        end = len(path)
        if end > self._longest:
            end = path.rfind(b"/", 0, self._longest + 1)
        if path.count(b"/", 0, end) > self._deepest:
            end = len(path) - len(path.split(b"/", self._deepest + 1)[-1]) - 1
        while end > 0:
            found = prefixes.get(path[:end])
            if found is not None:
                return found
            end = path.rfind(b"/", 0, end)
        return self._fallback


class Matcher(Generic[R]):
    """All hosts of a table. Keys are host patterns as in :class:`proxy.table.Table`."""

    __slots__ = ("_any", "_hosts", "_max_spellings", "_spellings", "_wildcards")

    def __init__(self, hosts: Mapping[str, HostMatcher[R]]) -> None:
        self._hosts = dict(hosts)
        self._wildcards = {pattern[2:]: host for pattern, host in hosts.items() if pattern[:2] == "*."}
        self._any = self._hosts.get("*")
        self._spellings: dict[bytes, HostMatcher[R]] = {}
        self._max_spellings = max(MIN_SPELLINGS, SPELLINGS_PER_HOST * len(hosts))

    def find(self, host: str) -> HostMatcher[R] | None:
        """The routes for a canonical ``host``. ``None``: no pattern covers it."""
        found = self._hosts.get(host)
        if found is not None:
            return found
        if self._wildcards:
            found = self._wildcards.get(host.partition(".")[2])
            if found is not None:
                return found
        return self._any

    def pattern(self, host: str) -> str | None:
        """The pattern whose routes :meth:`find` gives."""
        if host in self._hosts:
            return host
        wildcard = "*." + host.partition(".")[2]
        if wildcard in self._hosts:
            return wildcard
        return None if self._any is None else "*"

    def find_raw(self, raw: bytes) -> HostMatcher[R] | None:
        """The routes for a ``Host`` field as received. Raises :class:`~proxy.routing.BadHost`.

        Spellings of hosts that the table names are remembered, so that the usual request costs one lookup; others
        (those a wildcard covers too) are not, so that made-up names take no memory.
        """
        found = self._spellings.get(raw)
        if found is not None:
            return found
        host = canonical_host(raw)
        found = self._hosts.get(host)
        if found is None:
            return self.find(host)
        if len(self._spellings) >= self._max_spellings:
            self._spellings.clear()  # someone plays with case and port: the usual spellings come back by themselves
        self._spellings[raw] = found
        return found

    def updated(self, changes: Mapping[str, HostMatcher[R] | None]) -> Matcher[R]:
        """A matcher with ``changes`` applied; ``None`` removes a pattern. The unchanged hosts are shared."""
        # Both maps are copied, which C does in a blink; walking 100,000 patterns would hold up the requests.
        new: Matcher[R] = Matcher({})
        new._hosts = _changed(self._hosts, changes)
        new._wildcards = _changed(
            self._wildcards, {pattern[2:]: host for pattern, host in changes.items() if pattern[:2] == "*."}
        )
        new._any = new._hosts.get("*")
        new._max_spellings = max(MIN_SPELLINGS, SPELLINGS_PER_HOST * len(new._hosts))
        return new

    def __len__(self) -> int:
        return len(self._hosts)


def _changed(
    hosts: dict[str, HostMatcher[R]], changes: Mapping[str, HostMatcher[R] | None]
) -> dict[str, HostMatcher[R]]:
    changed = hosts.copy()
    for key, host in changes.items():
        if host is None:
            changed.pop(key, None)
        else:
            changed[key] = host
    return changed


def compile_host(host: Host, make: Callable[[Route], R], *, merge_slashes: bool = True) -> HostMatcher[R]:
    """The matcher of one host of the table, with each route turned into what ``make`` returns."""
    return HostMatcher(
        ((route.kind, route.path, make(route)) for route in host.routes),
        None if host.default is None else make(host.default),
        merge_slashes=merge_slashes,
    )
