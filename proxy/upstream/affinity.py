"""Clients that return to their endpoint by a cookie."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from proxy.message.request import RequestHead
from proxy.table import Affinity
from proxy.upstream.endpoint import EndpointState

__all__ = ["CookieAffinity"]

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_PATH: Final = re.compile(r"/[\x20-\x3a\x3c-\x7e]*\Z")
"""RFC 6265 section 4.1.1: no control, no semicolon."""
_USUAL: Final = Affinity()


class CookieAffinity:
    """The endpoints of a cluster by the value of their cookie.

    The value is a hash of cluster and address: the same in every worker and replica and after every restart, without a
    state that they would have to share. It is no secret, and shows no address at a glance; who knows the cluster's name
    and guesses an address can confirm it.
    """

    __slots__ = ("_by_value", "_end", "_name", "_secure", "_start", "_strict_end")

    def __init__(self, rules: Affinity, key: str, endpoints: Sequence[EndpointState]) -> None:
        """``key``: of the cluster whose cookies these are.

        Name and path that would break the field are replaced by the usual ones.
        """
        name = rules.cookie if _TOKEN.match(rules.cookie) else _USUAL.cookie
        path = rules.path if _PATH.match(rules.path) else "/"
        age = "" if rules.max_age is None else f"; Max-Age={rules.max_age}"
        # Browsers refuse SameSite=None without Secure.
        loose = rules.same_site == "None"
        same_site = f"; SameSite={rules.same_site}" if rules.same_site else ""
        self._name = name.encode("ascii")
        self._start = f"Set-Cookie: {name}=".encode("ascii")
        self._end = f"; Path={path}{age}; HttpOnly{'' if loose else same_site}\r\n".encode("ascii")
        self._strict_end = f"; Path={path}{age}; Secure; HttpOnly{same_site}\r\n".encode("ascii")
        self._secure = rules.secure
        person = blake2b(key.encode(), digest_size=16).digest()
        self._by_value: dict[bytes, EndpointState] = {}
        for endpoint in endpoints:
            value = blake2b(endpoint.name.encode(), digest_size=16, person=person).hexdigest().encode("ascii")
            endpoint.cookie = value
            self._by_value[value] = endpoint

    def asked(self, head: RequestHead) -> EndpointState | None:
        """The endpoint that the client's cookie names, if it is (still) one."""
        value = head.cookie(self._name)
        return None if value is None else self._by_value.get(value)

    def set_cookie(self, endpoint: EndpointState, scheme: bytes) -> bytes:
        """The line that leads the client back to ``endpoint``."""
        secure = scheme == b"https" if self._secure is None else self._secure
        return self._start + endpoint.cookie + (self._strict_end if secure else self._end)
