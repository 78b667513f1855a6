"""What happens to a write before it counts: default class, the server's own checks, and webhooks over HTTPS."""

from __future__ import annotations

import base64
import ssl
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from ingress.resources.fault import field_text
from ingress.resources.validate import validate_endpoint_slice, validate_ingress, validate_ingress_class
from tests.support.apiserver.access import Action, User
from tests.support.apiserver.failures import ApiError, forbidden, invalid
from tests.support.apiserver.kinds import Resource, resource_at
from tests.support.apiserver.selectors import read_label_selector
from tests.support.apiserver.storage import Storage

__all__ = ["Write", "call_webhooks", "check", "default_class"]

_NETWORKING: Final = "networking.k8s.io"
_LEGACY_CLASS: Final = "kubernetes.io/ingress.class"
_IS_DEFAULT: Final = "ingressclass.kubernetes.io/is-default-class"
_CHECKS: Final = {
    "Ingress": validate_ingress,
    "IngressClass": validate_ingress_class,
    "EndpointSlice": validate_endpoint_slice,
}
DEFAULT_TIMEOUT: Final = 10
"""Seconds that a webhook gets unless its configuration says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A change that is not made yet. ``old`` is missing for a create, ``new`` for a delete."""

    action: Action
    user: User
    operation: str
    """``CREATE``, ``UPDATE`` or ``DELETE``."""
    new: dict[str, Any] | None = None
    old: dict[str, Any] | None = None
    dry_run: bool = False


def default_class(storage: Storage, value: dict[str, Any]) -> None:
    """Gives a new Ingress without any class the default one (admission plugin DefaultIngressClass)."""
    spec = value.setdefault("spec", {})
    if "ingressClassName" in spec or _LEGACY_CLASS in value["metadata"].get("annotations", {}):
        return
    resource = resource_at(_NETWORKING, "v1", "ingressclasses")
    assert resource is not None
    defaults = [
        record
        for record in storage.records(resource)
        if record.value["metadata"].get("annotations", {}).get(_IS_DEFAULT) == "true"
    ]
    if defaults:
        newest = max(defaults, key=lambda each: (each.value["metadata"]["creationTimestamp"], each.name))
        spec["ingressClassName"] = newest.name


def check(resource: Resource, value: dict[str, Any], old: dict[str, Any] | None) -> None:
    """The checks of a real server that matter to an ingress controller. Raises Invalid."""
    faults = [each for each in _CHECKS.get(resource.kind, lambda _: ())(value) if not each.harmless]
    causes = [(field_text(each.path), f"FieldValue{each.reason}", each.message) for each in faults]
    if resource.kind == "IngressClass" and old is not None:
        before, after = (each.get("spec", {}).get("controller") for each in (old, value))
        if before != after:
            causes.append(("spec.controller", "FieldValueInvalid", f'"{after}": field is immutable'))
    if resource.kind == "Ingress" and old is None:
        spec, annotations = value.get("spec", {}), value["metadata"].get("annotations", {})
        legacy = annotations.get(_LEGACY_CLASS)
        if legacy is not None and spec.get("ingressClassName", legacy) != legacy:
            message = "must match `ingressClassName` when both are specified"
            causes.append((f"annotations.{_LEGACY_CLASS}", "FieldValueInvalid", message))
    if causes:
        raise invalid(resource, value["metadata"]["name"], causes)


async def call_webhooks(
    storage: Storage, write: Write, client: aiohttp.ClientSession, services: Mapping[tuple[str, str], int]
) -> list[str]:
    """Asks every ValidatingWebhookConfiguration; returns the warnings. Raises what the first denial says.

    ``services``: namespace and name of a Service → port on loopback that serves for it.
    """
    warnings: list[str] = []
    for hook in _hooks(storage, write):
        try:
            response = await _ask(hook, write, client, services)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, LookupError, TypeError) as error:
            if hook.get("failurePolicy", "Fail") == "Ignore":
                continue
            message = f'Internal error occurred: failed calling webhook "{hook["name"]}": {error!r}'
            raise ApiError(500, message) from None
        warnings += response.get("warnings") or ()
        if not response["allowed"]:
            raise _denial(hook["name"], response.get("status") or {}, write)
    return warnings


def _denial(name: str, status: Mapping[str, Any], write: Write) -> ApiError:
    told = status.get("message") or status.get("reason")
    message = f'admission webhook "{name}" denied the request' + (f": {told}" if told else " without explanation")
    if code := status.get("code"):
        return ApiError(code, message, reason=status.get("reason"), details=status.get("details"))
    error = forbidden(write.action.resource, write.action.name, message)
    error.message = message
    return error


