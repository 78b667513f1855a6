"""Which Ingresses are ours.

1. ``spec.ingressClassName`` names an IngressClass: ours if its controller is us. Several classes may be ours.
2. It names none that exists: ours if there are no IngressClasses at all (or none that we may see) and it is
   ``Options.ingress_class``.
3. No such field, but the annotation ``kubernetes.io/ingress.class``: ours if an IngressClass of that name is ours, or
   if there is none of that name and it is ``Options.ingress_class``.
4. Neither: ours if an IngressClass of ours is marked as the default one, or if ``Options.serves_classless``.

A class that nobody defines is a Problem, since such an Ingress is served by nobody. Not so where we may not see
classes, and not for the annotation in a cluster: other controllers take theirs without an IngressClass.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ingress.options import Options
from ingress.resources import Ingress, IngressClass, Problem
from ingress.translate.lookup import Lookup

__all__ = ["DEFAULT_CLASS_ANNOTATION", "LEGACY_CLASS_ANNOTATION", "Selection", "select_ingress"]

LEGACY_CLASS_ANNOTATION: Final = "kubernetes.io/ingress.class"
DEFAULT_CLASS_ANNOTATION: Final = "ingressclass.kubernetes.io/is-default-class"


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one Ingress is ours, and by which IngressClass."""

    ours: bool
    ingress_class: IngressClass | None = None
    """``None``, though ours: by the name in the options alone, or without a class."""
    problems: tuple[Problem, ...] = ()


_NOT_OURS: Final = Selection(ours=False)


def select_ingress(ingress: Ingress, options: Options, lookup: Lookup) -> Selection:
    """The verdict on one Ingress."""
    named = ingress.spec.ingress_class_name
    name = ingress.metadata.annotations.get(LEGACY_CLASS_ANNOTATION) if named is None else named
    if name is None:
        return _without_class(options, lookup)
    ingress_class = lookup.get(IngressClass, ("", name))
    if ingress_class is not None:
        ours = ingress_class.spec.controller == options.controller_name
        return Selection(ours=True, ingress_class=ingress_class) if ours else _NOT_OURS
    if name == options.ingress_class and (named is None or not lookup.in_namespace(IngressClass, "")):
        return Selection(ours=True)
    if options.watch_namespaces or (named is None and not options.manifests):
        return _NOT_OURS
    return Selection(ours=False, problems=(_undefined(ingress, name),))


def _without_class(options: Options, lookup: Lookup) -> Selection:
    for ingress_class in lookup.in_namespace(IngressClass, ""):
        if (
            ingress_class.spec.controller == options.controller_name
            and ingress_class.metadata.annotations.get(DEFAULT_CLASS_ANNOTATION) == "true"
        ):
            return Selection(ours=True, ingress_class=ingress_class)
    return Selection(ours=True) if options.serves_classless else _NOT_OURS


def _undefined(ingress: Ingress, name: str) -> Problem:
    legacy = ingress.spec.ingress_class_name is None
    return Problem(
        object=ingress.ref,
        field=f"metadata.annotations[{LEGACY_CLASS_ANNOTATION}]" if legacy else "spec.ingressClassName",
        reason="ClassNotFound",
        message=f"no IngressClass is named {name!a}; this Ingress is not served",
        severity="warning",
        source=ingress.source,
    )
