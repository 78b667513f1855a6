"""Certificates and the choice among them by server name.

Policy: TLS 1.2 and 1.3; forward secrecy and AEAD only; no compression, no renegotiation, no early data; session tickets
where all workers share their keys; ALPN offers ``h2`` (if the settings say so) and ``http/1.1``. Keys live in memory
only.
"""

from proxy.tls.alerts import note_client
from proxy.tls.client_certificates import shown_certificate
from proxy.tls.context import BadCertificate, check, make_context
from proxy.tls.hello import MAX_HELLO, server_name_in
from proxy.tls.self_signed import self_signed
from proxy.tls.store import CertificateStore, silence_bad_server_names

__all__ = [
    "MAX_HELLO",
    "BadCertificate",
    "CertificateStore",
    "check",
    "make_context",
    "note_client",
    "self_signed",
    "server_name_in",
    "shown_certificate",
    "silence_bad_server_names",
]
