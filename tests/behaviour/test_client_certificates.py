"""Hosts that ask their clients for certificates, on real sockets: who is let in, and what backends are told."""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import Callable
from urllib.parse import unquote

import msgspec
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from proxy.table import (
    ClientCertificates,
    Cluster,
    Endpoint,
    Forward,
    Host,
    HostPattern,
    PathKind,
    Respond,
    Route,
    Settings,
    Table,
)
from tests.behaviour.test_tls_termination import AUTHORITY, EXACT, FALLBACK, OK, WILD
from tests.support.backend import Backend, fixed, raw_backend
from tests.support.clients import Reply, get, parse_request, read_reply, within
from tests.support.proxy import HOST, RawClient, RunningProxy, running_proxy

OPEN = "open.example.com"
"""A host on the same listener that asks nothing."""
CA = trustme.CA(organization_name="Acme")
CHILD = CA.create_child_ca()
STRANGER = trustme.CA(organization_name="Stranger")
PEM = CA.cert_pem.bytes().decode()
YESTERDAY = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)

ALICE = CA.issue_cert("alice@example.com", common_name="alice", organization_name="Acme, Inc.")
BOB = CA.issue_cert("bob@example.com", common_name="bob")
EXPIRED = CA.issue_cert("late@example.com", common_name="late", not_after=YESTERDAY)
GRANDCHILD = CHILD.issue_cert("far@example.com", common_name="far")
FOREIGN = STRANGER.issue_cert("eve@example.com", common_name="alice")
FOREIGN_EXPIRED = STRANGER.issue_cert("eve@example.com", common_name="eve", not_after=YESTERDAY)

RULES = ClientCertificates(ca_pem=PEM)


def rules(**changes: object) -> ClientCertificates:
    return msgspec.structs.replace(RULES, **changes)


def asking(port: int, asked: ClientCertificates | None = RULES, **route: object) -> Table:
    """HOST with these rules, ``*.wild.example.com`` with them too, OPEN without any; one backend for all."""
    to_backend = Route(**{"action": Forward(cluster="c"), **route})
    hosts: dict[HostPattern, Host] = {
        HOST: Host(routes=(to_backend,), client_certificates=asked),
        "*.wild.example.com": Host(routes=(to_backend,), client_certificates=asked),
        OPEN: Host(routes=(to_backend,)),
    }
    return Table(
        hosts=hosts,
        clusters={"c": Cluster(endpoints=(Endpoint(address="127.0.0.1", port=port),))},
        certificates={"exact": EXACT, "wild": WILD, "fallback": FALLBACK},
        server_names={HOST: "exact", "*.example.com": "wild"},
        default_certificate="fallback",
        settings=Settings(access_log="off"),
    )


