"""Listening sockets of the workers."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ingress.publish import Listener, ListenError, listen, open_listeners


@contextmanager
def opened(listeners: tuple[tuple[Listener, ...], ...]) -> Iterator[tuple[tuple[Listener, ...], ...]]:
    try:
        yield listeners
    finally:
        for own in listeners:
            for listener in own:
                listener.socket.close()


def test_each_worker_has_its_own_socket_of_the_same_port() -> None:
    """Two workers, two schemes: four sockets, two ports, and each port's connections reach its sockets only."""
    with opened(open_listeners(bind=["127.0.0.1"], ports=[("http", 0), ("https", 0)], workers=2)) as (first, second):
        assert [listener.scheme for listener in first] == ["http", "https"]
        assert [listener.port for listener in first] == [listener.port for listener in second]
        assert first[0].port != first[1].port
        with socket.create_connection(("127.0.0.1", first[0].port), 1):
            assert sum(has_connection(own[0].socket) for own in (first, second)) == 1
            assert not any(has_connection(own[1].socket) for own in (first, second))


def has_connection(listening: socket.socket) -> bool:
    try:
        accepted, _ = listening.accept()
    except BlockingIOError:
        return False
    accepted.close()
    return True


def test_sockets_stay_in_this_process_unless_passed() -> None:
    """A child gets a listening socket only by pass_fds; else a stray child would hold the port."""
    with opened(open_listeners(bind=["127.0.0.1"], ports=[("http", 0)], workers=1)) as ((listener,),):
        assert not listener.socket.get_inheritable()


@pytest.mark.parametrize("shared", [False, True])
def test_a_taken_port_is_named(shared: bool) -> None:
    """Also one taken with SO_REUSEPORT, as by another Pyngress, which would otherwise share the connections."""
    with socket.socket() as other:
        if shared:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match=rf"port {port} of 127.0.0.1 is taken .*--https-port"):
            open_listeners(bind=["127.0.0.1"], ports=[("http", 0), ("https", port)], workers=2)


def test_one_port_cannot_serve_both_schemes() -> None:
    """It is said before anything is opened."""
    with pytest.raises(ListenError, match="port 8080 cannot serve both http and https"):
        open_listeners(bind=["127.0.0.1"], ports=[("http", 8080), ("https", 8080)], workers=1)


def test_a_foreign_address_is_named() -> None:
    """192.0.2.0/24 is for documentation: no machine has it."""
    with pytest.raises(ListenError, match=r"address 192\.0\.2\.1 does not exist on this machine"):
        open_listeners(bind=["192.0.2.1"], ports=[("http", 0)], workers=1)


class Refusing(socket.socket):
    """A socket whose bind fails with ``number``."""

    number = 0

    def bind(self, address: object) -> None:
        raise OSError(self.number, "refused")


def refuse(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(Refusing, "number", number)
    monkeypatch.setattr(socket, "socket", Refusing)


def test_a_privileged_port_asks_for_the_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below 1024 the message names NET_BIND_SERVICE; above it does not."""
    refuse(monkeypatch, errno.EACCES)
    with pytest.raises(ListenError, match=r"port 80 .*NET_BIND_SERVICE.*--http-port"):
        listen("127.0.0.1", 80, flag="--http-port")
    with pytest.raises(ListenError) as caught:
        listen("127.0.0.1", 8080, flag="--http-port")
    assert "NET_BIND_SERVICE" not in str(caught.value)


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_any_ipv6_address_is_left_out_without_ipv6(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """``::`` is part of the default; another IPv6 address was asked for, and its absence is an error."""
    refuse(monkeypatch, number)
    assert listen("::", 8080, flag="--http-port") is None
    with pytest.raises(ListenError):
        listen("::1", 8080, flag="--http-port")
    with pytest.raises(ListenError, match="no IPv6"):
        open_listeners(bind=["::"], ports=[("http", 8080)], workers=1)


def test_ipv4_and_ipv6_share_a_port_number() -> None:
    """V6ONLY: both defaults can be bound, side by side, also when the port is picked by the system."""
    with opened(open_listeners(bind=["0.0.0.0", "::"], ports=[("http", 0)], workers=1)) as (own,):
        assert len({listener.port for listener in own}) == 1
        assert {listener.socket.family for listener in own} <= {socket.AF_INET, socket.AF_INET6}
