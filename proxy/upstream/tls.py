"""TLS towards endpoints: one context per distinct settings, and sessions that are taken up again.

1. Equal settings share one :class:`ClientTls`, whatever clusters have them; it goes with the last of them. Other
   settings are another one, and another one never gets a connection or session of this one.
2. With ``verify`` an endpoint must show a certificate that leads to a trusted one, over no more authorities in between
   than ``verify_depth``, and that holds the name or address asked for. Without, any will do.
3. A session is taken up again for at most :data:`SESSION_TIME`: who resumes shows no certificate.
"""

from __future__ import annotations

import ssl
from typing import Any, Final
from weakref import WeakValueDictionary

from proxy.table import Certificate, UpstreamProtocol, UpstreamTls
from proxy.tls.context import VERSIONS, BadCertificate, load_pair

__all__ = ["SESSION_TIME", "ClientTls", "Handshake", "HandshakeRefused", "client_tls", "handshake_failure"]

SESSION_TIME: Final = 3600.0
"""Seconds."""
_ALPN: Final[dict[UpstreamProtocol, str]] = {"http1": "http/1.1", "http2": "h2"}
_NEVER: Final = ":!aNULL:!eNULL"
"""Behind any list of ciphers: none without a certificate, none without encryption."""
_TIME_CODES: Final = (9, 10)
"""X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED."""
_NAME_CODES: Final = (62, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH."""

_Key = tuple[UpstreamTls, Certificate | None, UpstreamProtocol]


class HandshakeRefused(OSError):  # noqa: N818 - a verdict, not an error of ours
    """What the handshake agreed on is not good enough; ``reason`` for the access log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ClientTls:
    """The settings of one :class:`~proxy.table.UpstreamTls`, ready for handshakes."""

    __slots__ = ("__weakref__", "_alpn", "_depth", "_server_name", "_verify", "context")

    def __init__(self, tls: UpstreamTls, certificate: Certificate | None, protocol: UpstreamProtocol) -> None:
        """Raises :class:`BadCertificate` where no context can be made of it."""
        self._verify = tls.verify
        self._depth = tls.verify_depth
        self._server_name = tls.server_name
        self._alpn = _ALPN[protocol]
        self.context = _make_context(tls, certificate, self._alpn)

    def server_name(self, address: str, *, by_name: bool) -> str | None:
        """What the certificate must hold, and what is asked for (SNI) unless it is an address. ``None``: nothing."""
        return self._server_name or (address if self._verify or by_name else None)

    def check(self, connection: ssl.SSLObject) -> None:
        """Judge a finished handshake as OpenSSL was not asked to. Raises :class:`HandshakeRefused`."""
        if self._alpn == "h2" and connection.selected_alpn_protocol() != "h2":
            raise HandshakeRefused("ConnectNoHttp2")
        if self._verify and not connection.session_reused and _between(connection) > self._depth:
            raise HandshakeRefused("ConnectCertificateUntrusted")


class Handshake:
    """Stands in for the context in one handshake: event loops hand no session on, and insist on a server name."""

    __slots__ = ("_context", "_server_name", "_session")

    def __init__(self, tls: ClientTls, server_name: str | None, session: ssl.SSLSession | None) -> None:
        self._context = tls.context
        self._server_name = server_name
        self._session = session

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | None = None,
    ) -> ssl.SSLObject:
        """As :meth:`ssl.SSLContext.wrap_bio`."""
        return self._context.wrap_bio(
            incoming, outgoing, server_side=False, server_hostname=self._server_name, session=self._session
        )


_known: WeakValueDictionary[_Key, ClientTls] = WeakValueDictionary()


def client_tls(tls: UpstreamTls, certificate: Certificate | None, protocol: UpstreamProtocol) -> ClientTls:
    """The one of these settings. Raises :class:`BadCertificate`: keys, authorities or ciphers cannot be used."""
    if tls.certificate is not None and certificate is None:
        raise BadCertificate("the certificate to show is missing")
    key = (tls, certificate, protocol)
    known = _known.get(key)
    if known is None:
        known = _known[key] = ClientTls(tls, certificate, protocol)
    return known


def handshake_failure(error: OSError) -> str:
    """Why a connection that was to be TLS could not be made, for the access log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _TIME_CODES:
            return "ConnectCertificateExpired"
        return "ConnectCertificateName" if error.verify_code in _NAME_CODES else "ConnectCertificateUntrusted"
    if isinstance(error, ssl.SSLError | ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return "ConnectTlsFailed"
    return "ConnectFailed"


def _make_context(tls: UpstreamTls, certificate: Certificate | None, alpn: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.minimum_version = VERSIONS[tls.min_version]
    context.maximum_version = VERSIONS[tls.max_version]
    if context.minimum_version > context.maximum_version:
        raise BadCertificate("no version of TLS is left")
    context.set_alpn_protocols([alpn])
    _set_ciphers(context, tls.ciphers)
    if tls.verify:
        # Who names an authority trusts it, whether or not it is signed by yet another.
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
        _trust(context, tls.ca_pem)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        load_pair(context, certificate)
    return context


def _trust(context: ssl.SSLContext, ca_pem: str) -> None:
    if not ca_pem:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError):
        raise BadCertificate("the authorities to trust are no PEM certificates") from None


def _set_ciphers(context: ssl.SSLContext, ciphers: str) -> None:
    if not ciphers:
        return
    if "@" in ciphers:
        raise BadCertificate("a list of ciphers must not set the level of security")
    try:
        context.set_ciphers(ciphers + _NEVER)
    except ssl.SSLError:
        raise BadCertificate("the list of ciphers holds none that OpenSSL knows") from None


def _between(connection: ssl.SSLObject) -> int:
    """How many authorities stand between the endpoint's certificate and the trusted one, as OpenSSL counts depth."""
    # The ssl module can set no depth; it shows the chain publicly since Python 3.13.
    shown: Any = connection if hasattr(connection, "get_verified_chain") else connection._sslobj  # type: ignore[attr-defined]
    return max(len(shown.get_verified_chain() or ()) - 2, 0)
