"""The table as a worker runs it: compiled once per change, read once per request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

import msgspec

from proxy.engine.route import CompiledRoute
from proxy.message.local import EXPLANATIONS
from proxy.message.networks import Networks
from proxy.routing import HostMatcher, Matcher, compile_host
from proxy.table import Certificate, Cluster, Respond, Route, Settings, Table
from proxy.table.feed import Delta, apply_delta
from proxy.telemetry import Telemetry
from proxy.tls import BadCertificate
from proxy.upstream.cluster import ClusterState
from proxy.upstream.tls import ClientTls, client_tls

__all__ = ["EMPTY", "CompileError", "State", "compile_state"]

logger = logging.getLogger("pyngress.worker")


class CompileError(Exception):
    """A delta that cannot become live; the message says why."""


_PLAIN: Final = (None, "")


_NO_ROUTE: Final = Route(action=Respond(status=404, reason=EXPLANATIONS[404]))


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a request needs to know, as of one generation. An exchange keeps the one it began with."""

    generation: int
    table: Table
    settings: Settings
    matcher: Matcher[CompiledRoute]
    clusters: dict[str, ClusterState]
    """Shared between generations: their endpoints change in place."""
    default: CompiledRoute | None
    trusted: Networks
    proxies: Networks
    """Peers whose connections begin with a PROXY protocol header."""
    asking: frozenset[str]
    """Host patterns that ask for client certificates."""


EMPTY = State(
    generation=0,
    table=Table(),
    settings=Settings(),
    matcher=Matcher({}),
    clusters={},
    default=None,
    trusted=Networks(()),
    proxies=Networks(()),
    asking=frozenset(),
)


def compile_state(old: State, delta: Delta, telemetry: Telemetry, random: Random) -> tuple[State, Callable[[], None]]:
    """The state after ``delta``, and what to call once it is live (it touches the shared clusters).

    Raises:
        CompileError: nothing was changed.
    """
    if not delta.reset and delta.generation != old.generation + 1:
        raise CompileError(f"generation {delta.generation} does not follow {old.generation}")
    table = apply_delta(old.table, delta)
    settings = table.settings
    try:
        trusted = Networks(settings.trusted_proxies) if settings != old.settings else old.trusted
    except ValueError as error:
        raise CompileError(f"settings.trusted_proxies: {error}") from error
    try:
        proxies = Networks(settings.proxy_protocol_from) if settings != old.settings else old.proxies
    except ValueError as error:
        raise CompileError(f"settings.proxy_protocol_from: {error}") from error
    everything = delta.reset or settings != old.settings
    asking = _asking(old, delta, table)
    matcher = _compile_matcher(old, delta, table, telemetry, asking, everything=everything)
    default = old.default
    if everything or not isinstance(delta.default, msgspec.UnsetType):
        default = None if table.default is None else CompiledRoute(table.default, "", settings, telemetry)
    clusters = old.clusters
    wanted = table.clusters if delta.reset else _changed_clusters(delta, table)
    made = {key: _client_tls(key, value, table.certificates) for key, value in wanted.items() if value.tls is not None}
    added = [key for key in wanted if key not in clusters]
    if delta.reset:
        gone = [key for key in clusters if key not in table.clusters]
    else:
        gone = [key for key, value in delta.clusters.items() if value is None and key in clusters]
    if added or gone:
        clusters = clusters.copy()
        for key in gone:
            del clusters[key]
        clusters.update((key, ClusterState(key, random)) for key in added)

    def settle() -> None:
        for key, value in wanted.items():
            clusters[key].update(value, *made.get(key, _PLAIN))
        for key in gone:
            old.clusters[key].retire()

    state = State(
        generation=delta.generation,
        table=table,
        settings=settings,
        matcher=matcher,
        clusters=clusters,
        default=default,
        trusted=trusted,
        proxies=proxies,
        asking=asking,
    )
    return state, settle


def _asking(old: State, delta: Delta, table: Table) -> frozenset[str]:
    """The hosts that ask for client certificates."""
    if delta.reset:
        return frozenset(key for key, host in table.hosts.items() if host.client_certificates is not None)
    if not delta.hosts:
        return old.asking
    asking = {key for key, host in delta.hosts.items() if host is not None and host.client_certificates is not None}
    return old.asking.difference(delta.hosts) | asking if asking or old.asking else old.asking


def _changed_clusters(delta: Delta, table: Table) -> dict[str, Cluster]:
    """Those that changed, and those that show a certificate that did."""
    changed = {key: value for key, value in delta.clusters.items() if value}
    if delta.certificates:
        changed |= {
            key: cluster
            for key, cluster in table.clusters.items()
            if cluster.tls is not None and cluster.tls.certificate in delta.certificates
        }
    return changed


def _client_tls(key: str, cluster: Cluster, certificates: Mapping[str, Certificate]) -> tuple[ClientTls | None, str]:
    """What a cluster's connections are secured with, or why it cannot be used: no reason to keep the rest back."""
    assert cluster.tls is not None
    certificate = certificates.get(cluster.tls.certificate or "")
    try:
        return client_tls(cluster.tls, certificate, cluster.protocol), ""
    except BadCertificate as bad:
        logger.warning("cluster %s answers 503: TLS to its endpoints: %s", key, bad.reason)
        return None, "BadUpstreamTls"


def _compile_matcher(
    old: State, delta: Delta, table: Table, telemetry: Telemetry, asking: frozenset[str], *, everything: bool
) -> Matcher[CompiledRoute]:
    settings = table.settings

    def compiled(pattern: str) -> HostMatcher[CompiledRoute]:
        host = table.hosts[pattern]
        asked = host.client_certificates
        if asked is not None and host.default is None:
            # What serves paths that the host does not know must ask, too.
            host = msgspec.structs.replace(host, default=table.default or _NO_ROUTE)
        return compile_host(
            host,
            lambda route: CompiledRoute(route, pattern, settings, telemetry, asked),
            merge_slashes=settings.merge_slashes,
        )

    try:
        if everything:
            return Matcher({pattern: compiled(pattern) for pattern in table.hosts})
        changed = dict(delta.hosts)
        if not isinstance(delta.default, msgspec.UnsetType):
            changed |= {pattern: table.hosts[pattern] for pattern in asking}
        if not changed:
            return old.matcher
        changes = {key: None if host is None else compiled(key) for key, host in changed.items()}
        return old.matcher.updated(changes)
    except ValueError as error:
        raise CompileError(f"hosts: {error}") from error
