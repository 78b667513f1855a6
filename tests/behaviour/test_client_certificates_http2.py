"""Hosts that ask their clients for certificates, over HTTP/2: many requests on a connection that was judged once, and
clients that take one connection for several hosts."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import unquote

import msgspec
import pytest
import trustme
from cryptography import x509

from proxy.table import Respond, Settings
from tests.behaviour.test_client_certificates import (
    ALICE,
    BOB,
    CA,
    EXPIRED,
    FOREIGN,
    FOREIGN_EXPIRED,
    OPEN,
    STRANGER,
    VERSIONS,
    asking,
    client_with,
    name_of,
    rest_of,
    rules,
    told,
)
from tests.behaviour.test_grpc_errors import call, is_error
from tests.behaviour.test_tls_termination import OK
from tests.support.backend import fixed, raw_backend
from tests.support.clients import within
from tests.support.failing import eventually
from tests.support.http2 import Answer, Http2Client, http2_client
from tests.support.proxy import HOST, RunningProxy, running_proxy

pytestmark = pytest.mark.usefixtures("http2_codec")

WILD = "a.wild.example.com"
"""Another host with the same rules."""
THERE = Respond(status=200, reason="")


@asynccontextmanager
async def client_of(
    proxy: RunningProxy,
    certificate: trustme.LeafCert | None,
    *,
    name: str | None = HOST,
    version: ssl.TLSVersion | None = None,
) -> AsyncIterator[Http2Client]:
    """A connection for the host ``name``, on which HTTP/2 was agreed."""
    context = client_with(certificate, version)
    context.set_alpn_protocols(["h2"])
    async with http2_client(proxy, tls_context=context, server_hostname=name or "") as client:
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
        yield client


async def ask(proxy: RunningProxy, certificate: trustme.LeafCert | None, *fields: tuple[bytes, bytes]) -> Answer:
    """One request on a connection of its own."""
    async with client_of(proxy, certificate) as client:
        return await client.get("/", *fields)


@VERSIONS
async def test_only_who_shows_a_good_certificate_is_let_in(version: ssl.TLSVersion) -> None:
    """All requests of a connection have one verdict: 400 without a good certificate, as answers of HTTP/2 that leave
    the connection as it is; nothing of those reaches the backend."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(asking(backend.port)) as proxy:
        for certificate, words in (
            (None, b"No required SSL certificate was sent."),
            (FOREIGN, b"The SSL certificate error"),
            (EXPIRED, b"The SSL certificate error"),
        ):
            async with client_of(proxy, certificate, version=version) as client:
                for stream in [client.ask() for _ in range(3)]:
                    answer = await client.answer(stream)
                    assert (answer.status, answer.ended, words in answer.body) == (400, True, True)
                assert not client.goaways
        assert backend.heads == []
        async with client_of(proxy, ALICE, version=version) as client:
            for stream in [client.ask() for _ in range(3)]:
                assert (await client.answer(stream)).status == 200
        assert len(backend.heads) == 3
        assert told(backend) == {
            "ssl-client-verify": "SUCCESS",
            "ssl-client-subject-dn": f"CN=alice,{rest_of(ALICE)}O=Acme\\, Inc.",
            "ssl-client-issuer-dn": name_of(CA),
        }


@VERSIONS
@pytest.mark.parametrize("certificate", [None, FOREIGN, EXPIRED])
async def test_the_handshake_can_refuse_instead(certificate: trustme.LeafCert | None, version: ssl.TLSVersion) -> None:
    """With the switch a client without a good certificate hears not even SETTINGS; with one, it is served."""
    async with running_proxy(asking(1, rules(refuse_in_handshake=True), action=THERE)) as proxy:
        context = client_with(certificate, version)
        context.set_alpn_protocols(["h2"])
        heard = b""
        with pytest.raises((ssl.SSLError, ConnectionError)):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", proxy.tls_port, ssl=context, server_hostname=HOST
            )
            try:
                heard = await within(reader.read(1))
                raise ConnectionError
            finally:
                writer.transport.abort()
        assert heard == b""
        await eventually(lambda: proxy.worker.telemetry.tls_handshake_failures == 1, "it is counted")
        assert proxy.worker.telemetry.http2_connections == 0
        assert (await ask(proxy, ALICE)).status == 200