def client_with(certificate: trustme.LeafCert | None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    AUTHORITY.configure_trust(context)
    context.check_hostname = False
    if certificate is not None:
        certificate.configure_cert(context)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


async def ask(
    proxy: RunningProxy,
    certificate: trustme.LeafCert | None,
    *fields: str,
    name: str | None = HOST,
    host: str = HOST,
    path: str = "/",
    version: ssl.TLSVersion | None = None,
) -> Reply:
    """One request on a connection of its own."""
    client = await proxy.connect(tls_context=client_with(certificate, version), server_hostname=name or "")
    client.send(get(path, *fields, host=host))
    try:
        return await read_reply(client)
    finally:
        client.close()


def told(backend: Backend) -> dict[str, str]:
    """What the backend was told with the last request."""
    fields = parse_request(backend.heads[-1]).fields
    return {name: value for name, value in fields.items() if name.startswith("ssl-client")}


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


@VERSIONS
async def test_only_who_shows_a_good_certificate_is_let_in(version: ssl.TLSVersion) -> None:
    """No certificate, one of another authority and one out of date get 400 and never reach the backend."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(asking(backend.port)) as proxy:
        assert (await ask(proxy, ALICE, version=version)).status == 200
        assert told(backend) == {
            "ssl-client-verify": "SUCCESS",
            "ssl-client-subject-dn": f"CN=alice,{rest_of(ALICE)}O=Acme\\, Inc.",
            "ssl-client-issuer-dn": name_of(CA),
        }
        missing = await ask(proxy, None, version=version)
        assert (missing.status, b"No required SSL certificate was sent." in missing.body) == (400, True)
        for bad in (FOREIGN, EXPIRED):
            reply = await ask(proxy, bad, version=version)
            assert (reply.status, b"The SSL certificate error" in reply.body) == (400, True)
        assert len(backend.heads) == 1


def rest_of(leaf: trustme.LeafCert) -> str:
    """What the test library puts between the common name and the organization."""
    subject = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).subject
    return "".join(f"OU={unit.value}," for unit in subject if unit.rfc4514_attribute_name == "OU")


def name_of(authority: trustme.CA) -> str:
    return x509.load_pem_x509_certificate(authority.cert_pem.bytes()).subject.rfc4514_string()


@VERSIONS
@pytest.mark.parametrize("certificate", [None, FOREIGN, EXPIRED])
async def test_the_handshake_can_refuse_instead(certificate: trustme.LeafCert | None, version: ssl.TLSVersion) -> None:
    """With the switch, no HTTP is spoken to a client without a good certificate; with one, it is."""
    table = asking(1, rules(refuse_in_handshake=True), action=Respond(status=200, reason=""))
    async with running_proxy(table) as proxy:
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await ask(proxy, certificate, version=version)
        assert (await ask(proxy, ALICE, version=version)).status == 200


async def test_optional_certificates_are_judged_where_they_are_shown() -> None:
    """None is fine, and told; a bad one is 400 all the same, as in nginx."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(asking(backend.port, rules(mode="optional"))) as proxy:
        assert (await ask(proxy, None)).status == 200
        assert told(backend) == {"ssl-client-verify": "NONE"}
        assert (await ask(proxy, FOREIGN)).status == 400
        assert (await ask(proxy, ALICE)).status == 200
        assert told(backend)["ssl-client-verify"] == "SUCCESS"


async def test_certificates_of_unknown_authorities_are_passed_on_where_the_rules_say_so() -> None:
    """``optional_no_ca`` overlooks who signed, and says so to the backend; it does not overlook dates."""
    async with raw_backend(fixed(OK)) as backend:
        table = asking(backend.port, rules(mode="optional_no_ca"))
        async with running_proxy(table) as proxy:
            assert (await ask(proxy, FOREIGN)).status == 200
            assert told(backend)["ssl-client-verify"] == "FAILED:unable to verify the first certificate"
            assert told(backend)["ssl-client-subject-dn"].startswith("CN=alice,")
            assert (await ask(proxy, None)).status == 200
            assert (await ask(proxy, FOREIGN_EXPIRED)).status == 400
            assert (await ask(proxy, EXPIRED)).status == 400


@pytest.mark.parametrize(("depth", "status"), [(0, 400), (1, 200)])
async def test_the_length_of_chains_is_bounded(depth: int, status: int) -> None:
    """A certificate with one authority between it and a trusted one needs a depth of one."""
    table = asking(1, rules(verify_depth=depth), action=Respond(status=200, reason=""))
    async with running_proxy(table) as proxy:
        assert (await ask(proxy, GRANDCHILD)).status == status
        assert (await ask(proxy, ALICE)).status == 200


async def test_revoked_certificates_are_refused() -> None:
    """The list of the Secret counts from the first handshake on."""
    table = asking(1, rules(crl_pem=revoking(BOB)), action=Respond(status=200, reason=""))
    async with running_proxy(table) as proxy:
        assert (await ask(proxy, BOB)).status == 400
        assert (await ask(proxy, ALICE)).status == 200


def revoking(leaf: trustme.LeafCert) -> str:
    """A list of CA that revokes ``leaf``."""
    key = serialization.load_pem_private_key(CA.private_key_pem.bytes(), None)
    now = datetime.datetime.now(datetime.UTC)
    serial = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes()).serial_number
    entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(YESTERDAY).build()
    made = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.load_pem_x509_certificate(CA.cert_pem.bytes()).subject)
        .last_update(YESTERDAY)
        .next_update(now + datetime.timedelta(days=1))
        .add_revoked_certificate(entry)
        .sign(key, hashes.SHA256())  # type: ignore[arg-type]  # an EC key, which the loader does not promise
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("expression", "alice", "bob"), [("CN=alice", 200, 403), ("CN=(alice|bob),", 200, 200), ("^O=", 403, 403)]
)
async def test_the_subject_must_match(expression: str, alice: int, bob: int) -> None:
    """Anywhere in the subject unless the expression is anchored; otherwise 403."""
    table = asking(1, rules(match_subject=expression), action=Respond(status=200, reason=""))
    async with running_proxy(table) as proxy:
        assert ((await ask(proxy, ALICE)).status, (await ask(proxy, BOB)).status) == (alice, bob)


