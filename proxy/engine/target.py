"""The request target (RFC 9112 section 3.2): what it asks for, and of which host."""

from __future__ import annotations

from proxy.engine.route import CompiledRoute
from proxy.engine.state import State
from proxy.message.errors import BadRequest
from proxy.message.lines import without_spaces
from proxy.message.request import RequestHead
from proxy.routing import BadHost, BadPath, HostMatcher, canonical_host, normalise_path

__all__ = ["settle_target"]


def settle_target(head: RequestHead, state: State) -> HostMatcher[CompiledRoute] | None:
    """Set ``head.path``, ``head.query`` and, for the absolute form, ``head.host``; find the host's routes.

    Raises:
        BadRequest: the target or the host has no safe meaning.
    """
    target = head.target
    if target[:1] != b"/":
        target = _settle_other_form(head, target)
    mark = target.find(b"?")
    if mark < 0:
        path = target
        head.query = b""
    else:
        path = target[:mark]
        query = head.query = target[mark:]
        if query.find(b"#") >= 0:
            raise BadRequest("FragmentInTarget")
    try:
        head.path = normalise_path(path, merge_slashes=state.settings.merge_slashes)
    except BadPath:
        raise BadRequest("BadPath") from None
    host = head.host
    if not host and head.minor == 0:
        return state.matcher.find("")
    try:
        return state.matcher.find_raw(host)
    except BadHost:
        # Spaces around a field's value are no part of it (RFC 9112 section 5.1), but rare enough to look here only.
        stripped = without_spaces(host)
        if stripped == host:
            raise BadRequest("BadHost") from None
        head.replace_host(stripped)
        return settle_target(head, state)


def _settle_other_form(head: RequestHead, target: bytes) -> bytes:
    """Asterisk and absolute form (CONNECT's authority form came never so far); returns path and query."""
    lowered = target[:8].lower()
    if lowered.startswith(b"http://"):
        rest = target[7:]
    elif lowered.startswith(b"https://"):
        rest = target[8:]
    else:
        # "*" concerns the server as a whole; no Ingress can route it.
        raise BadRequest("BadTarget")
    end = min((index for mark in b"/?#" if (index := rest.find(mark)) >= 0), default=len(rest))
    authority = rest[:end]
    if not authority or b"@" in authority:
        raise BadRequest("BadAuthority")
    # The target's authority replaces Host (RFC 9112 section 3.2.2), for routing and for the backend alike; yet one that
    # is malformed, or there twice, is refused all the same (section 3.2).
    if head.host or head.minor == 1:
        try:
            canonical_host(head.host.strip(b" \t"))
        except BadHost:
            raise BadRequest("BadHost") from None
    head.replace_host(authority)
    path = rest[end:]
    return path if path[:1] == b"/" else b"/" + path
