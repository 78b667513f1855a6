"""Every change, from the body of a request to the record that was stored. Knows no HTTP."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from tests.support.apiserver.access import Action, User, authorize
from tests.support.apiserver.admission import Write, check, default_class
from tests.support.apiserver.failures import ApiError, bad_request, conflict, not_found
from tests.support.apiserver.kinds import RESOURCES, Resource, resource_at, stored_as
from tests.support.apiserver.patches import json_patch, merge_patch
from tests.support.apiserver.storage import Record, Storage
from tests.support.apiserver.strategy import for_create, for_delete, for_update

__all__ = ["Writer"]

_ATTEMPTS = 5
"""Times that a change without a version is tried again when another one came between."""
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON = "application/json-patch+json"

Review = Callable[[Write], Awaitable[None]]
"""Admission by webhooks; raises what denies."""


class Writer:
    """Applies changes to the storage; ``review`` is asked before each one."""

    def __init__(self, storage: Storage, review: Review) -> None:
        self.storage = storage
        self._review = review

    async def create(self, action: Action, user: User, body: Any, *, dry_run: bool = False) -> Record:
        self._namespace_must_exist(action)
        value = _stored_form(action.resource, _mapping(body, action.resource))
        resource = stored_as(action.resource)
        value = for_create(resource, value, action.namespace)
        if resource.kind == "Ingress":
            default_class(self.storage, value)
        check(resource, value, None)
        named = _named(action, value["metadata"]["name"])
        await self._review(Write(action=named, user=user, operation="CREATE", new=value, dry_run=dry_run))
        return _imagined(resource, value) if dry_run else self.storage.create(resource, value)

    async def update(self, action: Action, user: User, body: Any, *, dry_run: bool = False) -> Record:
        resource = action.resource
        given = _stored_form(resource, _mapping(body, resource))
        if self.storage.find(resource, action.namespace, action.name) is None and resource.creates_on_update:
            authorize(user, _as(action, "create"), self.storage)
            given = given | {"metadata": given.get("metadata", {}) | {"name": action.name}}
            return await self.create(action, user, given, dry_run=dry_run)
        version = given.get("metadata", {}).get("resourceVersion")
        must_match = not resource.unconditional
        return await self._change(
            action, user, lambda _: given, retry=not version, must_match=must_match, dry_run=dry_run
        )

    async def patch(self, action: Action, user: User, kind: str, patch: Any, *, dry_run: bool = False) -> Record:
        """``kind`` is the content type."""
        resource = action.resource
        if kind == APPLY:
            return await self._apply(action, user, _mapping(patch, resource), dry_run=dry_run)
        if kind == JSON:
            return await self._change(action, user, lambda old: json_patch(old, patch), retry=True, dry_run=dry_run)
        if kind not in (MERGE, STRATEGIC) or (kind == STRATEGIC and resource.custom):
            raise ApiError(415, f"the body of the request was in an unknown format: {kind}")
        retry = not _mapping(patch, resource).get("metadata", {}).get("resourceVersion")
        return await self._change(action, user, lambda old: merge_patch(old, patch), retry=retry, dry_run=dry_run)

    async def _apply(self, action: Action, user: User, patch: dict[str, Any], *, dry_run: bool) -> Record:
        """Server-side apply, as create-or-merge: what an earlier apply set and this one leaves out stays."""
        found = self.storage.find(action.resource, action.namespace, action.name)
        if found is None and not action.subresource:
            authorize(user, _as(action, "create"), self.storage)
            patch = patch | {"metadata": patch.get("metadata", {}) | {"name": action.name}}
            return await self.create(action, user, patch, dry_run=dry_run)
        return await self._change(action, user, lambda old: merge_patch(old, patch), retry=True, dry_run=dry_run)

    async def _change(
        self,
        action: Action,
        user: User,
        changed: Callable[[dict[str, Any]], Any],
        *,
        retry: bool,
        must_match: bool = False,
        dry_run: bool = False,
    ) -> Record:
        """Reads, changes and stores; again when another change came between and ``retry`` says so."""
        resource = action.resource
        for attempt in range(_ATTEMPTS):
            record = self.storage.read(resource, action.namespace, action.name)
            shown = record.value_as(resource)
            body = _stored_form(resource, _mapping(changed(shown), resource))
            stored = record.resource
            value = for_update(stored, record.value, body, subresource=action.subresource, must_match=must_match)
            if value == record.value:
                return record
            if not action.subresource:
                check(resource, value, record.value)
            await self._review(
                Write(action=action, user=user, operation="UPDATE", new=value, old=record.value, dry_run=dry_run)
            )
            if dry_run:
                return _imagined(stored, value)
            if self.storage.find(resource, action.namespace, action.name) is record:
                stored_record = self.storage.replace(record, value)
                self._finish(stored_record)
                return stored_record
            if not retry or attempt == _ATTEMPTS - 1:
                break
        raise conflict(resource, action.name)

    async def delete(self, action: Action, user: User, options: Any, *, dry_run: bool = False) -> Record:
        """The object as it was last."""
        record = self.storage.read(action.resource, action.namespace, action.name)
        left = for_delete(action.resource, record.value, options if isinstance(options, dict) else {})
        await self._review(Write(action=action, user=user, operation="DELETE", old=record.value, dry_run=dry_run))
        if dry_run:
            return record
        record = self.storage.read(action.resource, action.namespace, action.name)
        if left is not None:
            return self.storage.replace(record, left)
        if action.resource.kind == "Namespace":
            self._empty(record.name)
        return self.storage.remove(record)

    def _finish(self, record: Record) -> None:
        """An object that only waited for its finalizers goes with the last of them."""
        metadata = record.value["metadata"]
        if "deletionTimestamp" in metadata and not metadata.get("finalizers"):
            self.storage.remove(record)

    def _empty(self, namespace: str) -> None:
        """What the namespace controller does when a namespace goes."""
        for resource in RESOURCES:
            if resource.namespaced and not resource.view_of:
                for record in self.storage.records(resource, namespace):
                    self.storage.remove(record)

    def _namespace_must_exist(self, action: Action) -> None:
        if action.resource.namespaced:
            namespaces = resource_at("", "v1", "namespaces")
            assert namespaces is not None
            if self.storage.find(namespaces, "", action.namespace) is None:
                raise not_found(namespaces, action.namespace)


def _as(action: Action, verb: str) -> Action:
    return dataclasses.replace(action, verb=verb)


def _named(action: Action, name: str) -> Action:
    return dataclasses.replace(action, name=name)


def _mapping(body: Any, resource: Resource) -> dict[str, Any]:
    """The body as an object of the resource. Raises BadRequest for another kind."""
    if not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized")
    for field, wanted in (("kind", resource.kind), ("apiVersion", resource.api_version)):
        if body.get(field, wanted) != wanted:
            raise bad_request(f"{field} in the data ({body[field]}) is not what the URL names ({wanted})")
    return body


def _stored_form(resource: Resource, body: dict[str, Any]) -> dict[str, Any]:
    """The object under the field names of the storage."""
    if not resource.renames:
        return body
    back = {shown: stored for stored, shown in resource.renames.items()}
    renamed = {back.get(key, key): value for key, value in body.items()}
    return renamed | {"kind": "Event", "apiVersion": "v1"}


def _imagined(resource: Resource, value: dict[str, Any]) -> Record:
    """What would have been stored."""
    metadata = value["metadata"]
    value = {"kind": resource.kind, "apiVersion": resource.api_version} | value
    return Record(resource, metadata.get("namespace", ""), metadata["name"], 0, value, msgspec.json.encode(value))
