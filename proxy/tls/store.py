"""Which certificate a connection gets.

Rules:

1. The server name (SNI) is looked up exactly, then as the wildcard of its parent (one label), in lower case and without
   a trailing dot. No name, an unknown name and a name whose certificate does not load get the default certificate.
2. The default certificate is the one the table names; without one, or where it does not load, a self-made one.
3. Contexts are made when first asked for, and kept for the most recently used certificates. A changed certificate
   counts from the next handshake on; connections that are open keep the one they began with.
4. The lowest version spoken is that of the listener's context: OpenSSL has chosen by it before the server name is
   looked at. A changed one counts from the next handshake on, too.
5. Sessions are resumed across all names of the listener, but never by a host that asks for client certificates: the
   contexts of those are others.
6. A certificate that does not load touches no other name; the reason is kept in ``failures``.
"""

from __future__ import annotations

import logging
import ssl
import sys
from collections.abc import Mapping
from typing import Final

from proxy.table import Certificate, ClientCertificates, TlsVersion
from proxy.tls.alerts import ServerContext
from proxy.tls.client_certificates import AskingContext, make_asking_context
from proxy.tls.context import CIPHERS, VERSIONS, BadCertificate, are_ciphers, make_context, set_policy
from proxy.tls.names import note_certificate, note_server_name
from proxy.tls.openssl import TICKET_KEYS, OpenSslUnavailable, set_ticket_keys
from proxy.tls.self_signed import self_signed

__all__ = ["CertificateStore", "silence_bad_server_names"]

logger = logging.getLogger("pyngress.worker")

MAX_CONTEXTS: Final = 1000
"""Contexts kept at a time; one takes some 20 KiB. With more certificates in use, the rest is made anew when needed."""


