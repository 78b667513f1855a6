"""Requests and responses of the API, on aiohttp: reads, writes and watches, each as its action says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
from aiohttp import web

from tests.support.apiserver.access import Action, User, authorize, user_of
from tests.support.apiserver.discovery import discovery_page
from tests.support.apiserver.failures import ApiError, bad_request, expired
from tests.support.apiserver.kinds import stored_as
from tests.support.apiserver.requests import Logged, is_true, read_action, read_body, read_version
from tests.support.apiserver.selectors import Selector, read_fields, read_labels
from tests.support.apiserver.state import State
from tests.support.apiserver.storage import Record
from tests.support.apiserver.watching import Watch
from tests.support.apiserver.writes import Writer

__all__ = ["answer"]

_WATCH_SECONDS: Final = 1800.0
"""A watch without ``timeoutSeconds``."""
_FAR: Final = 3600.0


async def answer(state: State, request: web.BaseRequest) -> web.StreamResponse:
    """One request of any kind, with a Status object as the answer to what fails."""
    logged = Logged(verb="", plural="", namespace="", name="", user="", path=request.path)
    warnings: list[str] = []
    try:
        response = await _answer(state, request, logged, warnings)
    except ApiError as error:
        response = _json(error.status(), error.code)
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(error.retry_after)
    for warning in warnings:
        if not response.prepared:
            response.headers.add("Warning", f'299 - "{warning}"')
    logged.code = response.status
    return response


async def _answer(state: State, request: web.BaseRequest, logged: Logged, warnings: list[str]) -> web.StreamResponse:
    user = user_of(request.headers.get("Authorization", ""), state.users)
    if (page := discovery_page(request.path)) is not None:
        return web.Response(text=page) if isinstance(page, str) else _json(page)
    action = read_action(request.method, request.path, request.query)
    _log(state, logged, request, action, user)
    authorize(user, action, state.storage)
    if (failure := state.faults.failure_for(action)) is not None:
        raise failure
    if action.verb == "get":
        return _record(action, state.storage.read(action.resource, action.namespace, action.name))
    if action.verb == "list":
        return await _list(state, action, request.query)
    if action.verb == "watch":
        return await _watch(state, action, request, logged)
    body = read_body(await request.read(), request.content_type)
    logged.body = body
    return await _write(state, action, user, request, body, warnings)


def _log(state: State, logged: Logged, request: web.BaseRequest, action: Action, user: User) -> None:
    logged.verb, logged.plural = action.verb, action.target
    logged.namespace, logged.name, logged.user = action.namespace, action.name, user.name
    logged.agent, logged.params = request.headers.get("User-Agent", ""), dict(request.query)
    state.requests.append(logged)


# Writes


async def _write(
    state: State, action: Action, user: User, request: web.BaseRequest, body: Any, warnings: list[str]
) -> web.Response:
    writer, dry_run = state.writer(warnings), request.query.get("dryRun") == "All"
    if action.verb == "create":
        return _record(action, await writer.create(action, user, body, dry_run=dry_run), 201)
    if action.verb in ("update", "patch"):
        existed = state.storage.find(action.resource, action.namespace, action.name) is not None
        record = await _modify(writer, action, user, request, body, dry_run=dry_run)
        return _record(action, record, 200 if existed else 201)
    if action.verb == "delete":
        record = await writer.delete(action, user, body, dry_run=dry_run)
        if state.storage.find(action.resource, action.namespace, action.name) is not None and not dry_run:
            return _record(action, record)
        details = {"name": record.name, "group": action.resource.group, "kind": action.resource.plural}
        details["uid"] = record.value["metadata"]["uid"]
        success = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
        return _json(success | {"details": details})
    selected = _selector(action, request.query)
    records = [each for each in state.storage.records(action.resource, action.namespace) if selected(each.value)]
    for record in records:
        one = Action(verb="delete", resource=action.resource, namespace=record.namespace, name=record.name)
        await writer.delete(one, user, body, dry_run=dry_run)
    return _listed(action, records, str(state.storage.version), "", 0)


async def _modify(
    writer: Writer, action: Action, user: User, request: web.BaseRequest, body: Any, *, dry_run: bool
) -> Record:
    if action.verb == "update":
        return await writer.update(action, user, body, dry_run=dry_run)
    kind = request.content_type
    if "apply-patch" in kind and not request.query.get("fieldManager"):
        raise bad_request("PatchOptions.meta.k8s.io is invalid: fieldManager is required for apply patch")
    return await writer.patch(action, user, kind, body, dry_run=dry_run)


# Reads


def _selector(action: Action, query: Mapping[str, str]) -> Selector:
    labels = read_labels(query.get("labelSelector", ""))
    fields = read_fields(stored_as(action.resource), query.get("fieldSelector", ""))
    return lambda value: labels(value["metadata"].get("labels", {})) and fields(value)


async def _list(state: State, action: Action, query: Mapping[str, str]) -> web.Response:
    if state.faults.list_delay:
        await asyncio.sleep(state.faults.list_delay)
    storage, resource = state.storage, action.resource
    limit = int(query.get("limit") or 0)
    if token := query.get("continue"):
        page = storage.next_page(token, limit)
    else:
        version = read_version(query.get("resourceVersion", ""))
        _must_be_servable(state, action, version, query.get("resourceVersionMatch", ""))
        records = storage.records(resource, action.namespace)
        if query.get("labelSelector") or query.get("fieldSelector"):
            selected = _selector(action, query)
            records = [each for each in records if selected(each.value)]
        # Version 0 is answered from the cache of a real server, which knows no pages.
        page = storage.page(records, 0 if version == 0 else limit)
    is_selected = bool(query.get("labelSelector") or query.get("fieldSelector"))
    return _listed(action, page.records, str(page.version), page.token, 0 if is_selected else page.remaining)


def _must_be_servable(state: State, action: Action, version: int | None, match: str) -> None:
    """Versions that are still to come are a Timeout, exact ones that are past are Expired."""
    if version and version > state.storage.version:
        cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
        message = f"Too large resource version: {version}, current: {state.storage.version}"
        raise ApiError(504, message, details={"causes": [cause]}, retry_after=1)
    if version and match == "Exact" and state.storage.changed_since(action.resource, version):
        raise expired(f"The provided resource version {version} is too old.")


def _listed(action: Action, records: list[Record], version: str, token: str, remaining: int) -> web.Response:
    metadata: dict[str, Any] = {"resourceVersion": version}
    if token:
        metadata["continue"] = token
    if remaining:
        metadata["remainingItemCount"] = remaining
    resource = action.resource
    head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": metadata}
    items = b",".join([record.item_of(resource) for record in records])
    body = b'%b,"items":[%b]}' % (msgspec.json.encode(head)[:-1], items)
    return web.Response(body=body, content_type="application/json")


def _record(action: Action, record: Record, code: int = 200) -> web.Response:
    return web.Response(status=code, body=record.shown_as(action.resource), content_type="application/json")


def _json(value: Any, code: int = 200) -> web.Response:
    return web.Response(status=code, body=msgspec.json.encode(value), content_type="application/json")


# Watches


async def _watch(state: State, action: Action, request: web.BaseRequest, logged: Logged) -> web.StreamResponse:
    query = request.query
    version = read_version(query.get("resourceVersion", ""))
    sends_all = is_true(query, "sendInitialEvents")
    watch = Watch(state.storage, action.resource, action.namespace, _selector(action, query))
    try:
        watch.begin(version, initial=not version or sends_all)
    except ApiError as error:
        if state.faults.gone_as_http:
            raise
        watch.end(error)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.enable_chunked_encoding()
    logged.code = 200
    state.watches.add(watch)
    try:
        await response.prepare(request)
        with suppress(ConnectionError):
            await _stream(state, watch, response, query, initial_events_end=sends_all)
            await response.write_eof()
    finally:
        state.watches.discard(watch)
        watch.close()
    return response


async def _stream(
    state: State, watch: Watch, response: web.StreamResponse, query: Mapping[str, str], *, initial_events_end: bool
) -> None:
    """Events as they come, bookmarks in between if wanted, until the time is up."""
    bookmarks = is_true(query, "allowWatchBookmarks")
    ends_at = time.monotonic() + float(query.get("timeoutSeconds") or _WATCH_SECONDS)
    bookmark_at = time.monotonic() + state.bookmark_interval if bookmarks else ends_at + _FAR
    if initial_events_end and watch.is_current:
        await response.write(watch.bookmark(initial_events_end=True))
        initial_events_end = False
    while (seconds := min(ends_at, bookmark_at) - time.monotonic()) > 0 or not watch.is_current:
        events = await watch.next(max(seconds, 0.0))
        while state.faults.deaf or watch.is_stalled:
            await asyncio.sleep(0.02)
        if events is None:
            return
        if events:
            if state.faults.event_delay:
                await asyncio.sleep(state.faults.event_delay)
            if state.faults.duplicate_events:
                events = [each for event in events for each in (event, event)]
            await response.write(b"".join(events))
            if initial_events_end and watch.is_current:
                await response.write(watch.bookmark(initial_events_end=True))
                initial_events_end = False
        elif bookmarks and time.monotonic() < ends_at and watch.is_current:
            await response.write(watch.bookmark())
            bookmark_at = time.monotonic() + state.bookmark_interval
    if bookmarks:
        await response.write(watch.bookmark())
