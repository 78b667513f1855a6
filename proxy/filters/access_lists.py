"""Who may ask, by client address (ingress-nginx ``denylist-source-range``, ``allowlist-source-range``)."""

from __future__ import annotations

from proxy.filters.api import ExchangeView, Filter
from proxy.message.local import LocalResponse, local_response
from proxy.message.networks import Networks
from proxy.table import Route, Settings

__all__ = ["AccessLists"]


class AccessLists(Filter):
    """403 for clients in the first list, then for those outside the second. An address that is none is in no list."""

    __slots__ = ("_allow", "_deny")

    def __init__(self, deny: Networks, allow: Networks | None) -> None:
        self._deny = deny
        self._allow = allow

    @classmethod
    def compile(cls, route: Route, settings: Settings) -> Filter | None:
        policy = route.policy
        if not policy.deny and policy.allow is None:
            return None
        return cls(Networks(policy.deny), None if policy.allow is None else Networks(policy.allow))

    def request_head(self, view: ExchangeView) -> LocalResponse | None:
        address = view.client_address
        if address in self._deny or (self._allow is not None and address not in self._allow):
            return local_response(403, error="AddressRefused")
        return None
