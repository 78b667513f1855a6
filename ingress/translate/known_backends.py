"""The backends in use, each resolved once and again when its Service or its endpoints change."""

from __future__ import annotations

from collections.abc import Iterable

from ingress.resources import Change, Endpoints, EndpointSlice, Key, KubernetesObject, Service
from ingress.translate.backends import Backend, resolve_backend
from ingress.translate.lookup import Objects
from ingress.translate.part import BackendKey
from proxy.table import Cluster

__all__ = ["KnownBackends"]


class KnownBackends:
    """Backends by key, with who uses them. What changes is worked off by :meth:`settle`."""

    def __init__(self, objects: Objects, *, allow_local_names: bool) -> None:
        self._objects = objects
        self._allow_local_names = allow_local_names
        self._resolved: dict[BackendKey, Backend] = {}
        self._by_cluster: dict[str, BackendKey] = {}
        self._by_service: dict[Key, set[BackendKey]] = {}
        self._users: dict[BackendKey, set[Key]] = {}
        self._slices: dict[Key, dict[Key, EndpointSlice]] = {}
        self._stale: set[BackendKey] = set()

    def take(self, change: Change, before: KubernetesObject | None) -> None:
        """A change that has been made; ``before`` is what was there. Other kinds do not matter."""
        if change.kind is EndpointSlice:
            for service in {self._leave(change.key, before), self._join(change.key, change.value)}:
                self._stale.update(self._by_service.get(service, ()))
        elif change.kind is Service or change.kind is Endpoints:
            self._stale.update(self._by_service.get(change.key, ()))

    def use(self, user: Key, old: Iterable[BackendKey], new: Iterable[BackendKey]) -> None:
        """``user`` names the backends ``new`` in place of ``old``."""
        before, after = set(old), set(new)
        for key in before - after:
            users = self._users[key]
            users.discard(user)
            if not users:
                del self._users[key]
                self._stale.add(key)
        for key in after - before:
            users = self._users.setdefault(key, set())
            if not users:
                self._by_service.setdefault(key.service_key, set()).add(key)
                self._stale.add(key)
            users.add(user)

    def settle(self) -> tuple[set[str], set[Key]]:
        """Resolve what is stale. Returns the clusters that changed, came or went, and users whose findings changed."""
        clusters: set[str] = set()
        users: set[Key] = set()
        for key in self._stale:
            before = self._resolved.get(key)
            if key not in self._users:
                self._forget(key)
                clusters.add(key.cluster)
                continue
            backend = self.resolve(key)
            if backend == before:
                continue
            self._resolved[key] = backend
            self._by_cluster[key.cluster] = key
            if before is None or backend.cluster != before.cluster:
                clusters.add(key.cluster)
            if (() if before is None else before.findings) != backend.findings:
                users |= self._users[key]
        self._stale.clear()
        return clusters, users

    def backend(self, key: BackendKey) -> Backend:
        """One that is in use, or as it would be."""
        return self._resolved.get(key) or self.resolve(key)

    def cluster(self, name: str) -> Cluster | None:
        """The cluster of that name, if its backend is in use."""
        key = self._by_cluster.get(name)
        return None if key is None else self._resolved[key].cluster

    def resolve(self, key: BackendKey) -> Backend:
        """From the objects as they are now."""
        return resolve_backend(
            key,
            service=self._objects.get(Service, key.service_key),
            slices=tuple(self._slices.get(key.service_key, {}).values()),
            endpoints=self._objects.get(Endpoints, key.service_key),
            allow_local_names=self._allow_local_names,
        )

    def _forget(self, key: BackendKey) -> None:
        if self._resolved.pop(key, None) is not None:
            del self._by_cluster[key.cluster]
        of_service = self._by_service.get(key.service_key, set())
        of_service.discard(key)
        if not of_service:
            self._by_service.pop(key.service_key, None)

    def _leave(self, key: Key, value: KubernetesObject | None) -> Key:
        service = _service_of(value)
        slices = self._slices.get(service, {})
        slices.pop(key, None)
        if not slices:
            self._slices.pop(service, None)
        return service

    def _join(self, key: Key, value: KubernetesObject | None) -> Key:
        service = _service_of(value)
        if service[1] and isinstance(value, EndpointSlice):
            self._slices.setdefault(service, {})[key] = value
        return service


def _service_of(value: KubernetesObject | None) -> Key:
    """The Service of a slice, by the label that names it; the name is empty if nothing does."""
    return (value.metadata.namespace, value.service_name) if isinstance(value, EndpointSlice) else ("", "")