async def test_who_shows_nothing_matches_nothing() -> None:
    """An expression that matches the empty text lets nobody in who has no subject."""
    table = asking(1, rules(mode="optional", match_subject="CN="), action=Respond(status=200, reason=""))
    async with running_proxy(table) as proxy:
        assert (await ask(proxy, None)).status == 403
        assert (await ask(proxy, ALICE)).status == 200


async def test_an_expression_that_is_none_closes_the_host() -> None:
    """503, never open."""
    table = asking(1, rules(match_subject="(?=x)"), action=Respond(status=200, reason=""))
    async with running_proxy(table) as proxy:
        assert (await ask(proxy, ALICE)).status == 503


async def test_the_certificate_is_passed_on_where_the_rules_say_so() -> None:
    """PEM, percent-encoded in one line."""
    asked = rules(pass_certificate=True)
    async with raw_backend(fixed(OK)) as backend, running_proxy(asking(backend.port, asked)) as proxy:
        await ask(proxy, ALICE)
    passed = unquote(told(backend)["ssl-client-cert"])
    shown = ALICE.cert_chain_pems[0].bytes()
    assert x509.load_pem_x509_certificate(passed.encode()) == x509.load_pem_x509_certificate(shown)


@pytest.mark.parametrize("trusted", [(), ("127.0.0.1",)])
@pytest.mark.parametrize("name", ["ssl-client-verify", "SSL-Client-Subject-DN", "ssl-client-cert", "ssl_client_verify"])
async def test_a_client_cannot_tell_the_backend_itself(name: str, trusted: tuple[str, ...]) -> None:
    """Whatever the client writes is gone, in any spelling, also where the peer is believed otherwise."""
    async with raw_backend(fixed(OK)) as backend:
        table = asking(backend.port, rules(mode="optional"))
        settings = Settings(access_log="off", trusted_proxies=trusted, allow_underscores=True)
        async with running_proxy(msgspec.structs.replace(table, settings=settings)) as proxy:
            assert (await ask(proxy, None, f"{name}: SUCCESS")).status == 200
            assert told(backend) == {"ssl-client-verify": "NONE"}
            assert "ssl_client_verify" not in parse_request(backend.heads[-1]).fields


@pytest.mark.parametrize(("trusted", "passes"), [((), False), (("127.0.0.1",), True)])
async def test_hosts_that_ask_nothing_believe_only_trusted_proxies(trusted: tuple[str, ...], passes: bool) -> None:
    """A backend behind two hosts must not be told by clients of the open one that they showed a certificate."""
    async with raw_backend(fixed(OK)) as backend:
        table = msgspec.structs.replace(
            asking(backend.port), settings=Settings(access_log="off", trusted_proxies=trusted)
        )
        async with running_proxy(table) as proxy:
            assert (await ask(proxy, None, "ssl-client-verify: SUCCESS", name=OPEN, host=OPEN)).status == 200
            assert told(backend) == ({"ssl-client-verify": "SUCCESS"} if passes else {})


