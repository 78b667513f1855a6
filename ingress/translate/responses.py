"""``backend.resource`` of kind Response → an answer without a pod."""

from __future__ import annotations

from typing import Final

import msgspec

from ingress.resources import ConfigMap, Response, TypedReference
from ingress.resources.crd import OUR_GROUP, RedirectSpec, ResponseSpec
from ingress.resources.crd_parts import HeaderField
from ingress.resources.values import BadValue, parse_header_name, parse_header_value
from ingress.translate.lookup import Lookup
from ingress.translate.part import Finding
from proxy.table import Redirect, Respond

__all__ = ["MAX_BODY", "Answer", "read_response"]

MAX_BODY: Final = 1 << 20
"""Bytes of a body, which is held in every worker."""

_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "htm": "text/html; charset=utf-8",
    "json": "application/json",
    "xml": "application/xml",
}
_TEXT: Final = "text/plain; charset=utf-8"
_REASON: Final = "this is what the route is configured to answer"
_NO_BODY: Final = (204, 205, 304)
_REDIRECTS: Final = (301, 302, 303, 307, 308)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """``action`` of ``None``: there is no usable answer, and findings say why."""

    action: Respond | Redirect | None = None
    findings: tuple[Finding, ...] = ()


def read_response(reference: TypedReference, namespace: str, lookup: Lookup) -> Answer:
    """What a backend that is no Service answers."""
    if reference.api_group != OUR_GROUP or reference.kind != "Response":
        return _unusable("BadBackend", f"a backend of kind {reference.kind[:80]!a} is not supported")
    response = lookup.get(Response, (namespace, reference.name))
    if response is None:
        return _unusable("ResponseNotFound", f"there is no usable Response {namespace}/{reference.name[:260]}")
    spec = response.spec
    if spec.redirect is not None:
        return _redirect(response, spec.redirect)
    if spec.status is None or not 200 <= spec.status <= 599:
        return _unusable("BadResponse", f"{response.ref} has neither a status nor a redirect")
    return _fixed(response, spec, spec.status, lookup)


def _redirect(response: Response, spec: RedirectSpec) -> Answer:
    if spec.status_code not in _REDIRECTS:
        return _unusable("BadResponse", f"{response.ref} redirects with status {spec.status_code}")
    full = prefix = None
    if spec.path is not None:
        full = spec.path.replace_full_path if spec.path.type == "ReplaceFullPath" else None
        prefix = spec.path.replace_prefix_match if spec.path.type == "ReplacePrefixMatch" else None
    return Answer(
        action=Redirect(
            status=spec.status_code,
            scheme=spec.scheme,
            host=spec.hostname,
            port=spec.port,
            replace_path=full,
            replace_prefix=prefix,
        )
    )


def _fixed(response: Response, spec: ResponseSpec, status: int, lookup: Lookup) -> Answer:
    headers, findings = _headers(response, spec.headers)
    body, kind = spec.body, _TEXT
    if spec.body_from is not None:
        key = spec.body_from.config_map_key_ref
        found = lookup.get(ConfigMap, (response.metadata.namespace, key.name))
        name = f"ConfigMap {response.metadata.namespace}/{key.name}"
        if found is None:
            return _unusable("ConfigMapNotFound", f"{response.ref} takes its body from {name}, which does not exist")
        body = found.data.get(key.key)
        if body is None:
            return _unusable(
                "KeyNotFound", f"{response.ref} takes its body from {key.key[:80]!a} of {name}, which is not there"
            )
        kind = _TYPES.get(key.key.rpartition(".")[2].lower(), _TEXT)
    if body is not None:
        if status in _NO_BODY:
            return _unusable("BadResponse", f"{response.ref} has a body, which status {status} can not have")
        if len(body.encode(errors="replace")) > MAX_BODY:
            return _unusable("BodyTooLarge", f"the body of {response.ref} is larger than {MAX_BODY} bytes")
        if all(name.lower() != "content-type" for name in headers):
            headers["Content-Type"] = kind
    return Answer(action=Respond(status=status, reason=_REASON, headers=headers, body=body), findings=findings)


def _headers(response: Response, fields: tuple[HeaderField, ...]) -> tuple[dict[str, str], tuple[Finding, ...]]:
    """By name; of two spellings of one name the later counts."""
    headers: dict[str, tuple[str, str]] = {}
    findings = []
    for field in fields:
        try:
            headers[field.name.lower()] = parse_header_name(field.name), parse_header_value(field.value)
        except BadValue as bad:
            message = f"header {field.name[:80]!a} of {response.ref} {bad}; it is left out"
            findings.append(Finding(reason="BadResponse", message=message))
    return dict(headers.values()), tuple(findings)


def _unusable(reason: str, message: str) -> Answer:
    return Answer(findings=(Finding(reason=reason, message=f"{message}; its routes answer 503"),))