async def test_optional_certificates_are_judged_where_they_are_shown() -> None:
    """None is fine, and told; a bad one is 400 all the same."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(asking(backend.port, rules(mode="optional"))) as proxy:
        assert (await ask(proxy, None)).status == 200
        assert told(backend) == {"ssl-client-verify": "NONE"}
        assert (await ask(proxy, FOREIGN)).status == 400
        assert (await ask(proxy, ALICE)).status == 200
        assert told(backend)["ssl-client-verify"] == "SUCCESS"


async def test_certificates_of_unknown_authorities_are_passed_on_where_the_rules_say_so() -> None:
    """``optional_no_ca`` overlooks who signed, and says so to the backend; it does not overlook dates."""
    asked = rules(mode="optional_no_ca")
    async with raw_backend(fixed(OK)) as backend, running_proxy(asking(backend.port, asked)) as proxy:
        assert (await ask(proxy, FOREIGN)).status == 200
        assert told(backend)["ssl-client-verify"] == "FAILED:unable to verify the first certificate"
        assert (await ask(proxy, None)).status == 200
        assert (await ask(proxy, FOREIGN_EXPIRED)).status == 400


async def test_the_subject_must_match() -> None:
    """403 for one that does not."""
    async with running_proxy(asking(1, rules(match_subject="CN=alice"), action=THERE)) as proxy:
        assert [(await ask(proxy, who)).status for who in (ALICE, BOB)] == [200, 403]


@pytest.mark.parametrize("trusted", [(), ("127.0.0.1",)])
async def test_the_certificate_is_passed_on_and_no_word_of_the_client(trusted: tuple[str, ...]) -> None:
    """PEM, percent-encoded in one line; fields of these names that the client sent are gone, whoever it is."""
    forged = [(b"ssl-client-cert", b"mine"), (b"ssl-client-verify", b"FAILED")]
    async with raw_backend(fixed(OK)) as backend:
        table = asking(backend.port, rules(pass_certificate=True))
        settings = Settings(access_log="off", trusted_proxies=trusted)
        async with running_proxy(msgspec.structs.replace(table, settings=settings)) as proxy:
            assert (await ask(proxy, ALICE, *forged)).status == 200
    assert told(backend)["ssl-client-verify"] == "SUCCESS"
    passed = x509.load_pem_x509_certificate(unquote(told(backend)["ssl-client-cert"]).encode())
    assert passed == x509.load_pem_x509_certificate(ALICE.cert_chain_pems[0].bytes())
    assert backend.heads[0].lower().count(b"\r\nssl-client-verify:") == 1
    assert backend.heads[0].lower().count(b"\r\nssl-client-cert:") == 1


@pytest.mark.parametrize("certificate", [None, ALICE])
@pytest.mark.parametrize(
    ("name", "host"), [(OPEN, HOST), (OPEN, WILD), (WILD, HOST), (HOST, WILD), (WILD, "b.wild.example.com")]
)
async def test_a_connection_made_for_another_host_is_no_way_in(
    name: str, host: str, certificate: trustme.LeafCert | None
) -> None:
    """421, also where the server's certificate covers both and both have the same rules, whatever was shown: browsers
    then make a connection of its own for that host. What else is on this one goes on."""
    async with running_proxy(asking(1, action=THERE)) as proxy, client_of(proxy, certificate, name=name) as client:
        own = 200 if certificate is ALICE or name == OPEN else 400
        assert (await client.get(host=name)).status == own
        for _ in range(2):
            assert (await client.get(host=host)).status == 421
        assert (await client.get(host=name)).status == own
        assert not client.goaways


async def test_a_client_without_a_server_name_is_asked_for_no_host() -> None:
    """421: nothing was asked, so nothing was shown."""
    async with running_proxy(asking(1, action=THERE)) as proxy, client_of(proxy, ALICE, name=None) as client:
        assert (await client.get()).status == 421


async def test_a_connection_of_a_host_that_asks_serves_hosts_that_do_not() -> None:
    """They take what the certificate of the server covers, as from any connection."""
    async with running_proxy(asking(1, action=THERE)) as proxy, client_of(proxy, ALICE, name=WILD) as client:
        assert (await client.get(host=WILD)).status == 200
        assert (await client.get(host=OPEN)).status == 200


async def test_a_change_of_the_rules_reaches_open_connections() -> None:
    """What is under way ends under the rules that it came by; the next request must come by a new connection."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(asking(backend.port)) as proxy:
        async with client_of(proxy, ALICE) as client:
            upload = client.ask(call(kind=b"text/plain"), end=False)
            await eventually(lambda: proxy.worker.runtime.active == 1, "the request is under way")
            proxy.publish(asking(backend.port, rules(ca_pem=STRANGER.cert_pem.bytes().decode())))
            assert (await client.get()).status == 421
            client.send(upload, b"x", end=True)
            assert (await client.answer(upload)).status == 200
        assert (await ask(proxy, ALICE)).status == 400
        assert (await ask(proxy, FOREIGN)).status == 200


async def test_a_call_of_grpc_without_a_certificate_gets_its_own_error() -> None:
    """Status 13, which stands for 400; 14 for 421, since it may be called again on another connection."""
    async with running_proxy(asking(1, action=THERE)) as proxy, client_of(proxy, None) as client:
        is_error(await client.answer(client.ask(call())), 13)
        is_error(await client.answer(client.ask(call(host=WILD))), 14)