@pytest.mark.parametrize("certificate", [None, ALICE])
@pytest.mark.parametrize(
    ("name", "host"),
    [
        (OPEN, HOST),
        ("a.wild.example.com", HOST),
        (HOST, "a.wild.example.com"),
        ("a.wild.example.com", "b.wild.example.com"),
        ("nowhere.example.org", HOST),
        (None, HOST),
    ],
)
async def test_another_server_name_is_no_way_in(
    name: str | None, host: str, certificate: trustme.LeafCert | None
) -> None:
    """421 and a closed connection, whatever was shown to that other name."""
    async with running_proxy(asking(1, action=Respond(status=200, reason=""))) as proxy:
        client = await proxy.connect(tls_context=client_with(certificate), server_hostname=name or "")
        client.send(get(host=host))
        assert (await read_reply(client)).status == 421
        assert await client.read_to_end() == b""
        client.close()


async def test_clients_without_a_server_name_are_asked_by_the_host_for_all_names() -> None:
    """What they show there opens no other host, even one with the same rules."""
    table = asking(1, action=Respond(status=200, reason=""))
    table = msgspec.structs.replace(table, hosts=table.hosts | {"*": table.hosts[HOST]})
    async with running_proxy(table) as proxy:
        assert (await ask(proxy, ALICE, name=None, host="127.0.0.1")).status == 200
        assert (await ask(proxy, None, name=None, host="127.0.0.1")).status == 400
        assert (await ask(proxy, ALICE, name=None, host=HOST)).status == 421


@pytest.mark.parametrize("host", [HOST.upper(), f"{HOST}:443", f"{HOST}."])
async def test_spellings_of_the_host_are_the_same_host(host: str) -> None:
    """Case, port and a trailing dot are no other name; neither is the case of the server name."""
    async with running_proxy(asking(1, action=Respond(status=200, reason=""))) as proxy:
        assert (await ask(proxy, ALICE, name=HOST.upper(), host=host)).status == 200
        assert (await ask(proxy, None, name=HOST, host=host)).status == 400


async def test_other_hosts_of_the_listener_ask_nothing() -> None:
    """Their clients are not even asked, so that no browser shows a dialogue; and requests go through."""
    async with running_proxy(asking(1, action=Respond(status=200, reason=""))) as proxy:
        assert (await ask(proxy, ALICE, name=OPEN, host=OPEN)).status == 200
        assert await request_for_certificate(proxy, OPEN) == b""
        # Browsers choose among their certificates by the names of authorities.
        authority = x509.load_pem_x509_certificate(CA.cert_pem.bytes()).subject.public_bytes()
        assert authority in await request_for_certificate(proxy, HOST)


