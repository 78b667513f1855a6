"""The page of annotations, written from the table."""

from __future__ import annotations

from ingress.annotations.table import ANNOTATIONS, NGINX_PREFIX, OUR_PREFIX, UNSUPPORTED, AnnotationSpec, Consequence

__all__ = ["render_docs"]

_INTRODUCTION = f"""\
# Annotations

<!-- Written by `python -m ingress.annotations` from the table in ingress/annotations/table.py. -->

Each name works under `{OUR_PREFIX}` and, unless it says otherwise, under `{NGINX_PREFIX}`, with the
same meaning. Where both are set, ours decides, and a warning tells so when they differ. Annotation values are always
strings: write `"true"`, not `true`.

A value that does not parse is reported as a problem of the Ingress (`pyngress check`, log, event) and the default
holds; where that would be unsafe, the routes of the Ingress answer 503 until it is repaired. It is never treated as
absent.

Timeouts are whole seconds (above 0, at most a year); under `{OUR_PREFIX}` also with a unit: `500ms`, `30s`, `5m`, `1h`.
"""

_UNSUPPORTED_INTRODUCTION = """\
## Known, but not supported yet

Annotations of ingress-nginx that Pyngress recognises and does not carry out. Each use is reported.
"""

_CONSEQUENCES: dict[Consequence, str] = {
    "refused": "Routes answer 503, because ignoring the annotation could let somebody in",
    "left_out": "The Ingress gets no traffic, since it is not meant to serve by itself (unless the value is `false`)",
    "ignored": "No effect, a warning",
}


def render_docs() -> str:
    """``docs/annotations.md`` as it must be."""
    return "\n".join(
        [
            _INTRODUCTION,
            "| annotation | value | default | scope | risk |",
            "|---|---|---|---|---|",
            *(_row(spec) for spec in ANNOTATIONS),
            "",
            *(_section(spec) for spec in ANNOTATIONS),
            _UNSUPPORTED_INTRODUCTION,
            *(_group(consequence) for consequence in _CONSEQUENCES),
        ]
    )


def _row(spec: AnnotationSpec) -> str:
    return f"| [`{spec.name}`](#{spec.name}) | `{spec.example}` | {spec.default} | {spec.scope} | {spec.risk} |"


def _section(spec: AnnotationSpec) -> str:
    condition = f", while `{spec.only_with}` is true" if spec.only_with else ""
    ours = f" Ours: only under `{OUR_PREFIX}`." if spec.ours_only else ""
    refused = f"\nA value that does not parse closes the routes (503){condition}.\n" if spec.unsafe_to_ignore else ""
    return f'## {spec.name}\n\n{spec.help}{ours}\n{refused}\n```yaml\n{OUR_PREFIX}{spec.name}: "{spec.example}"\n```\n'


def _group(consequence: Consequence) -> str:
    names = ", ".join(f"`{item.name}`" for item in UNSUPPORTED if item.consequence == consequence)
    return f"**{_CONSEQUENCES[consequence]}:** {names}.\n"