class CertificateStore:
    """The certificates of one worker, and the one context for its listeners."""

    def __init__(self, *, max_contexts: int = MAX_CONTEXTS) -> None:
        self._certificates: dict[str, Certificate] = {}
        self._exact: dict[str, str] = {}
        self._wildcards: dict[str, str] = {}
        self._default: str | None = None
        self._contexts: dict[str, ssl.SSLContext] = {}
        """By certificate key, the least recently used first."""
        self._max_contexts = max_contexts
        self._self_made: ssl.SSLContext | None = None
        self._self_made_certificate: Certificate | None = None
        self._asking: dict[tuple[str, str], AskingContext] = {}
        """By host pattern and certificate key. Others than these rules, ciphers and certificates make it stale."""
        self.failures: dict[str, str] = {}
        """Certificate key → why it does not load, for those that were asked for."""
        self._ticket_keys = b""
        self._wanted_ciphers = self._ciphers = ""
        self._http2 = True
        self._listener = ServerContext(ssl.PROTOCOL_TLS_SERVER)
        set_policy(self._listener, None, "", http2=True)
        self._listener.sni_callback = self._on_server_name

    def update(
        self,
        certificates: Mapping[str, Certificate | None],
        server_names: Mapping[str, str | None],
        default: str | None,
        *,
        reset: bool = False,
        min_version: TlsVersion = "1.2",
        ciphers: str = "",
        http2: bool = True,
    ) -> None:
        """Apply a change: ``None`` as a value removes the key, ``reset`` forgets all others first.

        ``default`` is the key of the default certificate, ``min_version`` the lowest version spoken and ``ciphers``
        those of TLS 1.2 (empty: the usual ones, as where OpenSSL knows none of them), as they are from now on;
        ``http2``: offer it. Never fails: nothing is loaded here.
        """
        if certificates or server_names or reset or default != self._default:
            self._asking.clear()
        if self._listener.minimum_version != VERSIONS[min_version]:
            self._listener.minimum_version = VERSIONS[min_version]
            self._asking.clear()
        if ciphers != self._wanted_ciphers:
            self._change_ciphers(ciphers)
        if http2 != self._http2:
            self._http2 = http2
            self._forget_contexts()
        if reset:
            certificates = dict.fromkeys(self._certificates) | dict(certificates)
            self._exact.clear()
            self._wildcards.clear()
        for key, certificate in certificates.items():
            if certificate is not None and self._certificates.get(key) == certificate:
                continue
            self._contexts.pop(key, None)
            self.failures.pop(key, None)
            if certificate is None:
                self._certificates.pop(key, None)
            else:
                self._certificates[key] = certificate
        for pattern, named in server_names.items():
            names, name = (self._wildcards, pattern[2:]) if pattern[:2] == "*." else (self._exact, pattern)
            if named is None:
                names.pop(name, None)
            else:
                names[name] = named
        self._default = default

    def use_ticket_keys(self, keys: bytes) -> None:
        """Let clients resume their sessions by tickets under ``keys``, with every worker that has the same. Tickets of
        other keys are no longer taken: their clients make a full handshake."""
        if keys == self._ticket_keys or len(keys) != TICKET_KEYS or not any(keys):
            return
        self._ticket_keys = keys
        try:
            set_ticket_keys(self._listener, keys)
        except OpenSslUnavailable as unavailable:
            logger.warning("sessions cannot be resumed by ticket: %s", unavailable)
            return
        self._listener.options &= ~ssl.OP_NO_TICKET
        self._listener.num_tickets = 1

    def server_context(self) -> ssl.SSLContext:
        """The context for every TLS listener: always the same one, whatever changes."""
        return self._listener

    def context_for(self, server_name: str | None) -> ssl.SSLContext:
        """The context that a handshake for ``server_name`` gets."""
        key = self._key_of(server_name)
        context = None if key is None else self._context(key)
        return context or self._default_context()

    def _key_of(self, server_name: str | None) -> str | None:
        """The certificate of a name; ``None``: the default one."""
        if not server_name:
            return None
        name = server_name.lower().removesuffix(".")
        key = self._exact.get(name)
        if key is None and self._wildcards:
            key = self._wildcards.get(name.partition(".")[2])
        return key

    def asking_context(self, server_name: str, pattern: str, rules: ClientCertificates) -> ssl.SSLContext:
        """The context of a connection for ``server_name``, a name of the host ``pattern``, which asks its clients for
        certificates. Where there can be none, that of the listener: requests for the host are then refused.
        """
        key = self._key_of(server_name)
        place = (pattern, "" if key is None else key)
        context = self._asking.get(place)
        if context is not None and context.rules == rules:
            return context
        try:
            context = make_asking_context(
                self._certificate(key), pattern, rules, ciphers=self._ciphers, http2=self._http2
            )
        except BadCertificate as bad:
            logger.warning("host %s cannot ask for client certificates: %s", pattern, bad.reason)
            return self._listener
        context.minimum_version = self._listener.minimum_version
        if len(self._asking) >= self._max_contexts:
            del self._asking[next(iter(self._asking))]
        self._asking[place] = context
        return context

    def _certificate(self, key: str | None) -> Certificate:
        """The certificate that a name gets, and which loads."""
        for candidate in (key, self._default):
            if candidate is not None and self._context(candidate) is not None:
                return self._certificates[candidate]
        self._default_context()
        assert self._self_made_certificate is not None
        return self._self_made_certificate

    def _on_server_name(
        self, connection: ssl.SSLObject | ssl.SSLSocket, server_name: str | None, _listener: ssl.SSLContext
    ) -> int | None:
        """Called by OpenSSL in each handshake, also without a server name. ``None``: go on."""
        try:
            connection.context = self.context_for(server_name)
            note_server_name(connection, server_name)
        except Exception:  # noqa: BLE001 - raising here would print a traceback per handshake
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        return None

    def _change_ciphers(self, wanted: str) -> None:
        self._wanted_ciphers = wanted
        usable = not wanted or are_ciphers(wanted)
        if not usable:
            logger.warning("OpenSSL knows no cipher of the list for TLS 1.2: the usual ones hold")
        self._ciphers = wanted if usable else ""
        self._listener.set_ciphers(self._ciphers or CIPHERS)
        self._forget_contexts()

    def _forget_contexts(self) -> None:
        """Each is made anew for the next handshake that asks for it."""
        self._contexts.clear()
        self._asking.clear()
        self._self_made = None

    def _context(self, key: str) -> ssl.SSLContext | None:
        """The context of a certificate; ``None``: there is no such certificate, or it does not load."""
        context = self._contexts.pop(key, None)
        if context is None:
            certificate = self._certificates.get(key)
            if certificate is None or key in self.failures:
                return None
            try:
                context = make_context(certificate, self._ciphers, http2=self._http2)
            except BadCertificate as bad:
                self.failures[key] = bad.reason
                return None
            note_certificate(context, certificate.chain_pem)
            if len(self._contexts) >= self._max_contexts:
                del self._contexts[next(iter(self._contexts))]
        self._contexts[key] = context
        return context

    def _default_context(self) -> ssl.SSLContext:
        context = None if self._default is None else self._context(self._default)
        if context is not None:
            return context
        if self._self_made is None:
            self._self_made_certificate = self._self_made_certificate or self_signed()
            self._self_made = make_context(self._self_made_certificate, self._ciphers, http2=self._http2)
        return self._self_made


def silence_bad_server_names() -> None:
    """Keep clients from writing to our log; called once when a worker starts.

    The ssl module refuses a handshake whose server name is not ASCII, and reports each through ``sys.unraisablehook``:
    by default a traceback on stderr.
    """
    before = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        if isinstance(unraisable.exc_value, UnicodeDecodeError) and isinstance(unraisable.object, bytes):
            return
        before(unraisable)

    sys.unraisablehook = hook
