"""What the client of a TLS connection showed of itself, as requests are judged by it and backends are told of it."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from proxy.table import ClientCertificates

__all__ = ["NO_CERTIFICATE", "TOLD_FIELDS", "ShownCertificate", "told_lines"]

TOLD_FIELDS: Final = (b"ssl-client-verify", b"ssl-client-subject-dn", b"ssl-client-issuer-dn", b"ssl-client-cert")
"""The fields that tell a backend, as those of ingress-nginx."""

NO_CERTIFICATE: Final = "NONE"


class ShownCertificate:
    """Of one connection to a host that asks its clients for certificates. Immutable after construction."""

    __slots__ = ("is_good", "issuer", "pattern", "pem", "rules", "server_name", "subject", "verdict")

    def __init__(
        self,
        *,
        pattern: str,
        server_name: str,
        rules: ClientCertificates,
        verdict: str,
        is_good: bool,
        subject: str = "",
        issuer: str = "",
        pem: str = "",
    ) -> None:
        self.pattern = pattern
        """The host pattern by whose rules the client was asked."""
        self.server_name = server_name
        """Canonical; empty: none was sent."""
        self.rules = rules
        self.verdict = verdict
        """As nginx ``$ssl_client_verify``: ``SUCCESS``, ``NONE`` or ``FAILED:`` and a reason."""
        self.is_good = is_good
        """Nothing is wrong with it that the rules would not overlook; true where none was shown."""
        self.subject = subject
        """RFC 2253, ASCII without controls."""
        self.issuer = issuer
        self.pem = pem

    @property
    def is_there(self) -> bool:
        """Whether a certificate was shown."""
        return bool(self.pem)


def told_lines(shown: ShownCertificate | None, *, with_certificate: bool) -> bytes:
    """The header lines that tell a backend; ``None``: a connection on which none can be shown."""
    if shown is None or not shown.is_there:
        return b"ssl-client-verify: NONE\r\n"
    lines = b"ssl-client-verify: %b\r\nssl-client-subject-dn: %b\r\nssl-client-issuer-dn: %b\r\n" % (
        shown.verdict.encode("ascii", "replace"),
        shown.subject.encode("ascii", "replace"),
        shown.issuer.encode("ascii", "replace"),
    )
    if with_certificate:
        lines += b"ssl-client-cert: %b\r\n" % quote(shown.pem, safe="").encode("ascii")
    return lines
