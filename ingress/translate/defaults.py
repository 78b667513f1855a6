"""What serves requests that no host takes.

1. The oldest Ingress with a default backend and no rules.
2. Else the option ``--default-backend``.
3. Else, as the default of ``*``: that of a rule without host; else that of the oldest Ingress with rules and a default
   backend, since "requests that match no rule" are its own in the classic form.
4. Else nothing: 404.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ingress.options import ServiceRef
from ingress.resources import Problem
from ingress.translate.part import ANY_HOST, GOES_FIRST, BackendKey, Finding, IngressPart
from proxy.table import Forward, Host, Labels, Route

__all__ = ["choose_default", "default_backend_key", "default_backend_route", "with_fallback"]


def default_backend_key(option: ServiceRef) -> BackendKey:
    return BackendKey(namespace=option.namespace, service=option.name, port=option.port)


def default_backend_route(option: ServiceRef) -> Route:
    return Route(
        action=Forward(cluster=default_backend_key(option).cluster),
        labels=Labels(namespace=option.namespace, service=option.name, port=option.port),
    )


def choose_default(parts: Sequence[IngressPart], option: ServiceRef | None) -> tuple[Route | None, list[Problem]]:
    """``Table.default`` by steps 1 and 2. ``parts`` are those with a default backend and no rules, oldest first."""
    if not parts:
        return (None if option is None else default_backend_route(option)), []
    owner, *losers = parts
    message = f"{owner.ref} {GOES_FIRST} and decides the default backend of all hosts"
    finding = Finding(reason="DefaultBackendConflict", message=message)
    return owner.defaults[ANY_HOST], [part.problem("spec.defaultBackend", finding) for part in losers]


def with_fallback(any_host: Host | None, oldest: IngressPart | None) -> Host | None:
    """The host ``*`` with step 3 applied, for a table without a default.

    ``oldest`` is the oldest part with a default backend and rules.
    """
    if oldest is None or (any_host is not None and any_host.default is not None):
        return any_host
    return msgspec.structs.replace(any_host or Host(), default=oldest.defaults[ANY_HOST])
