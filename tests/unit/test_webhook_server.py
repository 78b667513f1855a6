"""The admission webhook over real TLS: what it answers, and that nothing makes it fail."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import io
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingress.admin import webhook
from ingress.admin.admission import MAX_BODY
from ingress.admin.review import Judge
from ingress.admin.webhook import WebhookServer
from ingress.report.webhook_keys import make_keys, server_context
from ingress.resources import Ingress, ObjectRef, Problem
from tests.unit.test_admission_review import asked, ingress, problem

NAME = "pyngress.ingress.svc"
KEYS = make_keys((NAME,), now=datetime.datetime.now(datetime.UTC))


async def finds_nothing(_: Ingress) -> Sequence[Problem] | None:
    return ()


class Client:
    """Posts reviews as the API server does: by the name of the Service, trusting its authority alone."""

    def __init__(self, server: WebhookServer, session: aiohttp.ClientSession, port: int) -> None:
        self.server = server
        self.port = port
        self._session = session
        self._tls = ssl.create_default_context(cadata=KEYS.authorities)

    async def post(self, body: Any, **more: Any) -> tuple[int, bytes]:
        url = f"https://127.0.0.1:{self.port}/validate"
        async with self._session.post(url, data=body, ssl=self._tls, server_hostname=NAME, **more) as response:
            return response.status, await response.read()

    async def get(self, path: str) -> int:
        url = f"https://127.0.0.1:{self.port}{path}"
        async with self._session.get(url, ssl=self._tls, server_hostname=NAME) as response:
            return response.status

    async def send(self, *parts: bytes) -> bytes:
        """Raw bytes, with a pause between parts; the status line that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self._tls, server_hostname=NAME)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.05 if len(parts) > 1 else 0)
            return await reader.readline()
        finally:
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def serving(judge: Judge = finds_nothing, context: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    port = listening.getsockname()[1]
    server = WebhookServer(judge, context or server_context(KEYS), [listening])
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(server, session, port)
    finally:
        await server.close()


async def test_a_review_is_answered_over_tls_under_the_name_of_the_service() -> None:
    """Allowed and refused, each with the uid of its request, and counted."""

    async def judge(each: Ingress) -> Sequence[Problem] | None:
        return (problem("PathConflict"),) if each.spec.rules[0].host == "bad.example.com" else ()

    async with serving(judge) as client:
        good = await client.post(asked(ingress(), uid="u-7"))
        bad = await client.post(asked(ingress("bad.example.com"), uid="u-8"))
        assert await client.get("/healthz") == 200
        assert await client.get("/validate") == 405
    assert good[0] == bad[0] == 200
    assert msgspec.json.decode(good[1]) == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": "u-7", "allowed": True},
    }
    response = msgspec.json.decode(bad[1])["response"]
    assert (response["uid"], response["allowed"]) == ("u-8", False)
    counts = client.server.counts
    assert (counts.allowed, counts.refused, counts.failed) == (1, 1, 0)
    assert sum(counts.duration_counts) == 2
    assert counts.duration_total > 0


async def test_a_fault_of_ours_refuses_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """A judge that raises: allowed with a warning, and counted as failed."""

    async def judge(_: Ingress) -> Sequence[Problem] | None:
        raise RuntimeError("secret detail")

    async with serving(judge) as client:
        status, body = await client.post(asked(ingress()))
    response = msgspec.json.decode(body)["response"]
    assert (status, response["allowed"], client.server.counts.failed) == (200, True, 1)
    assert response["warnings"] == ["pyngress: Ingress shop/web was not checked; see the log of the ingress controller"]


async def test_a_judge_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server would give up later, and then its failure policy decides."""
    monkeypatch.setattr(webhook, "JUDGE_LIMIT", 0.05)

    async def judge(_: Ingress) -> Sequence[Problem] | None:
        await asyncio.Event().wait()
        return ()

    async with serving(judge) as client:
        async with asyncio.timeout(5):
            _, body = await client.post(asked(ingress()))
    assert msgspec.json.decode(body)["response"]["allowed"] is True


async def test_bad_bodies_get_4xx_with_a_reason() -> None:
    """No review: 400. Too large: 413, with and without a length that says so."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 65536 + 2):
            yield b" " * 65536

    async with serving() as client:
        assert await client.post(b"{}") == (
            400,
            b"not an AdmissionReview: Object missing required field `apiVersion`\n",
        )
        assert (await client.post(io.BytesIO(b" " * (MAX_BODY + 1))))[0] == 413
        assert (await client.post(chunks()))[0] == 413
        assert (await client.post(io.BytesIO(asked(ingress()).ljust(MAX_BODY))))[0] == 200
    assert client.server.counts.failed == 3


