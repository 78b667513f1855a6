"""From ``metadata.annotations`` to values and Problems."""

from __future__ import annotations

import difflib
import functools
from typing import Final

import msgspec

from ingress.annotations.parsers import BadValue, parse_bool
from ingress.annotations.table import ANNOTATIONS, NGINX_PREFIX, OUR_PREFIX, UNSUPPORTED, AnnotationSpec
from ingress.annotations.values import Annotations
from ingress.resources import ObjectMeta, ObjectRef, Problem, Severity, Source

__all__ = ["ParsedAnnotations", "parse_annotations"]

_UNSUPPORTED: Final = {annotation.name: annotation for annotation in UNSUPPORTED}
_KNOWN: Final = tuple(sorted({spec.name for spec in ANNOTATIONS} | set(_UNSUPPORTED)))

_ALIASES: Final = {
    "whitelist-source-range": "allowlist-source-range",
    "limit-whitelist": "limit-allowlist",
    "session-cookie-expires": "session-cookie-max-age",
}
"""A name, and the other that decides over it."""

_PREFIXES: Final = (OUR_PREFIX, NGINX_PREFIX)

MAX_SHOWN: Final = 80
"""Characters of a value or name that a message repeats."""


class ParsedAnnotations(msgspec.Struct, frozen=True, kw_only=True):
    """What the annotations of one Ingress say."""

    values: Annotations = Annotations()
    problems: tuple[Problem, ...] = ()
    refused: bool = False
    """Serving without one of them would be unsafe: every route of this Ingress answers 503."""
    left_out: bool = False
    """The Ingress is not meant to serve by itself: it gives no routes."""


_NOTHING: Final = ParsedAnnotations()


def parse_annotations(metadata: ObjectMeta, *, source: Source | None = None) -> ParsedAnnotations:
    """All annotations of an Ingress under both prefixes. Never raises; the order of the map carries no meaning."""
    names = {key[len(prefix) :] for key in metadata.annotations for prefix in _PREFIXES if key.startswith(prefix)}
    if not names:  # as most have it
        return _NOTHING
    reader = _Reader(metadata, source)
    values = {}
    for spec in ANNOTATIONS:
        value = reader.read(spec) if spec.name in names else None
        if value is not None:
            values[spec.name.replace("-", "_")] = value
    reader.report_others()
    annotations = msgspec.convert(values, Annotations)
    reader.check_balance(annotations)
    reader.check_aliases(annotations)
    reader.check_client_certificates(annotations)
    return ParsedAnnotations(
        values=annotations,
        problems=tuple(sorted(reader.problems, key=lambda problem: problem.sort_key)),
        refused=reader.refused,
        left_out=reader.left_out,
    )


