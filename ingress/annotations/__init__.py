"""What an Ingress may ask for by annotation.

Rules:

1. One table declares every annotation: name, parser, scope, risk, help. Nothing else in Pyngress parses one; the page
   ``docs/annotations.md`` is written from the same table.
2. A suffix means the same under ``pyngress.io/`` and ``nginx.ingress.kubernetes.io/``; ours wins.
3. A value that does not parse is a Problem, never an absent value. Where going on without it would be unsafe, the
   routes of that Ingress are refused (503).
4. Parsers read ASCII only and bound every number.
"""

from ingress.annotations.docs import render_docs
from ingress.annotations.parsers import BadValue
from ingress.annotations.read import ParsedAnnotations, parse_annotations
from ingress.annotations.table import (
    ANNOTATIONS,
    NGINX_PREFIX,
    OUR_PREFIX,
    UNSUPPORTED,
    AnnotationSpec,
    UnsupportedAnnotation,
)
from ingress.annotations.values import Annotations, BackendProtocol

__all__ = [
    "ANNOTATIONS",
    "NGINX_PREFIX",
    "OUR_PREFIX",
    "UNSUPPORTED",
    "AnnotationSpec",
    "Annotations",
    "BackendProtocol",
    "BadValue",
    "ParsedAnnotations",
    "UnsupportedAnnotation",
    "parse_annotations",
    "render_docs",
]
