"""The annotations of one Ingress as values."""

from __future__ import annotations

from typing import Literal

import msgspec

from proxy.table import Balance, HashPart, Policy

__all__ = ["Annotations", "LoadBalance"]

LoadBalance = Literal["round_robin", "ewma", "least_requests", "random_two", "chash"]


class Annotations(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A field per annotation, named like it. ``None``: absent, or a value that did not parse and has its Problem.

    Sizes are bytes (0: no limit), timeouts seconds.
    """

    ssl_redirect: bool | None = None
    force_ssl_redirect: bool | None = None
    proxy_body_size: int | None = None
    proxy_connect_timeout: float | None = None
    proxy_read_timeout: float | None = None
    proxy_send_timeout: float | None = None
    load_balance: LoadBalance | None = None
    upstream_hash_by: tuple[HashPart, ...] | None = None

    @property
    def balance(self) -> Balance:
        """A hash key decides over ``load_balance``, as in ingress-nginx."""
        if self.upstream_hash_by is not None:
            return Balance(method="hash", hash_key=self.upstream_hash_by)
        if self.load_balance is None or self.load_balance == "chash":
            return Balance()
        return Balance(method=self.load_balance)

    @property
    def policy(self) -> Policy:
        return Policy(
            max_body_bytes=self.proxy_body_size,
            connect_timeout=self.proxy_connect_timeout,
            read_timeout=self.proxy_read_timeout,
            send_timeout=self.proxy_send_timeout,
        )
