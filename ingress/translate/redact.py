"""A table that may be shown."""

from __future__ import annotations

import hashlib

import msgspec

from proxy.table import Table

__all__ = ["redact"]


def redact(table: Table) -> Table:
    """``table`` with every private key replaced by a digest, which still tells whether it changed."""
    return msgspec.structs.replace(
        table,
        certificates={
            name: msgspec.structs.replace(certificate, key_pem=_redacted(certificate.key_pem))
            for name, certificate in table.certificates.items()
        },
    )


def _redacted(key_pem: str) -> str:
    return f"<redacted sha256:{hashlib.sha256(key_pem.encode()).hexdigest()[:16]}>"
