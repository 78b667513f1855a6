"""Whom the proxy believes about the client, and what it tells the backend."""

from __future__ import annotations

import pytest

from proxy.message.forwarding import ClientFacts, client_behind, forwarded_proto, is_request_id, trusted_block
from proxy.message.networks import Networks
from proxy.message.request import RequestHead

RANGES = Networks(("10.0.0.0/8", "fd00::/8"))


def head_of(**values: bytes) -> RequestHead:
    head = RequestHead()
    head.host = b"foo:8080"
    for name, value in values.items():
        head.add_field(b"X-Forwarded-" + name.encode(), value)
    return head


def facts(address: str = "10.0.0.1", *, trusted: bool = True) -> ClientFacts:
    return ClientFacts(address=address, tls_version="", port=80, trusted=trusted)


def block(**values: bytes) -> tuple[dict[str, str], str]:
    client = client_behind(head_of(**values), facts(), RANGES)
    text = trusted_block(head_of(**values), facts(), client)
    return dict(line.split(": ") for line in text.decode().split("\r\n")), client


def test_ranges() -> None:
    """IPv4, IPv6, IPv4 within IPv6; what is no address is in no range."""
    assert "10.1.2.3" in RANGES
    assert "fd00::1" in RANGES
    assert "::ffff:10.1.2.3" in RANGES
    assert "11.0.0.1" not in RANGES
    assert "unknown" not in RANGES
    assert "10.1.2.3" not in Networks(())
    with pytest.raises(ValueError, match="not-a-cidr"):
        Networks(("not-a-cidr",))


def test_an_untrusted_client_is_told_as_it_is() -> None:
    """Everything comes from the connection."""
    untrusted = facts("192.0.2.7", trusted=False)
    assert untrusted.constant == (
        b"X-Real-IP: 192.0.2.7\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Port: 80\r\nX-Forwarded-Proto: http\r\n"
        b"X-Forwarded-Scheme: http\r\nX-Scheme: http\r\nX-Forwarded-Host: "
    )
    assert forwarded_proto(head_of(Proto=b"https"), untrusted) == b"http"
    secure = ClientFacts(address="192.0.2.7", tls_version="TLSv1.3", port=443, trusted=False)
    assert b"X-Forwarded-Proto: https\r\n" in secure.constant
    assert forwarded_proto(head_of(Proto=b"http"), secure) == b"https"


def test_a_trusted_chain_is_appended_to() -> None:
    """The client is the last address in the chain that is no proxy of ours."""
    told, client = block(For=b"198.51.100.1, 192.0.2.9, 10.2.2.2", Proto=b"HTTPS", Port=b"444", Host=b"bar.example")
    assert client == told["X-Real-IP"] == "192.0.2.9"
    assert told["X-Forwarded-For"] == "198.51.100.1, 192.0.2.9, 10.2.2.2, 10.0.0.1"
    assert told["X-Forwarded-Proto"] == told["X-Scheme"] == told["X-Forwarded-Scheme"] == "https"
    assert (told["X-Forwarded-Port"], told["X-Forwarded-Host"]) == ("444", "bar.example")


def test_nonsense_from_a_trusted_peer_is_replaced() -> None:
    """What is no address, scheme, port or host is not passed on."""
    told, client = block(For=b"evil, 1.2.3.4:80, <x>", Proto=b"ftp", Port=b"123456", Host=b"a b")
    assert client == "10.0.0.1"
    assert told == {
        "X-Real-IP": "10.0.0.1", "X-Forwarded-For": "10.0.0.1", "X-Forwarded-Port": "80", "X-Forwarded-Proto": "http",
        "X-Forwarded-Scheme": "http", "X-Scheme": "http", "X-Forwarded-Host": "foo:8080",
    }  # fmt: skip
    assert block(Port=b"+80")[0]["X-Forwarded-Port"] == "80"
    assert block(Port="٨٠".encode())[0]["X-Forwarded-Port"] == "80"


@pytest.mark.parametrize("chain", [b"192.0.2.66, 192.0.2.9:1234", b"192.0.2.66, _hidden", b"192.0.2.66,,"])
def test_nothing_beyond_nonsense_in_a_chain_is_believed(chain: bytes) -> None:
    """What the trusted peer added is not understood, so what stands before it may be the client's own invention."""
    assert block(For=chain)[1] == "10.0.0.1"


def test_a_chain_of_nothing_but_proxies_ends_at_its_beginning() -> None:
    """The first of them is the client then."""
    assert block(For=b"10.9.9.9, 10.8.8.8")[1] == "10.9.9.9"
    assert block()[1] == "10.0.0.1"


@pytest.mark.parametrize("value", [b"a", b"A-1_b.c:d/e+f=g@h", b"a" * 128])
def test_request_ids_that_are_kept(value: bytes) -> None:
    """Short ones of harmless characters."""
    assert is_request_id(value)


@pytest.mark.parametrize("value", [b"", b"a b", b"a,b", b"a" * 129, b'"', b"$(x)", b"<", b"\xe9", b"a\tb", b"%0a"])
def test_request_ids_that_are_made_anew(value: bytes) -> None:
    """What a log, a shell or a page might mind."""
    assert not is_request_id(value)
