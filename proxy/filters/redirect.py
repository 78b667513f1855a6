"""Routes whose action is a redirect."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from proxy.filters.api import ExchangeView, Filter
from proxy.message.local import LocalResponse, local_response
from proxy.routing import canonical_host, normalise_path
from proxy.table import Redirect as Action
from proxy.table import Route, Settings

__all__ = ["Redirect"]

_STATUSES: Final = (301, 302, 303, 307, 308)
_SCHEMES: Final = ("", "http", "https")
_USUAL_PORTS: Final = {b"http": 80, b"https": 443}
_IN_PATH: Final = "/!$&'()*+,;=:@%~"
"""What a path may hold besides letters, digits and ``-._~`` (RFC 3986 section 3.3); ``%`` begins an escape."""


class Redirect(Filter):
    """Answers with a Location.

    Where scheme, host and port stay as they are it is a path only (RFC 9110 section 10.2.2), which leads nowhere else
    whatever Host the client sent. Else the client's host, where it is needed, is the one that the route was found by,
    in its canonical form; as in :class:`~proxy.filters.https_redirect.HttpsRedirect`.
    """

    __slots__ = ("_authority", "_elsewhere", "_path", "_port", "_prefix", "_replacement", "_scheme", "_status")

    def __init__(self, action: Action, prefix: bytes) -> None:
        """``prefix``: the normalised path of the route, without a slash at its end.

        Raises:
            ValueError: ``action`` has no safe meaning.
        """
        if action.status not in _STATUSES or action.scheme not in _SCHEMES or not 0 <= action.port <= 65535:
            raise ValueError("a redirect needs a status of 301, 302, 303, 307 or 308, a scheme of the web, and a port")
        self._status = action.status
        self._scheme = action.scheme.encode()
        self._authority = _host(action.host)
        self._port = action.port
        self._elsewhere = bool(action.scheme or action.host or action.port)
        self._path = None if action.replace_path is None else _path(action.replace_path)
        self._replacement = None if action.replace_prefix is None else _path(action.replace_prefix)
        self._prefix = len(prefix)

    @classmethod
    def compile(cls, route: Route, settings: Settings) -> Filter | None:
        if not isinstance(route.action, Action):
            return None
        prefix = normalise_path(route.path.encode(), merge_slashes=settings.merge_slashes)
        return cls(route.action, prefix.rstrip(b"/"))

    def request_head(self, view: ExchangeView) -> LocalResponse | None:
        location = self._new_path(view.head.path) + view.head.query
        if self._elsewhere:
            host = self._authority or view.canonical_host.encode("ascii")
            if not host:
                return local_response(400, error="NoHostToRedirect", message="The request names no host.")
            scheme = self._scheme or view.scheme
            port = b"" if self._port in (0, _USUAL_PORTS[scheme]) else b":%d" % self._port
            location = b"%b://%b%b%b" % (scheme, host, port, location)
        elif location.startswith(b"//"):
            # It would be read as a host (RFC 3986 section 4.2).
            location = b"/." + location
        fields = b"Location: %b\r\n" % location
        return LocalResponse(status=self._status, message="This is found elsewhere.", fields=fields)

    def _new_path(self, path: bytes) -> bytes:
        if self._path is not None:
            return self._path
        replacement = self._replacement
        if replacement is None:
            return path
        rest = path[self._prefix :]
        if not rest:
            return replacement
        # Exactly one slash at the seam.
        return replacement.rstrip(b"/") + b"/" + rest.lstrip(b"/")


def _host(text: str) -> bytes:
    """Raises ``ValueError`` on what is no host, or one with a port."""
    if not text:
        return b""
    bracketed = f"[{text}]" if text.count(":") > 1 and text[0] != "[" else text
    if ":" in bracketed and not bracketed.endswith("]"):
        raise ValueError("the host of a redirect holds a port")
    return canonical_host(bracketed.encode()).encode("ascii")


def _path(text: str) -> bytes:
    """With one slash in front, and nothing in it that ends a path or a line."""
    return b"/" + quote(text.lstrip("/"), safe=_IN_PATH).encode("ascii")