@pytest.mark.parametrize(
    "head",
    [
        b"Transfer-Encoding: chunked\r\n\r\n|1\r\n{\r\n|nonsense\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcdefgh",
        b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"Content-Encoding: br\r\nContent-Length: 4\r\n\r\nabcd",
        b"Content-Length: abc\r\n\r\n",
        b"Content-Type: \xff\xff\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
async def test_broken_framing_gets_4xx(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are no HTTP, or compressed ones, never become a 5xx. A later chunk that is broken never ends."""
    monkeypatch.setattr(webhook, "BODY_LIMIT", 0.3)
    async with serving() as client:
        async with asyncio.timeout(10):
            answer = await client.send(
                *(b"POST /validate HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + head).split(b"|")
            )
        assert answer.split()[1] in (b"400", b"408"), answer
        assert (await client.post(asked(ingress())))[0] == 200


async def test_a_compressed_body_is_not_unfolded() -> None:
    """However good the review inside: a small body could become a huge one."""
    async with serving() as client:
        status, _ = await client.post(gzip.compress(asked(ingress())), headers={"Content-Encoding": "gzip"})
    assert status == 400


async def test_a_client_that_leaves_amid_its_body_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    """No error in the log, and the next one is served."""
    async with serving() as client:
        tls = ssl.create_default_context(cadata=KEYS.authorities)
        _, writer = await asyncio.open_connection("127.0.0.1", client.port, ssl=tls, server_hostname=NAME)
        writer.write(b"POST /validate HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
        await asyncio.sleep(0.05)
        assert (await client.post(asked(ingress())))[0] == 200
    assert [each for each in caplog.records if each.levelno >= logging.ERROR] == []


async def test_a_slow_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a body does not hold a connection for long."""
    monkeypatch.setattr(webhook, "BODY_LIMIT", 0.05)
    async with serving() as client:
        async with asyncio.timeout(10):
            answer = await client.send(b"POST /validate HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408")


# ---- fuzz

ODD = st.sampled_from(
    [
        "",
        "Ingress",
        "pyngress",
        "*.example.com",
        "a.example.com",
        "\x00\x1b[31m",
        "\u202eevil",
        "x" * 5000,
        "-",
        "${jndi}",
    ]
)
LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | ODD
ANYTHING = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD | st.text(), inner, max_size=3)
)


def or_odd(value: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return value | ANYTHING


BACKENDS = or_odd(
    st.fixed_dictionaries(
        {},
        optional={
            "service": or_odd(
                st.fixed_dictionaries(
                    {}, optional={"name": ODD, "port": or_odd(st.fixed_dictionaries({}, optional={"number": ANYTHING}))}
                )
            ),
            "resource": ANYTHING,
        },
    )
)
PATHS = or_odd(st.fixed_dictionaries({"backend": BACKENDS}, optional={"path": ODD, "pathType": ODD}))
RULES = or_odd(
    st.fixed_dictionaries(
        {},
        optional={"host": ODD, "http": or_odd(st.fixed_dictionaries({"paths": or_odd(st.lists(PATHS, max_size=2))}))},
    )
)
SPECS = or_odd(
    st.fixed_dictionaries(
        {},
        optional={
            "ingressClassName": ODD,
            "rules": or_odd(st.lists(RULES, max_size=2)),
            "tls": or_odd(st.lists(ANYTHING, max_size=2)),
            "defaultBackend": BACKENDS,
        },
    )
)
METADATA = or_odd(
    st.fixed_dictionaries(
        {},
        optional={
            "name": or_odd(ODD),
            "namespace": or_odd(ODD),
            "generateName": or_odd(ODD),
            "annotations": or_odd(st.dictionaries(ODD | st.just("kubernetes.io/ingress.class"), ODD, max_size=2)),
            "labels": ANYTHING,
            "deletionTimestamp": ANYTHING,
            "managedFields": ANYTHING,
        },
    )
)
KINDS = st.sampled_from(["Ingress", "TrafficPolicy", "Response", "IngressClassParameters"])
OBJECTS = st.none() | st.fixed_dictionaries(
    {}, optional={"metadata": METADATA, "spec": SPECS, "kind": or_odd(KINDS), "apiVersion": ODD}
)
REVIEWS = st.fixed_dictionaries(
    {
        "new": or_odd(OBJECTS),
        "old": or_odd(OBJECTS),
        "operation": st.sampled_from(["CREATE", "UPDATE", "DELETE", "PATCH"]),
        "kind": st.fixed_dictionaries(
            {
                "group": st.sampled_from(["networking.k8s.io", "pyngress.io", ""]),
                "version": ODD | st.just("v1"),
                "kind": KINDS,
            }
        ),
        "name": ODD,
        "namespace": ODD,
    }
)


async def check_answers(bodies: Sequence[bytes]) -> None:
    async def judge(each: Ingress) -> Sequence[Problem] | None:
        ref = ObjectRef(kind="Ingress", namespace=each.metadata.namespace, name=each.metadata.name)
        return [Problem(object=ref, field="spec", reason="PathConflict", message=repr(each.spec))]

    async with serving(judge) as client:
        for body in bodies:
            status, answer = await client.post(body)
            assert status in (200, 400), answer
            assert len(answer) < 40_000
            if status == 200:
                response = msgspec.json.decode(answer)["response"]
                texts = [*response.get("warnings", ()), *response.get("status", {}).get("message", "").split("\n")]
                assert all(text.isprintable() for text in texts)
                assert not any("not checked" in text for text in texts), "something raised"
            else:
                assert answer.decode().strip().isprintable()


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(REVIEWS, min_size=1, max_size=20))
def test_no_object_makes_it_fail(reviews: list[dict[str, Any]]) -> None:
    """Whatever stands where in an object: a verdict or 400, printable and bounded, and never an exception inside."""
    bodies = [
        asked(each["new"], each["old"], **{k: v for k, v in each.items() if k not in ("new", "old")})
        for each in reviews
    ]
    asyncio.run(check_answers(bodies))


@settings(max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.binary(max_size=200)
        | ANYTHING.map(msgspec.json.encode)
        | st.tuples(st.integers(0, 600), st.binary(max_size=3)).map(
            lambda cut: asked(ingress())[: cut[0]] + cut[1] + asked(ingress())[cut[0] + len(cut[1]) :]
        ),
        min_size=1,
        max_size=40,
    )
)
def test_no_body_makes_it_fail(bodies: list[bytes]) -> None:
    """Bytes at random, JSON at random, and a good review with bytes changed."""
    asyncio.run(check_answers(bodies))
