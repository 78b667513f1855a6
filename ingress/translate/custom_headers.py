"""The ConfigMap that the annotation ``custom-headers`` names → header fields of responses."""

from __future__ import annotations

from ingress.resources import ConfigMap
from ingress.resources.values import BadValue, parse_header_name, parse_header_value
from ingress.translate.lookup import Lookup
from ingress.translate.part import Finding
from ingress.translate.wishes import HeaderWish

__all__ = ["custom_headers"]


def custom_headers(
    named: tuple[str, str], namespace: str, lookup: Lookup
) -> tuple[dict[str, HeaderWish], list[Finding]]:
    """Wishes for the responses of an Ingress in ``namespace``, and what is wrong with them."""
    given, name = named
    if given not in ("", namespace):
        message = "names a ConfigMap of another namespace, which is not read; no headers are set"
        return {}, [Finding(reason="BadAnnotation", message=message)]
    found = lookup.get(ConfigMap, (namespace, name))
    if found is None:
        message = f"ConfigMap {namespace}/{name} does not exist; no headers are set"
        return {}, [Finding(reason="ConfigMapNotFound", message=message)]
    wishes: dict[str, HeaderWish] = {}
    findings: list[Finding] = []
    for header, value in sorted(found.data.items()):
        try:
            wish = HeaderWish(name=parse_header_name(header), set=parse_header_value(value))
            wishes[f"response_headers:{header.lower()}"] = wish
        except BadValue as bad:
            message = f"header {header[:80]!a} of ConfigMap {namespace}/{name} {bad}; it is left out"
            findings.append(Finding(reason="BadHeader", message=message))
    return wishes, findings
