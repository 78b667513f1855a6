"""What the table says of an annotation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal

import msgspec

__all__ = ["NGINX_PREFIX", "OUR_PREFIX", "AnnotationSpec", "Consequence", "UnsupportedAnnotation"]

OUR_PREFIX: Final = "pyngress.io/"
NGINX_PREFIX: Final = "nginx.ingress.kubernetes.io/"

Scope = Literal["ingress", "location"]
Risk = Literal["low", "medium", "high", "critical"]
Consequence = Literal["ignored", "refused", "left_out"]
"""What an annotation without support does to its Ingress: nothing; its routes answer 503; it gives no routes."""


class AnnotationSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One annotation. ``name`` is the suffix behind either prefix; its value goes to the field of the same name (``-``
    as ``_``) of :class:`~ingress.annotations.values.Annotations`."""

    name: str
    parser: Callable[[str], object]
    nginx_parser: Callable[[str], object] | None = None
    """The grammar under ``nginx.ingress.kubernetes.io/``. ``None``: the same."""
    scope: Scope
    """``ingress``: can act on a whole host; ``location``: on the routes of this Ingress."""
    risk: Risk
    unsafe_to_ignore: bool
    """A value that does not parse closes the routes (503) instead of leaving the default."""
    ours_only: bool = False
    """ingress-nginx has none of this name: under its prefix it is unknown."""
    only_with: str = ""
    """The switch without which this one means nothing, so that it closes nothing either."""
    default: str
    help: str
    example: str


class UnsupportedAnnotation(msgspec.Struct, frozen=True, kw_only=True):
    """An annotation of ingress-nginx that Pyngress knows but does not carry out."""

    name: str
    consequence: Consequence = "ignored"
