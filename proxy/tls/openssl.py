"""What OpenSSL can do with client certificates and session tickets, and the ssl module does not offer.

The ssl module refuses a certificate that does not verify in the handshake, where a browser shows nothing of why. Here
the handshake goes on, the verdict is noted, and HTTP tells it; that is how nginx does it, too. Beyond that: the length
of chains, the list of authorities that browsers choose certificates by, and no resumption of sessions.

Session tickets are sealed with keys that OpenSSL makes up per context; here they are given, so that all workers of a
pod take up each other's sessions.

The functions are taken from the very library that the ssl module is linked with. CPython keeps OpenSSL's ``SSL_CTX`` as
the first field of its context objects (3.11 to 3.14), and itself as the application data of each ``SSL``. Both are
tried once before anything is built on them; where they do not hold, nothing here is available: hosts that ask for
client certificates are not served, and there are no tickets.
"""

from __future__ import annotations

import _ssl
import ctypes
import functools
import ssl
import sys
from typing import Any, Final

from proxy.tls.alerts import TellingConnection

__all__ = [
    "TICKET_KEYS",
    "JudgedConnection",
    "OpenSslUnavailable",
    "ask_for_certificates",
    "reason_of",
    "set_ticket_keys",
]

TICKET_KEYS: Final = 80
"""Bytes of the keys of session tickets: a name, and one key each for HMAC and AES."""

_CONTROL_TICKET_KEYS: Final = 59  # SSL_CTRL_SET_TLSEXT_TICKET_KEYS
_CONTROL_SESSION_CACHE: Final = 44  # SSL_CTRL_SET_SESS_CACHE_MODE
_CACHE_OFF: Final = 0
_VERIFY_PEER: Final = 1
_FAIL_IF_NONE: Final = 2
_FIRST_FIELD: Final = object.__basicsize__
_SEALED_IN: Final = ((3, 11), (3, 14))
"""Versions of CPython whose layout is known."""

_POINTER: Final = ctypes.c_void_p
_INT: Final = ctypes.c_int
_Callback: Final = ctypes.CFUNCTYPE(_INT, _INT, _POINTER)


class OpenSslUnavailable(Exception):  # noqa: N818 - a fact about the environment
    """This Python does not let its OpenSSL be reached."""


class JudgedConnection(TellingConnection):
    """A connection that notes what is wrong with its client's certificate."""

    errors: tuple[int, ...] = ()
    """OpenSSL's codes (``X509_V_ERR_…``), in the order in which they were found. Empty: nothing, or none was shown."""


class _Library:
    """The functions, with their types."""

    def __init__(self) -> None:
        loaded = ctypes.CDLL(_ssl.__file__)
        self.set_verify = _typed(loaded.SSL_CTX_set_verify, None, _POINTER, _INT, _Callback)
        self.get_verify_mode = _typed(loaded.SSL_CTX_get_verify_mode, _INT, _POINTER)
        self.set_verify_depth = _typed(loaded.SSL_CTX_set_verify_depth, None, _POINTER, _INT)
        self.load_names = _typed(loaded.SSL_load_client_CA_file, _POINTER, ctypes.c_char_p)
        self.set_names = _typed(loaded.SSL_CTX_set_client_CA_list, None, _POINTER, _POINTER)
        self.control = _typed(loaded.SSL_CTX_ctrl, ctypes.c_long, _POINTER, _INT, ctypes.c_long, _POINTER)
        self.error_of = _typed(loaded.X509_STORE_CTX_get_error, _INT, _POINTER)
        self.data_of_store = _typed(loaded.X509_STORE_CTX_get_ex_data, _POINTER, _POINTER, _INT)
        self.data_of_connection = _typed(loaded.SSL_get_ex_data, _POINTER, _POINTER, _INT)
        self.connection_index = _typed(loaded.SSL_get_ex_data_X509_STORE_CTX_idx, _INT)()
        self.reason = _typed(loaded.X509_verify_cert_error_string, ctypes.c_char_p, ctypes.c_long)
        self.callback = _Callback(self._note)
        """Kept for as long as contexts may call it: for ever."""

    def _note(self, good: int, store: int) -> int:
        """Called by OpenSSL per certificate of a chain, and per fault. 1: go on."""
        if not good:
            connection = self.data_of_connection(self.data_of_store(store, self.connection_index), 0)
            owner = ctypes.cast(connection, ctypes.py_object).value.owner
            owner.errors = (*owner.errors, self.error_of(store))
        return 1


def ask_for_certificates(context: ssl.SSLContext, *, names_file: str, depth: int, required: bool, refuse: bool) -> None:
    """Have ``context`` ask its clients for a certificate of the authorities in ``names_file`` (PEM).

    ``refuse``: one that does not verify, and with ``required`` none at all, ends the handshake. Else the handshake goes
    on, and ``errors`` of its :class:`JudgedConnection` tell. ``depth``: certificates between the client's and an
    authority, at most. No session can be resumed.

    Raises:
        OpenSslUnavailable: nothing was changed.
    """
    library = _library()
    context.sslobject_class = JudgedConnection
    context.verify_mode = ssl.CERT_REQUIRED if refuse and required else ssl.CERT_OPTIONAL
    handle = _handle_of(context)
    if not refuse:
        library.set_verify(handle, _VERIFY_PEER, library.callback)
    library.set_verify_depth(handle, depth)
    library.set_names(handle, library.load_names(names_file.encode()))
    library.control(handle, _CONTROL_SESSION_CACHE, _CACHE_OFF, None)


def set_ticket_keys(context: ssl.SSLContext, keys: bytes) -> None:
    """Seal and open session tickets with ``keys`` (:data:`TICKET_KEYS` bytes).

    Raises:
        OpenSslUnavailable: nothing was changed.
    """
    library = _library()
    if library.control(_handle_of(context), _CONTROL_TICKET_KEYS, len(keys), keys) != 1:
        raise OpenSslUnavailable("no session ticket keys are taken")


def reason_of(error: int) -> str:
    """What OpenSSL says of a code in ``errors``."""
    return bytes(_library().reason(error)).decode("ascii", "replace")


@functools.cache
def _library() -> _Library:
    first, last = _SEALED_IN
    if sys.implementation.name != "cpython" or not first <= sys.version_info[:2] <= last:
        raise OpenSslUnavailable(f"unknown Python {sys.implementation.name} {sys.version_info[:2]}")
    try:
        library = _Library()
    except (OSError, AttributeError) as error:
        raise OpenSslUnavailable(str(error)) from None
    for mode in (ssl.CERT_NONE, ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = mode
        wanted = {ssl.CERT_NONE: 0, ssl.CERT_OPTIONAL: _VERIFY_PEER, ssl.CERT_REQUIRED: _VERIFY_PEER | _FAIL_IF_NONE}
        if library.get_verify_mode(_handle_of(context)) != wanted[mode]:
            raise OpenSslUnavailable("contexts are laid out in an unknown way")
    return library


def _handle_of(context: ssl.SSLContext) -> int | None:
    return _POINTER.from_address(id(context) + _FIRST_FIELD).value


def _typed(function: Any, result: Any, *arguments: Any) -> Any:
    function.restype = result
    function.argtypes = list(arguments)
    return function
