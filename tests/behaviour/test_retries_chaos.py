"""Everything that goes wrong, at once and by chance: three promises hold all the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from random import Random

import msgspec
import pytest

from proxy.table import Balance, Cluster, Endpoint, Settings
from proxy.table.model import BalanceMethod
from tests.support.backend import Backend, Conversation, Script, raw_backend
from tests.support.clients import reset
from tests.support.failing import CLUSTER, client_of, cluster_of, quiet, request, status
from tests.support.proxy import RawClient, RunningProxy, one_route, running_proxy

SECONDS = 1.5
CLIENTS = 20
METHODS: list[BalanceMethod] = ["round_robin", "least_requests", "random_two", "ewma"]


class Chaos:
    """One run: what its backends executed, and what its clients got."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.executed: Counter[bytes] = Counter()
        self.statuses: Counter[int] = Counter()

    def happens(self, share: float) -> bool:
        return self.chance.random() < share

    # ---- backends

    def backend(self, badness: float) -> Script:
        async def script(conversation: Conversation, backend: Backend) -> None:
            # uvloop refuses writes to a connection that the proxy has ended meanwhile.
            with suppress(RuntimeError):
                while head := await conversation.read_head():
                    if self.happens(0.03 * badness):
                        conversation.reset()
                        return
                    await conversation.read_body(head)
                    method, path, _ = head.split(b" ", 2)
                    self.executed[method + b" " + path] += 1
                    if not await self._answer(conversation, path, badness):
                        return

        return script

    async def _answer(self, conversation: Conversation, path: bytes, badness: float) -> bool:
        """Answer in one of many ways; false: this connection is over."""
        body = path + b"|" + b"x" * self.chance.choice([0, 100, 100_000])
        length = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        if self.happens(0.04 * badness):
            conversation.reset()
            return False
        if self.happens(0.02 * badness):
            await asyncio.sleep(0.3)
        if self.happens(0.02 * badness):
            conversation.send(b"nonsense\r\n\r\n")
            return False
        if self.happens(0.02 * badness):
            conversation.send(length + body[:-1])
            conversation.reset()
            return False
        if self.happens(0.3):
            conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            await asyncio.sleep(0)
            conversation.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        else:
            conversation.send(length + body)
        if self.happens(0.03 * badness):
            conversation.send(b"surplus")
        return not self.happens(0.15 * badness)

    # ---- clients

    async def client(self, proxy: RunningProxy, name: int) -> None:
        loop, number = asyncio.get_running_loop(), 0
        end = loop.time() + SECONDS
        while loop.time() < end:
            async with client_of(proxy) as client:
                with suppress(ConnectionError, asyncio.IncompleteReadError):
                    for _ in range(self.chance.choice([1, 3, 20])):
                        number += 4
                        await self._ask(client, [f"/{name}-{number + each}" for each in range(self._pipelined())])

    def _pipelined(self) -> int:
        return self.chance.choice([1, 1, 1, 3])

    async def _ask(self, client: RawClient, paths: list[str]) -> None:
        text = b"".join(map(self._request, paths))
        cut = self.chance.randrange(len(text)) if self.happens(0.3) else 0
        client.send(text[:cut])
        await asyncio.sleep(0)
        client.send(text[cut:] if not cut or self.happens(0.95) else b"")
        if self.happens(0.05):
            reset(client)
            raise ConnectionResetError
        for path in paths:
            head, body = await client.read_response()
            self.statuses[status(head)] += 1
            if status(head) == 200:
                assert path.encode() + b"|" in body[:100], "somebody else's response"
            if b"\r\nConnection: close" in head:
                raise ConnectionAbortedError

    def _request(self, path: str) -> bytes:
        method = self.chance.choice(["GET", "GET", "POST", "PUT"])
        if method == "GET":
            return request(method, path)
        body = b"y" * self.chance.choice([0, 10, 70_000, 300_000])
        if body and self.happens(0.3):
            chunked = request(method, path, fields=b"Transfer-Encoding: chunked\r\n")
            return chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        return request(method, path, body=body)

    # ---- the control process

    async def changes(self, proxy: RunningProxy, ports: list[int]) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + SECONDS
        while loop.time() < end:
            await asyncio.sleep(self.chance.random() * 0.05)
            await proxy.tick()
            for endpoint in cluster_of(proxy).endpoints:
                endpoint.ejected_until = 0.0
            chosen = self.chance.sample(ports, self.chance.choice([2, 3]))
            cluster = Cluster(
                endpoints=tuple(Endpoint(address="127.0.0.1", port=port) for port in sorted(chosen)),
                balance=Balance(method=self.chance.choice(METHODS)),
            )
            proxy.publish(msgspec.structs.replace(proxy.table, clusters={CLUSTER: cluster}))


@pytest.mark.parametrize("seed", [1, 2])
async def test_chaos_mixes_up_no_responses_repeats_no_post_and_leaves_nothing(seed: int) -> None:
    """Backends reset, hang, truncate and babble; clients leave anywhere; endpoints come and go; connections are short.

    Each answer belongs to its request, no POST is executed twice, and in the end nothing is under way.
    """
    chaos = Chaos(seed)
    settings = Settings(
        header_timeout=0.2, keepalive_timeout=0.3, read_timeout=0.2, body_timeout=0.2, max_connections=CLIENTS - 2
    )
    async with (
        raw_backend(chaos.backend(1.0)) as first,
        raw_backend(chaos.backend(1.0)) as second,
        raw_backend(chaos.backend(0.1)) as third,
    ):
        ports = [first.port, second.port, third.port]
        async with running_proxy(one_route(ports, settings=settings)) as proxy:
            clients = (chaos.client(proxy, name) for name in range(CLIENTS))
            await asyncio.gather(chaos.changes(proxy, ports), *clients)
            for _ in range(10):
                await asyncio.sleep(0.03)
                await proxy.tick()
            await quiet(proxy)
    assert [key for key, times in chaos.executed.items() if times > 1 and key.startswith(b"POST")] == []
    assert chaos.statuses[200] > 100
    assert {502, 503} <= set(chaos.statuses)
