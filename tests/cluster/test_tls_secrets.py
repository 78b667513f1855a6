"""Certificates from Secrets: chosen by name, replaced under open connections, broken ones kept apart."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
import trustme

from tests.support.certificates import tls_secret
from tests.support.cluster import Cluster, until
from tests.support.controller import Controller
from tests.support.pods import Pod
from tests.support.site import ingress_of, publish, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTHORITY = trustme.CA()


def secret(name: str, *hosts: str, key: str | None = None) -> dict[str, Any]:
    return tls_secret(name, *hosts, authority=AUTHORITY, key=key)


class Connection:
    """A connection over TLS that is kept open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self.reader, self.writer, self.host = reader, writer, host

    @property
    def certificate(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.writer.get_extra_info("peercert")
        return shown

    @property
    def names(self) -> set[str]:
        return {name for _, name in self.certificate["subjectAltName"]}

    async def get(self) -> bytes:
        self.writer.write(f"GET / HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return await self.reader.readexactly(int(length.split(b":")[1]))

    async def close(self) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)


async def connect(pyngress: Controller, host: str) -> Connection:
    """Trusts our authority alone; the self-signed certificate is an ``ssl.SSLError``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    AUTHORITY.configure_trust(context)
    reader, writer = await asyncio.open_connection("127.0.0.1", pyngress.https, ssl=context, server_hostname=host)
    return Connection(reader, writer, host)


async def names(pyngress: Controller, host: str) -> set[str]:
    """In the certificate that a new connection is shown; empty: the self-signed one."""
    try:
        connection = await connect(pyngress, host)
    except ssl.SSLError:
        return set()
    await connection.close()
    return connection.names


async def shows(pyngress: Controller, host: str, *expected: str) -> None:
    async def is_shown() -> bool:
        return await names(pyngress, host) == set(expected)

    await until(is_shown, what=f"{host} is shown a certificate for {expected}")


def tls(secret_name: str, *hosts: str) -> list[dict[str, Any]]:
    return [{"hosts": [*hosts], "secretName": secret_name}]


async def test_certificates_are_chosen_by_the_name_that_the_client_asks_for(
    cluster: Cluster, pyngress: Controller, pod: Pod
) -> None:
    """Exact before wildcard; any other name gets the self-signed one."""
    await cluster.apply(secret("exact", "www.tls.example.com"), secret("wild", "*.tls.example.com"))
    await publish(cluster, "exact", "www.tls.example.com", [pod], tls=tls("exact", "www.tls.example.com"))
    await publish(cluster, "wild", "*.tls.example.com", [pod], tls=tls("wild", "*.tls.example.com"))
    await shows(pyngress, "www.tls.example.com", "www.tls.example.com")
    await shows(pyngress, "any.tls.example.com", "*.tls.example.com")
    await shows(pyngress, "elsewhere.example.net")


async def test_a_rotated_secret_is_shown_to_new_connections_and_cuts_no_old_one(
    cluster: Cluster, pyngress: Controller, pod: Pod
) -> None:
    """The connection from before goes on with its certificate."""
    host = "rotated.example.com"
    await cluster.apply(secret("rotated", host))
    await publish(cluster, "rotated", host, [pod], tls=tls("rotated", host))
    await shows(pyngress, host, host)
    before = await connect(pyngress, host)
    assert await before.get() == b"pod"
    await cluster.apply(secret("rotated", host, "also-" + host))
    await shows(pyngress, host, host, "also-" + host)
    assert await before.get() == b"pod"
    assert before.names == {host}
    await before.close()


async def test_a_secret_may_come_after_its_ingress_and_go_before_it(
    cluster: Cluster, pyngress: Controller, pod: Pod
) -> None:
    """Meanwhile the host is served with the self-signed certificate, and a Problem says so."""
    host = "late.example.com"
    await publish(cluster, "late", host, [pod], tls=tls("late", host))
    await pyngress.becomes(host, 308)
    assert await names(pyngress, host) == set()

    async def is_missing() -> bool:
        return "late" in (await pyngress.ask("/problems"))[1]

    await until(is_missing, what="that it was looked for in vain is a Problem")
    await cluster.apply(secret("late", host))
    await shows(pyngress, host, host)
    await cluster.delete("Secret", "late")
    await shows(pyngress, host)
    assert (await pyngress.get_tls(host)).body == "pod"


async def test_a_broken_secret_harms_no_other_host(cluster: Cluster, pyngress: Controller, pod: Pod) -> None:
    """A key that is none, beside a good one in the same Ingress; it heals when it is mended."""
    good, bad = "good.example.com", "bad.example.com"
    await cluster.apply(secret("good", good), secret("bad", bad, key="no key"))
    entries = [*tls("good", good), *tls("bad", bad)]
    await publish(cluster, "mixed", good, [pod], tls=entries)
    await publish(cluster, "mixed-bad", bad, [pod])
    await shows(pyngress, good, good)
    assert await names(pyngress, bad) == set()
    assert "bad" in (await pyngress.ask("/problems"))[1]
    await cluster.apply(secret("bad", bad))
    await shows(pyngress, bad, bad)


async def test_only_hosts_with_tls_are_redirected(cluster: Cluster, pyngress: Controller, pod: Pod) -> None:
    """308 to https, but for ACME challenges; a host without a tls section answers over http."""
    host = "secure.example.com"
    await cluster.apply(secret("secure", host))
    await publish(cluster, "secure", host, [pod], tls=tls("secure", host))
    await serve(cluster, "solver", [pod])
    challenge = ("Exact", "/.well-known/acme-challenge/token", "solver")
    await cluster.apply(ingress_of("solver", host, challenge))
    await publish(cluster, "open", "open.example.com", [pod])
    await pyngress.becomes(host, 308)
    answer = await pyngress.get(host, "/a?b=c")
    assert answer.headers["Location"] == f"https://{host}/a?b=c"
    await pyngress.becomes(host, 200, "pod", challenge[1])
    await pyngress.becomes("open.example.com", 200)


async def test_secrets_that_no_ingress_of_ours_names_are_never_read(
    cluster: Cluster, pyngress: Controller, pod: Pod
) -> None:
    """Neither by list nor by name, whatever else is in the namespace."""
    host = "named.example.com"
    await cluster.apply(secret("named", host), secret("unrelated", "x.example.com"))
    await publish(cluster, "named", host, [pod], tls=tls("named", host))
    await shows(pyngress, host, host)
    read = {each.name for each in cluster.emulated.requests(plural="secrets") if each.agent.startswith("pyngress/")}
    assert "named" in read
    assert not {"unrelated", ""} & read