class _Reader:
    """Collects the Problems of one ``metadata``."""

    def __init__(self, metadata: ObjectMeta, source: Source | None) -> None:
        self.annotations = metadata.annotations
        self.ref = ObjectRef(kind="Ingress", namespace=metadata.namespace, name=metadata.name)
        self.source = source
        self.problems: list[Problem] = []
        self.refused = False
        self.left_out = False

    def read(self, spec: AnnotationSpec) -> object:
        """The value of one annotation. ``None``: absent or bad."""
        ours, theirs = (self.annotations.get(prefix + spec.name) for prefix in (OUR_PREFIX, NGINX_PREFIX))
        if spec.ours_only:
            theirs = None
        if ours is not None and theirs is not None and ours != theirs:
            self.report(
                NGINX_PREFIX + spec.name,
                "AnnotationShadowed",
                f"{OUR_PREFIX}{spec.name} is set too, with another value, and decides",
                "warning",
            )
        if ours is not None:
            return self.parse(OUR_PREFIX + spec.name, ours, spec)
        if theirs is not None:
            return self.parse(NGINX_PREFIX + spec.name, theirs, spec)
        return None

    def parse(self, name: str, text: str, spec: AnnotationSpec) -> object:
        parser = spec.parser
        if name.startswith(NGINX_PREFIX) and spec.nginx_parser is not None:
            parser = spec.nginx_parser
        try:
            return parser(text)
        except BadValue as bad:
            outcome = "the default holds"
            if spec.unsafe_to_ignore and self.is_on(spec.only_with):
                self.refused = True
                outcome = "the routes of this Ingress answer 503"
            self.report(name, "BadAnnotation", f"value {_shown(text)} {bad}; {outcome}")
            return None

    def is_on(self, switch: str) -> bool:
        """Whether the annotation ``switch`` is true; no switch always is."""
        if not switch:
            return True
        ours, theirs = (self.annotations.get(prefix + switch) for prefix in (OUR_PREFIX, NGINX_PREFIX))
        text = theirs if ours is None else ours
        try:
            return text is not None and parse_bool(text)
        except BadValue:
            return False

    def report_others(self) -> None:
        """Problems of the names under our prefixes that no parser reads."""
        supported = {spec.name: spec for spec in ANNOTATIONS}
        for key in self.annotations:
            for prefix in (OUR_PREFIX, NGINX_PREFIX):
                name = key.removeprefix(prefix)
                if name == key:
                    continue
                if name in supported:
                    if prefix == NGINX_PREFIX and supported[name].ours_only:
                        self.report(
                            key,
                            "UnknownAnnotation",
                            f"no annotation has this name; did you mean {OUR_PREFIX}{name}?",
                            "warning",
                        )
                elif name in _UNSUPPORTED:
                    self.report_unsupported(key, name)
                else:
                    self.report(key, "UnknownAnnotation", f"no annotation has this name{_suggestion(name)}", "warning")

    def report_unsupported(self, key: str, name: str) -> None:
        consequence = _UNSUPPORTED[name].consequence
        if consequence == "refused":
            self.refused = True
            message = "is not supported, and ignoring it could be unsafe: the routes of this Ingress answer 503"
            self.report(key, "UnsupportedAnnotation", message)
        elif consequence == "left_out":
            if _is_false(self.annotations[key]):
                return
            self.left_out = True
            self.report(key, "UnsupportedAnnotation", "is not supported: this Ingress gets no traffic", "warning")
        else:
            self.report(key, "UnsupportedAnnotation", "is not supported and has no effect", "warning")

    def check_balance(self, values: Annotations) -> None:
        """Problems of ``load-balance`` and ``upstream-hash-by`` together."""
        name = (
            OUR_PREFIX + "load-balance"
            if OUR_PREFIX + "load-balance" in self.annotations
            else NGINX_PREFIX + "load-balance"
        )
        hashes = any(prefix + "upstream-hash-by" in self.annotations for prefix in (OUR_PREFIX, NGINX_PREFIX))
        if values.load_balance == "chash" and not hashes:
            self.report(name, "BadAnnotation", "chash needs upstream-hash-by, which is absent; the default holds")
        elif values.load_balance not in (None, "chash") and values.upstream_hash_by is not None:
            self.report(name, "AnnotationShadowed", "upstream-hash-by is set too and decides", "warning")

    def check_aliases(self, values: Annotations) -> None:
        """Problems of two names for one thing that say different things."""
        for name, decider in _ALIASES.items():
            value, decided = (getattr(values, key.replace("-", "_")) for key in (name, decider))
            if value is not None and decided is not None and value != decided:
                prefix = OUR_PREFIX if OUR_PREFIX + name in self.annotations else NGINX_PREFIX
                self.report(prefix + name, "AnnotationShadowed", f"{decider} is set too and decides", "warning")

    def check_client_certificates(self, values: Annotations) -> None:
        """Who asks for client certificates and names nobody who signs them does not mean to let everybody in."""
        if values.auth_tls_secret is not None or values.auth_tls_verify_client == "off":
            return
        for name in ("auth-tls-verify-client", "auth-tls-match-cn"):
            for prefix in _PREFIXES:
                if prefix + name in self.annotations and not self.refused:
                    self.refused = True
                    message = "needs auth-tls-secret, which is absent; the routes of this Ingress answer 503"
                    self.report(prefix + name, "BadAnnotation", message)

    def report(self, name: str, reason: str, message: str, severity: Severity = "error") -> None:
        key = name[: MAX_SHOWN * 2]
        self.problems.append(
            Problem(
                object=self.ref,
                field=f"metadata.annotations[{key if key.isprintable() else ascii(key)}]",
                reason=reason,
                message=message,
                severity=severity,
                source=self.source,
            )
        )


def _is_false(text: str) -> bool:
    try:
        return not parse_bool(text)
    except BadValue:
        return False


def _shown(text: str) -> str:
    """``text`` as a message may repeat it: quoted, escaped, cut."""
    return ascii(text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…")


@functools.lru_cache(maxsize=1024)
def _suggestion(name: str) -> str:
    """Slow enough to remember: the same slip tends to stand in many Ingresses."""
    close = difflib.get_close_matches(name[:MAX_SHOWN], _KNOWN, n=1, cutoff=0.75)
    return f"; did you mean {close[0]}?" if close else ""
