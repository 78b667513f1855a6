"""The table as it is changed key by key, and who needs which cluster and certificate in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from ingress.resources import Key
from ingress.translate.certificates import certificate_key
from proxy.table import Certificate, Cluster, Forward, Host, HostPattern, Route, Settings, Table
from proxy.table.feed import ChangedKeys

__all__ = ["TableDraft", "count_needs"]

K = TypeVar("K")
V = TypeVar("V")


class TableDraft:
    """Collects changes, and makes the next table of the one before. Maps are in order of their keys."""

    def __init__(self, settings: Settings) -> None:
        self.table = Table(settings=settings)
        self.default: Route | None = None
        self.default_certificate: Key | None = None
        self.hosts: dict[HostPattern, Host | None] = {}
        """Hosts that may differ from those in ``table``; ``None``: gone."""
        self.server_names: dict[HostPattern, Key | None] = {}
        """The Secrets of names, likewise."""
        self.passthrough: dict[HostPattern, str | None] = {}
        """The clusters of server names, likewise."""
        self.clusters: set[str] = set()
        """Clusters that may differ, whether needed or not."""
        self.certificates: set[Key] = set()
        self._cluster_needs: dict[str, int] = {}
        self._certificate_needs: dict[Key, int] = {}
        self._secrets: dict[HostPattern, Key] = {}
        self._default_certificate: Key | None = None

    def finish(
        self, cluster: Callable[[str], Cluster | None], certificate: Callable[[Key], Certificate | None]
    ) -> tuple[Table, ChangedKeys]:
        """The next table, with the clusters and certificates that its routes and names need."""
        old = self.table
        hosts = _really_changed(old.hosts, self.hosts)
        passthrough = _really_changed(old.passthrough, self.passthrough)
        self._count_routes(hosts)
        self._count_passed(passthrough)
        secrets = _really_changed(self._secrets, self.server_names)
        self._count_secrets(secrets)
        needs = self._cluster_needs
        clusters = _really_changed(
            old.clusters, {name: cluster(name) if name in needs else None for name in self.clusters}
        )
        self._count_shown(clusters)
        certificates = _really_changed(
            old.certificates,
            {
                certificate_key(key): certificate(key) if key in self._certificate_needs else None
                for key in self.certificates
            },
        )
        named = {host: None if key is None else certificate_key(key) for host, key in secrets.items()}
        own = None if self.default_certificate is None else certificate_key(self.default_certificate)
        changed = ChangedKeys(
            hosts=frozenset(hosts),
            clusters=frozenset(clusters),
            certificates=frozenset(certificates),
            server_names=frozenset(named),
            passthrough=frozenset(passthrough),
            default=self.default != old.default,
            default_certificate=own != old.default_certificate,
        )
        if changed:
            self.table = Table(
                hosts=_patched(old.hosts, hosts),
                clusters=_patched(old.clusters, clusters),
                certificates=_patched(old.certificates, certificates),
                server_names=_patched(old.server_names, named),
                passthrough=_patched(old.passthrough, passthrough),
                default=self.default,
                default_certificate=own,
                settings=old.settings,
            )
        for collected in (self.hosts, self.server_names, self.passthrough, self.clusters, self.certificates):
            collected.clear()
        return self.table, changed

    def _count_routes(self, hosts: Mapping[HostPattern, Host | None]) -> None:
        old = self.table
        for pattern, host in hosts.items():
            before = _needed_by(old.hosts.get(pattern))
            after = _needed_by(host)
            self.clusters.update(before, after)
            count_needs(self._cluster_needs, before, after)
        if self.default != old.default:
            before, after = _needed_by(Host(default=old.default)), _needed_by(Host(default=self.default))
            self.clusters.update(before, after)
            count_needs(self._cluster_needs, before, after)

    def _count_shown(self, clusters: Mapping[str, Cluster | None]) -> None:
        for name, cluster in clusters.items():
            before, after = _shown_by(self.table.clusters.get(name)), _shown_by(cluster)
            self.certificates.update(before, after)
            count_needs(self._certificate_needs, before, after)

    def _count_passed(self, passthrough: Mapping[HostPattern, str | None]) -> None:
        before = [self.table.passthrough[host] for host in passthrough if host in self.table.passthrough]
        after = [cluster for cluster in passthrough.values() if cluster is not None]
        self.clusters.update(before, after)
        count_needs(self._cluster_needs, before, after)

    def _count_secrets(self, secrets: Mapping[HostPattern, Key | None]) -> None:
        before = [self._secrets[host] for host in secrets if host in self._secrets]
        after = [key for key in secrets.values() if key is not None]
        if self.default_certificate != self._default_certificate:
            before += [] if self._default_certificate is None else [self._default_certificate]
            after += [] if self.default_certificate is None else [self.default_certificate]
            self._default_certificate = self.default_certificate
        self.certificates.update(before, after)
        count_needs(self._certificate_needs, before, after)
        for host, key in secrets.items():
            if key is None:
                del self._secrets[host]
            else:
                self._secrets[host] = key


def _shown_by(cluster: Cluster | None) -> list[Key]:
    """The Secret whose certificate the endpoints of a cluster are shown, if any."""
    if cluster is None or cluster.tls is None or cluster.tls.certificate is None:
        return []
    namespace, _, name = cluster.tls.certificate.partition("/")
    return [(namespace, name)]


def _needed_by(host: Host | None) -> list[str]:
    """The clusters that the routes of a host name; as often as they do."""
    if host is None:
        return []
    routes = host.routes if host.default is None else (*host.routes, host.default)
    return [cluster for route in routes if isinstance(route.action, Forward) for cluster in route.action.clusters]


def count_needs(needs: dict[K, int], before: Iterable[K], after: Iterable[K]) -> None:
    """Take out one of each of ``before`` and put in one of each of ``after``. Keys that nobody needs are not there."""
    for key in after:
        needs[key] = needs.get(key, 0) + 1
    for key in before:
        needs[key] -= 1
        if not needs[key]:
            del needs[key]


def _really_changed(old: Mapping[K, V], new: Mapping[K, V | None]) -> dict[K, V | None]:
    return {key: value for key, value in new.items() if value != old.get(key)}


def _patched(old: dict[str, V], changes: Mapping[str, V | None]) -> dict[str, V]:
    """``old`` with ``changes``, in order; the same if there are none."""
    if not changes:
        return old
    patched = dict(old)
    for key, value in changes.items():
        if value is None:
            patched.pop(key, None)
        else:
            patched[key] = value
    in_place = all(key in old for key, value in changes.items() if value is not None)
    return patched if in_place else dict(sorted(patched.items()))