async def request_for_certificate(proxy: RunningProxy, name: str) -> bytes:
    """The CertificateRequest in the server's first flight in TLS 1.2 (RFC 5246 section 7.4.4); empty: there is none."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = client_with(None, ssl.TLSVersion.TLSv1_2)
    seen: list[bytes] = []
    context._msg_callback = lambda *message: (  # type: ignore[attr-defined]  # how CPython tests its own messages
        seen.append(message[5]) if "CERTIFICATE_REQUEST" in repr(message[4]) else None
    )
    shake = context.wrap_bio(into, out, server_hostname=name)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.tls_port)
    while True:
        try:
            shake.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(out.read())
            into.write(await within(reader.read(65536)))
    writer.transport.abort()
    return b"".join(seen)


@pytest.mark.parametrize("first", [HOST, OPEN])
@VERSIONS
async def test_no_session_is_resumed_on_a_host_that_asks(first: str, version: ssl.TLSVersion) -> None:
    """Neither one of its own nor one of another name: each connection shows its certificate, or none."""
    async with running_proxy(asking(1, action=Respond(status=200, reason=""))) as proxy:
        proxy.worker.certificates.use_ticket_keys(bytes(range(80)))
        context = client_with(None, version)
        given = await session_of(proxy, context, OPEN, None)
        assert (await resumed(proxy, context, OPEN, given))[0], "other hosts do resume"
        session = await session_of(proxy, context, first, None)
        reused, status = await resumed(proxy, context, HOST, session)
        assert (reused, status) == (False, 400)


async def session_of(
    proxy: RunningProxy, context: ssl.SSLContext, name: str, session: ssl.SSLSession | None
) -> ssl.SSLSession | None:
    """What the server gives out for later connections."""
    return (await on_socket(proxy, context, name, session))[0]


async def resumed(
    proxy: RunningProxy, context: ssl.SSLContext, name: str, session: ssl.SSLSession | None
) -> tuple[bool, int]:
    """Whether the session was taken up, and the status of a request."""
    return (await on_socket(proxy, context, name, session))[1:]


async def on_socket(
    proxy: RunningProxy, context: ssl.SSLContext, name: str, session: ssl.SSLSession | None
) -> tuple[ssl.SSLSession | None, bool, int]:
    """One request, by a client that knows sessions."""

    def talk() -> tuple[ssl.SSLSession | None, bool, int]:
        with (
            socket.create_connection(("127.0.0.1", proxy.tls_port)) as plain,
            context.wrap_socket(plain, server_hostname=name, session=session) as secure,
        ):
            secure.sendall(get(host=name))
            status = int(secure.recv(65536).split(b" ")[1])
            return secure.session, bool(secure.session_reused), status

    return await asyncio.get_running_loop().run_in_executor(None, talk)


Change = Callable[[int], Table]


@pytest.mark.parametrize(
    "after",
    [
        lambda port: asking(port, rules(ca_pem=STRANGER.cert_pem.bytes().decode())),
        lambda port: asking(port, rules(crl_pem=revoking(ALICE))),
        lambda port: asking(port, rules(mode="optional")),
    ],
    ids=["authority", "revoked", "mode"],
)
async def test_a_change_of_the_rules_reaches_kept_connections(after: Change) -> None:
    """What a connection showed under other rules is not judged by the new ones: it must come again."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(asking(backend.port)) as proxy:
        client = await proxy.connect(tls_context=client_with(ALICE), server_hostname=HOST)
        client.send(get())
        assert (await read_reply(client)).status == 200
        proxy.publish(after(backend.port))
        client.send(get())
        assert (await read_reply(client)).status == 421
        client.close()
        assert len(backend.heads) == 1


async def test_new_authorities_count_from_the_next_connection_on() -> None:
    """The old ones no longer do."""
    there = Respond(status=200, reason="")
    async with running_proxy(asking(1, action=there)) as proxy:
        assert [(await ask(proxy, who)).status for who in (ALICE, FOREIGN)] == [200, 400]
        proxy.publish(asking(1, rules(ca_pem=STRANGER.cert_pem.bytes().decode()), action=there))
        assert [(await ask(proxy, who)).status for who in (ALICE, FOREIGN)] == [400, 200]


async def test_other_changes_leave_kept_connections_alone() -> None:
    """A table that is new elsewhere changes no verdict."""
    there = Respond(status=200, reason="")
    async with running_proxy(asking(1, action=there)) as proxy:
        client = await proxy.connect(tls_context=client_with(ALICE), server_hostname=HOST)
        for number in range(3):
            client.send(get())
            assert (await read_reply(client)).status == 200
            proxy.publish(msgspec.structs.replace(asking(1, action=there), settings=Settings(max_retries=number)))
        client.close()


async def test_a_host_that_begins_to_ask_is_closed_to_old_connections() -> None:
    """They were asked nothing, so they showed nothing."""
    there = Respond(status=200, reason="")
    async with running_proxy(asking(1, None, action=there)) as proxy:
        client = await proxy.connect(tls_context=client_with(ALICE), server_hostname=HOST)
        client.send(get())
        assert (await read_reply(client)).status == 200
        proxy.publish(asking(1, action=there))
        client.send(get())
        assert (await read_reply(client)).status == 421
        client.close()


async def plain(proxy: RunningProxy, *fields: str, path: str = "/") -> Reply:
    client = await proxy.connect()
    client.send(get(path, *fields))
    try:
        return await read_reply(client)
    finally:
        client.close()


async def test_plain_text_is_no_way_in() -> None:
    """Nothing can be shown there: 400, or the redirect where there is one."""
    there = Respond(status=200, reason="")
    async with running_proxy(asking(1, action=there)) as proxy:
        assert (await plain(proxy)).status == 400
        proxy.publish(asking(1, action=there, https_redirect=True))
        assert (await plain(proxy)).status == 308


