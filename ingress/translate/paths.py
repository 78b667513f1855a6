"""One Ingress path → kind and path of a route.

1. ``Exact`` is exact, ``Prefix`` and ``ImplementationSpecific`` are prefixes. No path: ``/``.
2. An ``ImplementationSpecific`` path that ends in ``/*`` is a prefix of what stands before; else ``*`` is a letter.
3. The path is spelled as the proxy spells the paths of requests, so that two spellings of one path are one route and a
   conflict between them is seen.
"""

from __future__ import annotations

from ingress.resources import IngressPath
from proxy.routing.paths import BadPath, normalise_path
from proxy.table import PathKind

__all__ = ["BadRoutePath", "route_path"]


class BadRoutePath(ValueError):  # noqa: N818 - a verdict on input
    """No request can have this path."""


def route_path(path: IngressPath, *, merge_slashes: bool) -> tuple[PathKind, str]:
    """Raises :class:`BadRoutePath`."""
    text = path.path or "/"
    kind: PathKind = "exact" if path.path_type == "Exact" else "prefix"
    if path.path_type == "ImplementationSpecific" and text.endswith("/*"):
        text = text[:-2] or "/"
    try:
        spelled = normalise_path(text.encode(), merge_slashes=merge_slashes)
    except BadPath as bad:
        raise BadRoutePath(bad.reason) from None
    except UnicodeEncodeError:
        raise BadRoutePath("path is not Unicode text") from None
    return kind, spelled.decode("ascii")
