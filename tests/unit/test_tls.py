"""Real handshakes, client and server in memory: which certificate a name gets, and what is refused."""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
import warnings
from collections.abc import Callable
from typing import NamedTuple

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from proxy.table import Certificate, TlsVersion
from proxy.tls import BadCertificate, CertificateStore, check, make_context, self_signed, silence_bad_server_names

CA = trustme.CA()


def issue(*names: str) -> Certificate:
    """A certificate of our test CA."""
    leaf = CA.issue_cert(*names, common_name=names[0])
    return Certificate(
        chain_pem="".join(blob.bytes().decode() for blob in leaf.cert_chain_pems),
        key_pem=leaf.private_key_pem.bytes().decode(),
    )


def encrypted(certificate: Certificate) -> Certificate:
    """The same with a key that needs a password."""
    key = serialization.load_pem_private_key(certificate.key_pem.encode(), None)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    return Certificate(chain_pem=certificate.chain_pem, key_pem=pem.decode())


class Connection(NamedTuple):
    client: ssl.SSLObject
    server: ssl.SSLObject

    @property
    def name(self) -> str:
        """The common name of the certificate that the client was shown."""
        der = self.client.getpeercert(binary_form=True)
        assert der is not None
        return str(x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def client_context() -> ssl.SSLContext:
    """Takes any certificate: the tests look at it themselves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connect(
    store: CertificateStore,
    name: str | None,
    *,
    context: ssl.SSLContext | None = None,
    session: ssl.SSLSession | None = None,
) -> Connection:
    """A finished handshake. Raises ``ssl.SSLError`` as either side would."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = (context or client_context()).wrap_bio(to_client, to_server, server_hostname=name, session=session)
    server = store.server_context().wrap_bio(to_server, to_client, server_side=True)
    pending = [client, server]
    for _ in range(20):
        for side in list(pending):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            pending.remove(side)
        if not pending:
            break
    assert not pending, "the handshake stalled"

    return Connection(client, server)


@pytest.fixture(scope="module")
def certificates() -> dict[str, Certificate]:
    return {name: issue(name) for name in ("foo.com", "*.foo.com", "bar.foo.com", "default.com")}


@pytest.fixture
def store(certificates: dict[str, Certificate]) -> CertificateStore:
    """Exact, wildcard and default certificates."""
    store = CertificateStore()
    store.update(
        {f"ns/{name}": certificate for name, certificate in certificates.items()},
        {"foo.com": "ns/foo.com", "*.foo.com": "ns/*.foo.com", "bar.foo.com": "ns/bar.foo.com"},
        "ns/default.com",
        reset=True,
    )
    return store


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("foo.com", "foo.com"),
        ("FOO.com", "foo.com"),
        ("bar.foo.com", "bar.foo.com"),
        ("qux.foo.com", "*.foo.com"),
        ("QUX.Foo.Com", "*.foo.com"),
        ("a.b.foo.com", "default.com"),
        ("unknown.org", "default.com"),
        ("com", "default.com"),
        ("127.0.0.1", "default.com"),
        (None, "default.com"),
    ],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_server_name_chooses_the_certificate(
    store: CertificateStore, asked: str | None, shown: str, version: ssl.TLSVersion
) -> None:
    """Exact, wildcard of one label, default; in both versions of TLS."""
    context = client_context()
    context.minimum_version = context.maximum_version = version
    assert connect(store, asked, context=context).name == shown


@pytest.mark.parametrize("name", ["foo.com.", "FOO.COM."])
def test_a_trailing_dot_in_the_server_name_does_not_matter(store: CertificateStore, name: str) -> None:
    """RFC 6066 forbids the dot; clients send it all the same."""
    assert store.context_for(name) is store.context_for("foo.com")


@pytest.mark.parametrize("name", ["", ".", "..", "*", "*.foo.com", "a..foo.com", "\x00", "x" * 255])
def test_odd_server_names_get_the_default_certificate(store: CertificateStore, name: str) -> None:
    """No server name makes the choice fail, and none reaches a key by writing the pattern itself."""
    if name == "*.foo.com":
        assert store.context_for(name) is store.context_for("qux.foo.com")
    else:
        assert store.context_for(name) is store.context_for(None)