CHALLENGES = "/.well-known/acme-challenge"


def challenged(*, path: str, kind: PathKind = "prefix", redirect: bool = False) -> Table:
    """A host that asks, with an application for all paths and a solver of challenges for one; no backends."""
    app = Route(action=Respond(status=200, reason="", body="app"), https_redirect=redirect)
    solver = Route(path=path, kind=kind, action=Respond(status=200, reason="", body="solver"), https_redirect=redirect)
    host = Host(routes=(app, solver), client_certificates=rules(match_subject="CN=alice"))
    return msgspec.structs.replace(asking(1), hosts={HOST: host})


@pytest.mark.parametrize("redirect", [False, True])
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (f"{CHALLENGES}/token", "exact"),
        (f"{CHALLENGES}/token", "prefix"),
        (f"{CHALLENGES}/", "prefix"),
        (CHALLENGES, "prefix"),
    ],
)
async def test_a_challenge_reaches_its_solver_in_plain_text(path: str, kind: PathKind, redirect: bool) -> None:
    """A certificate authority has no certificate to show; what has a route of its own is answered, also where plain
    text is redirected. Over TLS it takes a certificate, as everything."""
    async with running_proxy(challenged(path=path, kind=kind, redirect=redirect)) as proxy:
        for spelling in (f"{CHALLENGES}/token", "/.well-known//acme-challenge/%74oken", f"/x/..{CHALLENGES}/./token"):
            assert (await plain(proxy, path=spelling)).body == b"solver"
        assert (await ask(proxy, None, path=f"{CHALLENGES}/token")).status == 400
        assert (await ask(proxy, None, path=f"{CHALLENGES}/token", name="")).status == 421
        assert (await ask(proxy, BOB, path=f"{CHALLENGES}/token")).status == 403
        assert (await ask(proxy, ALICE, path=f"{CHALLENGES}/token")).body == b"solver"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/.well-known/",
        CHALLENGES,
        f"{CHALLENGES}s/token",
        f"{CHALLENGES}/../secret",
        f"{CHALLENGES}/token/../../../secret",
        f"{CHALLENGES}/%2e%2e/secret",
        f"{CHALLENGES}/.%2E/secret",
        f"{CHALLENGES}/..%2fsecret",
        f"{CHALLENGES}%2f..%2fsecret",
        f"{CHALLENGES}%2ftoken",
        f"{CHALLENGES}/..;/secret",
        f"{CHALLENGES}/..%5csecret",
        f"{CHALLENGES}\\..\\secret",
        "/%2ewell-known/acme-challenge/token/../../../secret",
        f"http://{HOST}{CHALLENGES}/../secret",
    ],
)
async def test_no_other_path_gets_in_as_a_challenge(path: str) -> None:
    """However it is spelled: 400, and neither the solver nor the application answers."""
    async with running_proxy(challenged(path=f"{CHALLENGES}/")) as proxy:
        reply = await plain(proxy, path=path)
        assert reply.status == 400
        assert reply.body not in (b"app", b"solver")


@pytest.mark.parametrize("path", ["/", "/.well-known", f"{CHALLENGES}/../../x"])
async def test_the_route_of_an_application_is_closed_to_challenges(path: str) -> None:
    """Only a route that was made for them is open: who knows what an application does at that path."""
    async with running_proxy(challenged(path=path)) as proxy:
        for asked in (f"{CHALLENGES}/token", "/x"):
            assert (await plain(proxy, path=asked)).status == 400


async def test_a_challenge_that_came_by_tls_to_a_proxy_in_front_is_none() -> None:
    """It was asked in plain text only where that proxy, if trusted, does not tell otherwise."""
    table = challenged(path=f"{CHALLENGES}/")
    trusted = Settings(access_log="off", trusted_proxies=("127.0.0.0/8",))
    async with running_proxy(msgspec.structs.replace(table, settings=trusted)) as proxy:
        assert (await plain(proxy, "X-Forwarded-Proto: https", path=f"{CHALLENGES}/token")).status == 400
        assert (await plain(proxy, "X-Forwarded-Proto: http", path=f"{CHALLENGES}/token")).body == b"solver"


