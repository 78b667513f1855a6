"""All objects of one kind, in one namespace or in all: listed once, then watched.

1. A list is read in pages. It replaces what was known; only differences are told.
2. The watch goes on from the version of the list, then from the last one that it told. Bookmarks move that version.
3. A version that is too old (410), and a line that cannot be read, lead to a new list: nothing is missed, and what
   is known stays until the list is whole.
4. A watch that ends, breaks, or says nothing for too long goes on from its last version.
5. Where we lack the right (403) or the kind is not installed (404), that is said once and tried again slowly.
   Objects stay known, except of an optional kind that is no longer installed.
6. While the server is away, everything stays known and nothing is told.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Final

import msgspec
import structlog

from ingress.kube import KubeClient, KubeError
from ingress.kube.errors import error_from
from ingress.watch.kinds import WatchedKind
from ingress.watch.known import Known, Listener
from ingress.watch.pace import Attempt, Backoff, Pace
from ingress.watch.stored import Stored, decode, decode_head, is_older

__all__ = ["Event", "Reflector", "UnreadableLineError", "read_event"]

GONE: Final = 410
REFUSED: Final = (401, 403, 404)
NOISY: Final = 3
"""Failures in a row after which an outage is worth a line in the log."""

log = structlog.get_logger("pyngress.watch")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """``WatchEvent``."""

    type: str
    object: msgspec.Raw


_event_decoder: Final = msgspec.json.Decoder(Event)


class UnreadableLineError(Exception):
    """A line of a watch that is no event: something may have been missed."""


def read_event(line: bytes) -> Event | None:
    """``None``: an empty line. Raises :class:`KubeError` for an ERROR event, :class:`UnreadableLineError`."""
    if not line.strip():
        return None
    try:
        event = _event_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableLineError(str(error)) from error
    if event.type == "ERROR":
        raise error_from(event.object)
    return event


class Reflector:
    """Run it as a task; cancel it to end it."""

    def __init__(
        self,
        client: KubeClient,
        kind: WatchedKind,
        namespace: str,
        listener: Listener,
        *,
        label_selector: str = "",
        pace: Pace | None = None,
    ) -> None:
        self._client = client
        self.kind = kind
        self._path = kind.path(namespace)
        self._listener = listener
        self._selector = {"labelSelector": label_selector} if label_selector else {}
        self._pace = pace or Pace()
        self._backoff = Backoff(self._pace)
        self._version = ""
        self._said = ""
        self._where = {"kind": kind.name, **({"namespace": namespace} if namespace else {})}
        self.namespace = namespace
        self.known = Known(kind, listener)
        self.listed = False
        """A list was whole once."""
        self.refusal = ""
        """Why we may not read it now; empty: we may."""
        self.trouble = ""
        """The last failure; empty: none since it last worked."""

    @property
    def unsettled(self) -> str:
        """Why what is known is not yet all; empty: it is, or there will be none."""
        if self.listed or (self.kind.optional and self.refusal):
            return ""
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.kind.name} objects{where} are not listed yet" + (f": {self.trouble}" if self.trouble else "")

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                if not self._version:
                    await self._list()
                wait = 0.0 if await self._watch() else self._backoff.next()
            except KubeError as error:
                wait = self._wait_after(error)
            except UnreadableLineError as error:
                log.warning("a watch event cannot be read: listing again", **self._where, error=str(error))
                self._version = ""
                wait = self._backoff.next()
            except Exception:
                log.exception("reading failed: listing again", **self._where)
                self._version = ""
                wait = self._backoff.next()
            await asyncio.sleep(wait)

    # ---- list

    async def _list(self) -> None:
        items, version = await self._read_pages()
        self.known.replace(items)
        self._version = version
        self.listed = True
        self._works()
        self._listener.settled()

    async def _read_pages(self) -> tuple[list[Stored], str]:
        items: list[Stored] = []
        params: dict[str, str | int] = {**self._selector, "limit": self._pace.page}
        while True:
            try:
                page = await self._client.list_page(self._path, params)
            except KubeError as error:
                if error.status != GONE or "continue" not in params:
                    raise
                # The pages took longer than the server keeps versions: all at once then.
                items, params = [], dict(self._selector)
                continue
            items += filter(None, map(self._item, page.items or ()))
            if not page.metadata.continue_:
                return items, page.metadata.resource_version
            params = {**params, "continue": page.metadata.continue_}

    def _item(self, data: msgspec.Raw) -> Stored | None:
        try:
            head = decode_head(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("an object without a readable name is left out", **self._where, error=str(error))
            return None
        known = self.known.get(head.key)
        if known is not None and head.version and known.version == head.version:
            return known  # no second copy in memory, and no need to decode it
        return decode(self.kind, data, head)

    # ---- watch

    async def _watch(self) -> bool:
        """Until the server ends it in order; whether it was of any use: otherwise the next must not follow at once."""
        params: dict[str, str | int] = {
            **self._selector,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": self._pace.watch_seconds(),
        }
        attempt = Attempt(self._pace, self._backoff)
        try:
            async with aclosing(self._client.watch(self._path, params, inactivity=self._pace.inactivity)) as stream:
                async for lines in stream:
                    if not lines:
                        attempt.stands()
                    for line in lines:
                        event = read_event(line)
                        if event is not None:
                            self._obey(event)
                            attempt.told()
        finally:
            of_use = attempt.end()
        return of_use

    def _obey(self, event: Event) -> None:
        try:
            head = decode_head(event.object)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnreadableLineError(str(error)) from error
        if event.type == "BOOKMARK":
            self._advance(head.version)
        elif event.type == "DELETED":
            known = self.known.get(head.key)
            if known is not None and not is_older(head.version, known.version):
                self.known.remove(head.key)
            self._advance(head.version)
        elif not is_older(head.version, self._version):  # ADDED, MODIFIED; a stream never goes back
            self.known.put(decode(self.kind, event.object, head))
            self._advance(head.version)

    def _advance(self, version: str) -> None:
        if version and not is_older(version, self._version):
            self._version = version

    # ---- trouble

    def _works(self) -> None:
        if self._said:
            log.info("read again", **self._where)
        self._said = self.refusal = self.trouble = ""

    def _wait_after(self, error: KubeError) -> float:
        """Seconds."""
        self.trouble = error.message
        if error.status in REFUSED:
            return self._wait_refused(error)
        if error.status == GONE or (400 <= error.status < 500 and error.status != 429) or _is_of_the_future(error):
            self._version = ""
        wait = self._backoff.next()
        if self._backoff.failures == NOISY and not self._said:
            log.warning("cannot be read: what is known stays", **self._where, error=error.message)
            self._said = error.message
        if error.retry_after is not None:
            wait += error.retry_after
        return wait

    def _wait_refused(self, error: KubeError) -> float:
        self.refusal = error.message
        self._version = ""
        if error.status == 404 and self.kind.optional:
            self.known.replace(())
        if not self._said:
            self._said = error.message
            what = "is not installed" if error.status == 404 else "may not be read"
            log.warning(f"{self.kind.name} {what}", **self._where, error=error.message)
        self._listener.settled()
        return self._backoff.next(self._pace.refused)


def _is_of_the_future(error: KubeError) -> bool:
    """The server does not know our version: it came back from a backup."""
    return "large resource version" in error.message.lower()
