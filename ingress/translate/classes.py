"""Which Ingresses are ours.

1. ``spec.ingressClassName`` names an IngressClass: ours if its controller is us.
2. It names none that exists: ours if there are no IngressClasses at all and it is ``Options.ingress_class``.
3. No such field, but the annotation ``kubernetes.io/ingress.class``: ours if an IngressClass of that name is ours, or
   if there is none of that name and it is ``Options.ingress_class``.
4. Neither: ours.

A class that nobody defines is a Problem, since such an Ingress is served by nobody.
"""

from __future__ import annotations

from typing import Final

from ingress.options import Options
from ingress.resources import Ingress, Problem, Snapshot
from ingress.translate.part import age_of

__all__ = ["LEGACY_CLASS_ANNOTATION", "select_ingresses"]

LEGACY_CLASS_ANNOTATION: Final = "kubernetes.io/ingress.class"


def select_ingresses(snapshot: Snapshot, options: Options) -> tuple[list[Ingress], list[Problem]]:
    """Our Ingresses, oldest first."""
    served: list[Ingress] = []
    problems: list[Problem] = []
    for ingress in snapshot.ingresses.values():
        ours = _is_ours(ingress, snapshot, options)
        if ours:
            served.append(ingress)
        elif ours is None:
            problems.append(_undefined(ingress))
    return sorted(served, key=age_of), problems


def _is_ours(ingress: Ingress, snapshot: Snapshot, options: Options) -> bool | None:
    """``None``: it names a class that nobody defines."""
    named = ingress.spec.ingress_class_name
    legacy = ingress.metadata.annotations.get(LEGACY_CLASS_ANNOTATION)
    name = legacy if named is None else named
    if name is None:
        return True
    ingress_class = snapshot.ingress_classes.get(("", name))
    if ingress_class is not None:
        return ingress_class.spec.controller == options.controller_name
    if name == options.ingress_class and (named is None or not snapshot.ingress_classes):
        return True
    return None


def _undefined(ingress: Ingress) -> Problem:
    named = ingress.spec.ingress_class_name
    if named is None:
        name = ingress.metadata.annotations[LEGACY_CLASS_ANNOTATION]
        field = f"metadata.annotations[{LEGACY_CLASS_ANNOTATION}]"
    else:
        name, field = named, "spec.ingressClassName"
    return Problem(
        object=ingress.ref,
        field=field,
        reason="ClassNotFound",
        message=f"no IngressClass is named {name!a}; this Ingress is not served",
        severity="warning",
        source=ingress.source,
    )