def _hooks(storage: Storage, write: Write) -> Iterator[dict[str, Any]]:
    """Those whose rules and selectors match."""
    resource = resource_at("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations")
    assert resource is not None
    for record in storage.records(resource):
        for hook in record.value.get("webhooks") or ():
            if any(_matches(rule, write) for rule in hook.get("rules") or ()) and _is_selected(hook, storage, write):
                yield hook


def _matches(rule: Mapping[str, Any], write: Write) -> bool:
    resource = write.action.resource
    wanted = (
        ("operations", write.operation),
        ("apiGroups", resource.group),
        ("apiVersions", resource.version),
        ("resources", write.action.target),
    )
    return all("*" in rule[key] or value in rule[key] for key, value in wanted)


def _is_selected(hook: Mapping[str, Any], storage: Storage, write: Write) -> bool:
    objects = [each for each in (write.new, write.old) if each is not None]
    by_object = read_label_selector(hook.get("objectSelector") or {})
    if not any(by_object(each["metadata"].get("labels", {})) for each in objects):
        return False
    namespaces = resource_at("", "v1", "namespaces")
    assert namespaces is not None
    record = storage.find(namespaces, "", write.action.namespace)
    labels = record.value["metadata"].get("labels", {}) if record else {}
    return not write.action.namespace or read_label_selector(hook.get("namespaceSelector") or {})(labels)


async def _ask(
    hook: Mapping[str, Any], write: Write, client: aiohttp.ClientSession, services: Mapping[tuple[str, str], int]
) -> dict[str, Any]:
    """One call; the ``response`` of the review that comes back. Raises for whatever is not one."""
    config = hook["clientConfig"]
    url, server_name = _address(config, services)
    authority = base64.b64decode(config["caBundle"]).decode() if config.get("caBundle") else None
    context = ssl.create_default_context(cadata=authority)
    review = _review(write)
    timeout = aiohttp.ClientTimeout(total=hook.get("timeoutSeconds", DEFAULT_TIMEOUT))
    async with client.post(
        url,
        data=msgspec.json.encode(review),
        headers={"Content-Type": "application/json", "Host": server_name},
        ssl=context,
        server_hostname=server_name,
        timeout=timeout,
        allow_redirects=False,
    ) as answer:
        if answer.status != 200:
            raise ValueError(f"the server answered {answer.status}")
        given = msgspec.json.decode(await answer.read())
    response: dict[str, Any] = given["response"]
    if given["kind"] != "AdmissionReview" or given["apiVersion"] != "admission.k8s.io/v1":
        raise ValueError("the answer is not an AdmissionReview of admission.k8s.io/v1")
    if response["uid"] != review["request"]["uid"] or not isinstance(response["allowed"], bool):
        raise ValueError("the answer is not about this request")
    return response


def _address(config: Mapping[str, Any], services: Mapping[tuple[str, str], int]) -> tuple[str, str]:
    """URL to call, and the name that the certificate must bear."""
    if "url" in config:
        if not config["url"].startswith("https://"):
            raise ValueError("a webhook is called over https only")
        return config["url"], urlsplit(config["url"]).hostname or ""
    service = config["service"]
    port = services[service["namespace"], service["name"]]
    return f"https://127.0.0.1:{port}{service.get('path', '/')}", f"{service['name']}.{service['namespace']}.svc"


def _review(write: Write) -> dict[str, Any]:
    action = write.action
    kind = {"group": action.resource.group, "version": action.resource.version}
    request: dict[str, Any] = {
        "uid": str(uuid.uuid4()),
        "kind": kind | {"kind": action.resource.kind},
        "resource": kind | {"resource": action.resource.plural},
        "requestKind": kind | {"kind": action.resource.kind},
        "requestResource": kind | {"resource": action.resource.plural},
        "name": action.name,
        "operation": write.operation,
        "userInfo": {"username": write.user.name, "groups": [*write.user.groups, "system:authenticated"]},
        "object": write.new,
        "oldObject": write.old,
        "dryRun": write.dry_run,
        "options": {"kind": f"{write.operation.capitalize()}Options", "apiVersion": "meta.k8s.io/v1"},
    }
    if action.namespace:
        request["namespace"] = action.namespace
    if action.subresource:
        request["subResource"] = action.subresource
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