def test_a_client_that_verifies_is_content() -> None:
    """The whole chain is sent: a client with our CA verifies name and chain."""
    store = CertificateStore()
    store.update({"c": issue("foo.com")}, {"foo.com": "c"}, None, reset=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    CA.configure_trust(context)
    assert connect(store, "foo.com", context=context).name == "foo.com"
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(store, "bar.com", context=context)


def test_without_any_certificate_a_self_made_one_is_shown() -> None:
    """HTTPS answers from the first moment; the certificate says what it is, and stays the same."""
    store = CertificateStore()
    first, second = connect(store, "foo.com"), connect(store, None)
    assert first.name == second.name == "Pyngress default certificate"
    assert first.client.getpeercert(binary_form=True) == second.client.getpeercert(binary_form=True)


def test_a_self_made_certificate_may_be_the_default_of_the_table() -> None:
    """Workers that get it in the table all show the same one."""
    shared = self_signed()
    stores = [CertificateStore(), CertificateStore()]
    for store in stores:
        store.update({"self": shared}, {}, "self", reset=True)
    shown = {connect(store, None).client.getpeercert(binary_form=True) for store in stores}
    assert shown == {ssl.PEM_cert_to_DER_cert(shared.chain_pem)}
    assert check(shared) is None
    assert "PRIVATE" not in repr(shared)


def test_a_rotated_certificate_counts_for_the_next_handshake_and_open_connections_stay(
    store: CertificateStore,
) -> None:
    """Bytes flow on the old connection after the change, in both directions, and the listener's context is the same."""
    listener = store.server_context()
    old = connect(store, "foo.com")
    store.update({"ns/foo.com": issue("rotated.com")}, {}, "ns/default.com")
    assert connect(store, "foo.com").name == "rotated.com"
    assert store.server_context() is listener
    old.client.write(b"ping")
    assert old.server.read(4) == b"ping"
    old.server.write(b"pong")
    assert old.client.read(4) == b"pong"
    assert old.name == "foo.com"


def test_a_delta_changes_only_the_keys_it_names(store: CertificateStore, certificates: dict[str, Certificate]) -> None:
    """An equal certificate keeps its context; removed names and certificates fall back; reset forgets the rest."""
    kept = store.context_for("bar.foo.com")
    store.update({"ns/bar.foo.com": certificates["bar.foo.com"]}, {}, "ns/default.com")
    assert store.context_for("bar.foo.com") is kept
    store.update({}, {"bar.foo.com": None}, "ns/default.com")
    assert connect(store, "bar.foo.com").name == "*.foo.com"
    store.update({"ns/*.foo.com": None}, {}, "ns/default.com")
    assert connect(store, "bar.foo.com").name == "default.com"
    store.update({}, {"*.foo.com": "ns/foo.com"}, "ns/foo.com")
    assert connect(store, "bar.foo.com").name == "foo.com"
    assert connect(store, "unknown.org").name == "foo.com"
    store.update({"ns/bar.foo.com": certificates["bar.foo.com"]}, {"x.com": "ns/bar.foo.com"}, None, reset=True)
    assert store.context_for("x.com") is kept
    assert connect(store, "foo.com").name == connect(store, None).name == "Pyngress default certificate"


def test_a_reset_forgets_names_and_certificates(store: CertificateStore, certificates: dict[str, Certificate]) -> None:
    """Old names do not lead to a certificate that came back, nor new names to one that did not."""
    store.update({"ns/*.foo.com": certificates["*.foo.com"]}, {"new.com": "ns/foo.com"}, None, reset=True)
    store.update({"ns/bar.foo.com": certificates["bar.foo.com"]}, {}, None)
    for name in ("qux.foo.com", "bar.foo.com", "new.com"):
        assert connect(store, name).name == "Pyngress default certificate"


def mismatched() -> Certificate:
    return Certificate(chain_pem=issue("a.com").chain_pem, key_pem=issue("b.com").key_pem)


BROKEN: dict[str, tuple[Callable[[], Certificate], str]] = {
    "mismatch": (mismatched, "the key does not belong to the certificate"),
    "no chain": (lambda: Certificate(chain_pem="", key_pem=issue("a.com").key_pem), "the chain holds no PEM"),
    "no key": (lambda: Certificate(chain_pem=issue("a.com").chain_pem, key_pem="no"), "the key is not PEM"),
    "encrypted": (lambda: encrypted(issue("a.com")), "the key is encrypted"),
    "key as chain": (lambda: Certificate(chain_pem=(k := issue("a.com").key_pem), key_pem=k), "OpenSSL cannot load it"),
    "not base64": (
        lambda: Certificate(
            chain_pem="-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----", key_pem=issue("a.com").key_pem
        ),
        "OpenSSL cannot load it",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_certificate_that_does_not_load_touches_no_other_name(store: CertificateStore, kind: str) -> None:
    """Its name gets the default certificate and the reason is kept; the others serve; a good one heals it."""
    make, reason = BROKEN[kind]
    broken = make()
    assert (check(broken) or "").startswith(reason)
    store.update({"ns/broken": broken}, {"broken.com": "ns/broken"}, "ns/default.com")
    assert connect(store, "broken.com").name == "default.com"
    assert list(store.failures) == ["ns/broken"]
    assert store.failures["ns/broken"].startswith(reason)
    assert connect(store, "foo.com").name == "foo.com"
    store.update({"ns/broken": issue("healed.com")}, {}, "ns/default.com")
    assert connect(store, "broken.com").name == "healed.com"
    assert store.failures == {}


def test_a_broken_default_certificate_gives_way_to_the_self_made_one(store: CertificateStore) -> None:
    """Even then the handshake works, and other names are untouched."""
    store.update({"ns/default.com": mismatched()}, {}, "ns/default.com")
    assert connect(store, "unknown.org").name == "Pyngress default certificate"
    assert connect(store, "foo.com").name == "foo.com"


def test_a_reason_carries_no_key_material() -> None:
    """What goes to events and logs names the fault only."""
    with pytest.raises(BadCertificate) as caught:
        make_context(mismatched())
    assert "BEGIN" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_number_of_contexts_is_bounded_and_the_least_used_goes_first() -> None:
    """A table of many certificates does not keep them all parsed; one that went is made again."""
    store = CertificateStore(max_contexts=2)
    certificate = issue("foo.com")
    store.update(dict.fromkeys("abc", certificate), {f"{key}.com": key for key in "abc"}, None, reset=True)
    a, b = store.context_for("a.com"), store.context_for("b.com")
    assert store.context_for("a.com") is a
    store.context_for("c.com")
    assert store.context_for("a.com") is a
    assert store.context_for("b.com") is not b
    assert len(store._contexts) == 2


def test_contexts_are_made_when_asked_for(store: CertificateStore) -> None:
    """A table of 40,000 certificates costs nothing at start."""
    assert store._contexts == {}
    connect(store, "foo.com")
    assert list(store._contexts) == ["ns/foo.com"]


@pytest.mark.parametrize("name", ["foo.com", "unknown.org", None])
def test_the_floor_of_versions_can_be_raised_and_lowered(
    certificates: dict[str, Certificate], name: str | None
) -> None:
    """From the next handshake on, for every name; a connection that is open goes on."""
    store = CertificateStore()
    floors: tuple[TlsVersion, ...] = ("1.2", "1.3", "1.2")
    old = client_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    opened = None
    for floor in floors:
        store.update({"ns/foo": certificates["foo.com"]}, {"foo.com": "ns/foo"}, None, min_version=floor)
        assert connect(store, name).server.version() == "TLSv1.3"
        if floor == "1.3":
            with pytest.raises(ssl.SSLError):
                connect(store, name, context=old)
        else:
            opened = opened or connect(store, name, context=old)
            assert connect(store, name, context=old).server.version() == "TLSv1.2"
        assert opened is not None
        opened.server.write(b"still here")


def test_only_modern_versions_are_spoken(store: CertificateStore) -> None:
    """TLS 1.1 is refused even to a client that allows everything."""
    context = client_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol"):
        connect(store, "foo.com", context=context)


@pytest.mark.parametrize("cipher", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"])
def test_ciphers_without_forward_secrecy_or_aead_are_refused(store: CertificateStore, cipher: str) -> None:
    """Static RSA, CBC and finite-field DHE find no partner; an ECDHE AEAD cipher does."""
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(cipher)
    with pytest.raises(ssl.SSLError, match=r"(?i)shared cipher"):
        connect(store, "foo.com", context=context)
    context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
    assert connect(store, "foo.com", context=context).name == "foo.com"


def test_the_context_of_every_certificate_forbids_what_the_listener_forbids(store: CertificateStore) -> None:
    """No compression, no renegotiation, no tickets, in listener and certificate contexts alike."""
    for context in (store.server_context(), store.context_for("foo.com"), store.context_for(None)):
        for option in (ssl.OP_NO_COMPRESSION, ssl.OP_NO_RENEGOTIATION, ssl.OP_NO_TICKET):
            assert context.options & option
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.num_tickets == 0


def test_alpn_agrees_on_http_2_and_1_1_and_nothing_else(store: CertificateStore) -> None:
    """HTTP/2 is preferred, in whatever order it is offered; without it in the settings it is not agreed on."""
    for http2, offered, agreed in (
        (True, ["http/1.1", "h2"], "h2"),
        (True, ["http/1.1"], "http/1.1"),
        (True, ["spdy/3"], None),
        (False, ["h2", "http/1.1"], "http/1.1"),
        (False, ["h2"], None),
        (True, ["h2"], "h2"),
    ):
        store.update({}, {}, None, http2=http2)
        context = client_context()
        context.set_alpn_protocols(offered)
        for name in ("foo.com", "unknown.org"):
            assert connect(store, name, context=context).client.selected_alpn_protocol() == agreed


def test_no_ticket_is_given_out(store: CertificateStore) -> None:
    """Nothing that one name issues resumes on another: TLS 1.3 sends no ticket, TLS 1.2 neither."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = client_context()
        context.minimum_version = context.maximum_version = version
        connection = connect(store, "foo.com", context=context)
        connection.server.write(b"x")
        connection.client.read(1)
        session = connection.client.session
        assert session is None or not session.has_ticket
        if version == ssl.TLSVersion.TLSv1_3:
            again = connect(store, "foo.com", context=context, session=session)
            assert not again.client.session_reused


def test_keys_touch_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading opens memory files only, closes them at once, and leaves no descriptor behind."""
    certificate = issue("foo.com")
    opened: list[str] = []
    armed = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if armed and event == "open":
            opened.append(str(arguments[0]))

    sys.addaudithook(watch)
    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr("tempfile.NamedTemporaryFile", None)
    monkeypatch.setattr("tempfile.mkstemp", None)
    paths: list[str] = []
    load = ssl.SSLContext.load_cert_chain

    def spy(self: ssl.SSLContext, chain: str, key: str, password: str) -> None:
        paths.extend(os.readlink(path) for path in (chain, key))
        load(self, chain, key, password)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", spy)
    opened.clear()
    make_context(certificate)
    with pytest.raises(BadCertificate):
        make_context(mismatched())
    armed = False
    assert len(paths) == 4
    assert all(path.startswith("/memfd:") for path in paths)
    assert [path for path in opened if not path.startswith("/proc/self/fd")] == []
    assert set(os.listdir("/proc/self/fd")) == before


def hello_with_name(name: bytes) -> bytes:
    """A ClientHello whose server name is ``name``, of seven bytes."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context().wrap_bio(to_client, to_server, server_hostname="foo.com")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = to_server.read()
    assert hello.count(b"foo.com") == 1
    return hello.replace(b"foo.com", name)


def test_a_server_name_that_is_not_ascii_is_refused_in_silence(
    store: CertificateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ssl module reports each as unraisable, a traceback per hello; the hook drops those and passes on the rest."""
    reported: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: reported.append(unraisable.exc_value))

    def offer(name: bytes) -> None:
        to_server = ssl.MemoryBIO()
        to_server.write(hello_with_name(name))
        server = store.server_context().wrap_bio(to_server, ssl.MemoryBIO(), server_side=True)
        with pytest.raises(ssl.SSLError, match="CALLBACK_FAILED"):
            server.do_handshake()

    offer(b"f\xff\xff.com")
    assert len(reported) == 1
    silence_bad_server_names()
    offer(b"f\xff\xff.com")
    assert len(reported) == 1

    class Loud:
        def __del__(self) -> None:
            raise ArithmeticError

    Loud()
    assert isinstance(reported[-1], ArithmeticError)
    assert connect(store, "foo.com").name == "foo.com"


def test_a_failure_inside_the_choice_ends_that_handshake_only(
    store: CertificateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even a defect of ours becomes an alert, not a traceback per handshake and not an open door."""
    with monkeypatch.context() as patch:
        patch.setattr(store, "context_for", None)
        with pytest.raises(ssl.SSLError, match="CALLBACK_FAILED"):
            connect(store, "foo.com")
    assert connect(store, "foo.com").name == "foo.com"


def test_the_context_works_on_a_real_socket(store: CertificateStore) -> None:
    """Over loopback, as a listener uses it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        shown: list[str] = []

        def client() -> None:
            with (
                socket.create_connection(listener.getsockname()) as raw,
                client_context().wrap_socket(raw, server_hostname="qux.foo.com") as wrapped,
            ):
                der = wrapped.getpeercert(binary_form=True)
                assert der is not None
                shown.append(x509.load_der_x509_certificate(der).subject.rfc4514_string())
                wrapped.sendall(b"x")

        thread = threading.Thread(target=client)
        thread.start()
        raw, _ = listener.accept()
        with store.server_context().wrap_socket(raw, server_side=True) as wrapped:
            assert wrapped.recv(1) == b"x"
        thread.join()
    assert "CN=*.foo.com" in shown[0]


def test_ciphers_of_the_settings_hold_for_every_name() -> None:
    """A changed list counts from the next handshake on, also for contexts made before; TLS 1.3 has its own."""
    store = CertificateStore()
    pair = {"a": issue("foo.com")}
    store.update(pair, {"foo.com": "a"}, None, reset=True)
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305")
    for wanted in ("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256"):
        store.update({}, {}, None, ciphers=wanted)
        cipher = connect(store, "foo.com", context=context).server.cipher()
        assert cipher is not None and cipher[0] == wanted
    store.update({}, {}, None, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384")
    with pytest.raises(ssl.SSLError):
        connect(store, "foo.com", context=context)
    assert connect(store, "foo.com").server.version() == "TLSv1.3"


def test_a_list_without_a_known_cipher_leaves_the_usual_ones(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing weaker, and nothing broken: the log says so once."""
    store = CertificateStore()
    for _ in range(2):
        store.update({}, {}, None, ciphers="NO-SUCH-CIPHER")
    old = {cipher["name"] for cipher in make_context(None).get_ciphers()}
    assert {cipher["name"] for cipher in store.server_context().get_ciphers()} == old
    assert len(caplog.records) == 1


KEYS = bytes(range(80))


def resumable(store: CertificateStore, name: str, context: ssl.SSLContext) -> ssl.SSLSession | None:
    """The session of a new connection, with the ticket that comes behind the handshake in TLS 1.3."""
    return connect_and_read(store, name, context, None)[1]


def connect_and_read(
    store: CertificateStore, name: str, context: ssl.SSLContext, session: ssl.SSLSession | None
) -> tuple[bool, ssl.SSLSession | None]:
    """Whether ``session`` was resumed, and the session for the next time."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server, server_hostname=name, session=session)
    server = store.server_context().wrap_bio(to_server, to_client, server_side=True)
    pending = [client, server]
    while pending:
        for side in list(pending):
            try:
                side.do_handshake()
                pending.remove(side)
            except ssl.SSLWantReadError:
                continue
    server.write(b"x")
    assert client.read(1) == b"x"
    return bool(client.session_reused), client.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_workers_with_the_same_keys_resume_each_others_sessions(version: ssl.TLSVersion) -> None:
    """A ticket of one store is taken by another with the same keys, and by none with others, or with none."""
    pair = {"a": issue("foo.com")}
    stores = [CertificateStore() for _ in range(4)]
    for store, keys in zip(stores, (KEYS, KEYS, KEYS[::-1], b""), strict=True):
        store.update(pair, {"foo.com": "a"}, None, reset=True)
        store.use_ticket_keys(keys)
    context = client_context()
    context.minimum_version = context.maximum_version = version
    session = resumable(stores[0], "foo.com", context)
    assert [connect_and_read(store, "foo.com", context, session)[0] for store in stores[1:]] == [True, False, False]


def test_tickets_of_keys_that_are_gone_are_not_taken() -> None:
    """Their client makes a full handshake, and is given a ticket of the new keys."""
    store = CertificateStore()
    store.update({"a": issue("foo.com")}, {"foo.com": "a"}, None, reset=True)
    store.use_ticket_keys(KEYS)
    context = client_context()
    session = resumable(store, "foo.com", context)
    store.use_ticket_keys(KEYS[::-1])
    reused, session = connect_and_read(store, "foo.com", context, session)
    assert not reused
    assert connect_and_read(store, "foo.com", context, session)[0]


@pytest.mark.parametrize("keys", [b"", bytes(80), KEYS[:79], KEYS + b"x"])
def test_keys_that_are_none_give_no_tickets(keys: bytes) -> None:
    """A file that nobody has written to yet holds zeros, which everybody knows."""
    store = CertificateStore()
    store.update({"a": issue("foo.com")}, {"foo.com": "a"}, None, reset=True)
    store.use_ticket_keys(keys)
    context = client_context()
    session = resumable(store, "foo.com", context)
    assert not (session and session.has_ticket)


def test_ten_thousand_certificates_are_loaded_when_they_are_asked_for() -> None:
    """Taking them over loads none; those that are asked for are kept up to a bound, and each is shown to its name."""
    pair = issue("many.example.com")
    store = CertificateStore(max_contexts=50)
    names = {f"h{number}.example.com": f"ns/{number}" for number in range(10_000)}
    store.update(dict.fromkeys(names.values(), pair), names, None, reset=True)
    assert len(store._contexts) == 0
    for number in range(0, 10_000, 50):
        assert connect(store, f"h{number}.example.com").name == "many.example.com"
    assert len(store._contexts) == 50
