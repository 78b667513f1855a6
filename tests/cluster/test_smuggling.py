"""Requests hidden in requests, against the whole controller: 400, the connection ends, and no pod hears of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.clients import ask, get
from tests.support.cluster import Cluster, until
from tests.support.controller import Controller
from tests.support.pods import Pod
from tests.support.site import publish

pytestmark = pytest.mark.asyncio(loop_scope="module")

METRIC = "pyngress_bad_requests_total "
SITE = "smuggling.example.com"
HOST = f"Host: {SITE}\r\n".encode()
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"


def post(*lines: bytes) -> bytes:
    return b"POST /a HTTP/1.1\r\n" + HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


CHUNKED = post(b"Transfer-Encoding: chunked")
DOUBTFUL = {
    "length and coding": post(b"Content-Length: 6", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "coding and length": post(b"Transfer-Encoding: chunked", b"Content-Length: 4") + b"0\r\n\r\n",
    "two lengths": post(b"Content-Length: 0", b"Content-Length: 49"),
    "the same length twice": post(b"Content-Length: 0", b"Content-Length: 0"),
    "a list of lengths": post(b"Content-Length: 0, 49"),
    "a signed length": post(b"Content-Length: +0"),
    "two codings": post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity") + b"0\r\n\r\n",
    "a folded field": post(b"X-A: a\r\n Transfer-Encoding: chunked"),
    "a folded length": post(b"Content-Length:\r\n 49"),
    "a bare line feed between fields": post(b"X-A: a\nTransfer-Encoding: chunked"),
    "a bare line feed behind the request line": b"GET /a HTTP/1.1\n" + HOST + b"\r\n",
    "a bare line feed at the end of the head": b"GET /a HTTP/1.1\r\n" + HOST + b"\n",
    "a bare carriage return": post(b"X-A: a\rContent-Length: 49"),
    "a bare line feed in a chunk": CHUNKED + b"1\r\nZ\n0\r\n\r\n",
    "a space before the colon": post(b"Content-Length : 49"),
    "a space in a name": post(b"X A: a"),
    "a name with a bracket": post(b"X(A): a"),
    "a name beyond ASCII": post("X-é: a".encode()),
    "an empty name": post(b": a"),
    "a line without a colon": post(b"nothing"),
    "NUL in a name": post(b"X\0: a"),
    "NUL in a value": post(b"X-A: a\0b"),
    "two hosts": post(b"Host: evil.example.com"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(cluster: Cluster, pyngress: Controller, pod: Pod) -> AsyncIterator[Controller]:
    """A controller that serves :data:`SITE`."""
    await publish(cluster, "smuggling", SITE, [pod])
    await pyngress.becomes(SITE, 200, "pod")
    yield pyngress


@pytest.mark.parametrize("name", DOUBTFUL)
async def test_doubtful_requests_never_reach_a_pod(site: Controller, pod: Pod, name: str) -> None:
    """Behind a good request on the same connection, with a hidden one behind: only the good one gets through."""
    before = pod.requests
    client = await site.connect()
    client.send(get("/good", host=SITE))
    assert (await client.read_response())[1] == b"pod"
    client.send(DOUBTFUL[name] + SMUGGLED)
    answer = await client.read_to_end()
    client.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1") == 1
    assert (await ask(site, get("/after", host=SITE))).status == 200
    paths = [head.split(b" ", 2)[1] for head in pod.heads[before - pod.requests :]]
    assert paths == [b"/good", b"/after"]


async def test_refused_requests_are_counted(site: Controller) -> None:
    """``pyngress_bad_requests_total`` has one for each, so that an attack is seen."""

    async def counted() -> float:
        _, text = await site.ask("/metrics")
        return next(float(line.split(" ")[1]) for line in text.splitlines() if line.startswith(METRIC))

    before = await counted()
    for _ in range(3):
        assert (await ask(site, DOUBTFUL["two lengths"])).status == 400

    async def is_counted() -> bool:
        return await counted() == before + 3

    await until(is_counted, what="three more are counted")
