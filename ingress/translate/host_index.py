"""Which Ingresses ask for something on a host, and which hosts are to be judged again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from ingress.resources import Key
from ingress.translate.part import Age, IngressPart
from proxy.table import HostPattern

__all__ = ["HostIndex"]


class OfPart(Protocol):
    """What belongs to the part of one Ingress."""

    @property
    def part(self) -> IngressPart: ...


V = TypeVar("V", bound=OfPart)


class HostIndex(Generic[V]):
    """Host → what each Ingress asks for there."""

    def __init__(self) -> None:
        self._hosts: dict[HostPattern, dict[Key, V]] = {}
        self.stale: set[HostPattern] = set()
        """Hosts on which somebody asks for something else than before; whoever judges them empties it."""

    def replace(self, who: Key, old: Mapping[HostPattern, V], new: Mapping[HostPattern, V]) -> None:
        """``who`` asks for ``new`` in place of ``old``."""
        for host in old:
            if host not in new:
                askers = self._hosts[host]
                del askers[who]
                if not askers:
                    del self._hosts[host]
        for host, value in new.items():
            self._hosts.setdefault(host, {})[who] = value
        self.stale.update(old, new)

    def by_age(self, host: HostPattern) -> list[V]:
        """Everything that is asked for on a host, oldest Ingress first."""
        return sorted(self._hosts.get(host, {}).values(), key=_age)


def _age(value: OfPart) -> Age:
    return value.part.age
