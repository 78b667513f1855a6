"""Sends the cases through a running proxy and writes down what came of each."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from proxy.table import Policy, Settings, Table
from tests.golden.framing.cases import BODY_LIMIT, CASES, NEXT, Case
from tests.support.backend import Backend, Conversation, raw_backend
from tests.support.proxy import RunningProxy, one_route, running_proxy

__all__ = ["DISAGREEMENT", "VERDICTS", "render", "verdicts"]

VERDICTS: Final = Path(__file__).parent / "verdicts.txt"

DISAGREEMENT: Final = "while the backend saw"
_LANES: Final = 8
_CALM: Final = 5
"""So many turns of 4 ms in which no byte moved end a case that the proxy does not end."""
_OUR_FIELDS: Final = re.compile(
    rb"X-Real-IP: 127\.0\.0\.1\r\nX-Forwarded-For: 127\.0\.0\.1\r\nX-Forwarded-Port: 80\r\nX-Forwarded-Proto: http\r\n"
    rb"X-Forwarded-Scheme: http\r\nX-Scheme: http\r\nX-Forwarded-Host: [^\r\n]*\r\n"
)
_OUR_REQUEST_ID: Final = re.compile(rb"X-Request-ID: [0-9a-f]{32}\r\n")


class _Lane:
    """One proxy with one backend, for one case at a time."""

    def __init__(self) -> None:
        self.seen: list[bytearray] = []
        """What came on each upstream connection during the case."""
        self.log: list[tuple[int, str]] = []
        self.served = 0
        self.moved = 0

    async def script(self, conversation: Conversation, backend: Backend) -> None:
        """Answers whatever reads as a whole request, and keeps every byte."""
        unread = b""
        mine: bytearray | None = None
        while data := await conversation.reader.read(1 << 16):
            self.moved += 1
            if mine is None or not any(mine is other for other in self.seen):
                mine = bytearray()
                self.seen.append(mine)
            mine += data
            unread += data
            while (end := _message_end(unread)) > 0:
                unread = unread[end:]
                self.served += 1
                conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def write(self, *columns: Any) -> None:
        """In the place of the access log: status and reason."""
        self.log.append((columns[6], columns[-1]))

    def flush(self) -> None:
        """As the access log's."""

    async def judge(self, proxy: RunningProxy, case: Case, backend_port: int) -> str:
        self.seen, self.log, self.served = [], [], 0
        client = await proxy.connect()
        client.send(case.data)
        if case.half_close:
            client.writer.write_eof()
        answer = bytearray()
        closed = False
        calm = 0
        while not closed and calm < _CALM:
            before = self.moved
            try:
                async with asyncio.timeout(0.004):
                    part = await client.reader.read(1 << 16)
                closed = not part
                answer += part
                calm = 0
            except TimeoutError:
                calm = calm + 1 if self.moved == before else 0
            except ConnectionError:
                closed = True
        reasons = [f"{status} {reason}" for status, reason in self.log if reason]
        client.close()
        while len(proxy.worker.connections):
            await asyncio.sleep(0.001)
        statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", bytes(answer))
        verdict = " ".join(status.decode() for status in statuses) or "no answer"
        verdict += ", closed" if closed else ", open"
        if reasons:
            verdict += f" ({'; '.join(reasons)})"
        if self.served != statuses.count(b"200"):
            verdict += f", {DISAGREEMENT} {self.served} requests"
        return render(case, verdict, [seen.replace(b":%d" % backend_port, b":PORT") for seen in self.seen])


def _message_end(data: bytes | bytearray) -> int:
    """The length of the whole request that ``data`` begins with, or 0."""
    head = data.find(b"\r\n\r\n") + 4
    if head < 4:
        return 0
    if b"\r\nTransfer-Encoding: chunked\r\n" in data[:head]:
        position = head
        while (line := data.find(b"\r\n", position)) >= 0:
            size = int(data[position:line], 16)
            if size == 0:
                end = data.find(b"\r\n\r\n", line)
                return end + 4 if end >= 0 else 0
            position = line + 2 + size + 2
        return 0
    length = re.search(rb"\r\nContent-Length: (\d+)\r\n", data[:head])
    end = head + (int(length[1]) if length else 0)
    return end if len(data) >= end else 0


def render(case: Case, verdict: str, seen: Sequence[bytes | bytearray]) -> str:
    """One block of the file."""
    lines = [f"== {case.name}"]
    lines += [f"  {line}" for line in _shown(case.data)]
    lines.append(f"-> {verdict}")
    for number, stream in enumerate(seen):
        plain = _OUR_REQUEST_ID.sub(b"", _OUR_FIELDS.sub(b"", stream))
        if number:
            lines.append("| (another connection)")
        lines += [f"| {line}" for line in _shown(plain)]
        if _unfinished(stream):
            lines.append("| (unfinished)")
    return "\n".join(lines) + "\n"


def _unfinished(stream: bytes | bytearray) -> bool:
    while (end := _message_end(stream)) > 0:
        stream = stream[end:]
    return bool(stream)


def _shown(data: bytes) -> Iterator[str]:
    """Lines of escaped text; runs of a byte and of a line are counted instead of shown."""
    data = data.replace(NEXT, b"\xffNEXT\n")
    text = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else _ESCAPES.get(byte) or f"\\x{byte:02x}" for byte in data
    )
    text = re.sub(r"(.)\1{40,}", lambda run: f"{run[1]}{{{len(run[0])}}}", text)
    text = re.sub(r"((?:\\x00){12,})", lambda run: f"\\x00{{{len(run[0]) // 4}}}", text)
    lines = re.findall(r".*?\\n|.+$", text)
    lines = [line.replace("\\xffNEXT\\n", "NEXT") for line in lines]
    position = 0
    while position < len(lines):
        same = 1
        while position + same < len(lines) and lines[position + same] == lines[position]:
            same += 1
        if same > 3:
            yield f"{lines[position]}  x{same}"
        else:
            yield from lines[position : position + same]
        position += same


_ESCAPES: Final = {0x0D: "\\r", 0x0A: "\\n", 0x09: "\\t", 0x5C: "\\\\"}


async def verdicts() -> str:
    """All blocks, in the order of the cases."""
    blocks: dict[str, str] = {}
    waiting = list(reversed(CASES))

    async def work() -> None:
        lane = _Lane()
        async with AsyncExitStack() as stack:
            backend = await stack.enter_async_context(raw_backend(lane.script))
            proxy = await stack.enter_async_context(running_proxy(_table(backend.port)))
            proxy.worker.runtime.access_log = lane  # type: ignore[assignment]  # as much of one as is used
            while waiting:
                case = waiting.pop()
                blocks[case.name] = await lane.judge(proxy, case, backend.port)

    async with asyncio.TaskGroup() as group:
        for _ in range(_LANES):
            group.create_task(work())
    return "\n".join(blocks[case.name] for case in CASES)


def _table(port: int) -> Table:
    table = one_route([port], settings=Settings(access_log="off"), policy=Policy(max_body_bytes=BODY_LIMIT))
    (host,) = table.hosts.values()
    return msgspec.structs.replace(table, default=host.routes[0])
