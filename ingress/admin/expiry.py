"""When the certificates of a table end."""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509

from proxy.table import Table

__all__ = ["Expiry"]


class Expiry:
    """Remembers what was read from each certificate, so that a scrape reads only new ones."""

    def __init__(self) -> None:
        self._ends: dict[str, float | None] = {}

    def of(self, table: Table) -> Iterator[tuple[str, str, str, float]]:
        """Host, namespace, Secret and end (seconds since 1970) for every name; ``_`` is the default certificate's."""
        ends = {name: self._end(certificate.chain_pem) for name, certificate in table.certificates.items()}
        chains = {certificate.chain_pem for certificate in table.certificates.values()}
        self._ends = {chain: end for chain, end in self._ends.items() if chain in chains}
        names = dict(table.server_names)
        if table.default_certificate is not None:
            names["_"] = table.default_certificate
        for host, name in names.items():
            end = ends.get(name)
            if end is not None:
                namespace, _, secret = name.partition("/")
                yield host, namespace, secret, end

    def _end(self, chain: str) -> float | None:
        """``None`` where the chain does not parse: that is a Problem, shown elsewhere."""
        if chain not in self._ends:
            try:
                self._ends[chain] = x509.load_pem_x509_certificate(chain.encode()).not_valid_after_utc.timestamp()
            except ValueError:
                self._ends[chain] = None
        return self._ends[chain]