async def test_the_backend_of_a_challenge_is_told_of_no_certificate() -> None:
    """What the client writes of one is removed there, too."""
    async with raw_backend(fixed(OK)) as backend, running_proxy(asking(backend.port, path=f"{CHALLENGES}/")) as proxy:
        assert (await plain(proxy, "ssl-client-verify: SUCCESS", path=f"{CHALLENGES}/token")).status == 200
        assert told(backend) == {"ssl-client-verify": "NONE"}


@pytest.mark.parametrize("default", [None, Route(action=Respond(status=200, reason=""))])
async def test_paths_that_the_host_does_not_know_ask_too(default: Route | None) -> None:
    """What serves the rest of the host asks like the host, also once it changes."""
    table = asking(1, path="/known", action=Respond(status=200, reason=""))
    async with running_proxy(table) as proxy:
        proxy.publish(msgspec.structs.replace(table, default=default))
        assert (await ask(proxy, None, path="/other")).status == 400
        assert (await ask(proxy, ALICE, path="/other")).status == (404 if default is None else 200)


async def test_refusals_lead_to_the_error_page_where_there_is_one() -> None:
    """302 for a missing and for a bad certificate, not for a subject that does not match."""
    page = "https://example.com/certificates"
    table = asking(1, rules(error_page=page, match_subject="CN=alice"), action=Respond(status=200, reason=""))
    async with running_proxy(table) as proxy:
        for certificate in (None, FOREIGN):
            reply = await ask(proxy, certificate)
            assert (reply.status, reply.fields["location"]) == (302, page)
        assert (await ask(proxy, BOB)).status == 403


async def test_authorities_that_do_not_load_close_the_host() -> None:
    """Nobody is let in, and other hosts go on."""
    async with running_proxy(asking(1, rules(ca_pem="nonsense"), action=Respond(status=200, reason=""))) as proxy:
        assert (await ask(proxy, ALICE)).status == 421
        assert (await ask(proxy, None, name=OPEN, host=OPEN)).status == 200


async def test_a_hello_in_pieces_is_put_together() -> None:
    """One byte per segment: the name is still found before the handshake begins."""
    into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    shake = client_with(ALICE).wrap_bio(into, out, server_hostname=HOST)
    async with running_proxy(asking(1, action=Respond(status=200, reason=""))) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.tls_port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with pytest.raises(ssl.SSLWantReadError):
            shake.do_handshake()
        for byte in out.read():
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        while True:
            into.write(await within(reader.read(65536)))
            try:
                shake.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(out.read())
        shake.write(get())
        writer.write(out.read())
        answer = b""
        while b"\r\n" not in answer:
            into.write(await within(reader.read(65536)))
            try:
                answer += shake.read(65536)
            except ssl.SSLWantReadError:
                continue
        assert answer.startswith(b"HTTP/1.1 200 ")
        writer.transport.abort()


async def test_a_hello_that_never_comes_ends_with_the_handshake_time() -> None:
    """A client that connects and is silent is cut, and counted as a failed handshake."""
    table = asking(1)
    settings = Settings(access_log="off", tls_handshake_timeout=0.1)
    async with running_proxy(msgspec.structs.replace(table, settings=settings)) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.tls_port)
        assert await within(reader.read()) == b""
        writer.close()
        assert proxy.worker.telemetry.tls_handshake_failures == 1


async def test_one_verdict_holds_for_all_requests_of_a_connection() -> None:
    """Kept connections are served like the first request; another host on them is 421."""
    async with running_proxy(asking(1, action=Respond(status=200, reason=""))) as proxy:
        client: RawClient = await proxy.connect(tls_context=client_with(ALICE), server_hostname=HOST)
        for host, status in ((HOST, 200), (HOST, 200), (OPEN, 200), ("a.wild.example.com", 421)):
            client.send(get(host=host))
            assert (await read_reply(client)).status == status
        client.close()
