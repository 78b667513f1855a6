"""What the kernel knows about bytes that a peer took."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest

from proxy.upstream.delivery import is_undelivered


class Transport:
    """As much of a transport as is asked."""

    def __init__(self, handle: object) -> None:
        self._handle = handle

    def get_extra_info(self, name: str) -> object:
        assert name == "socket"
        return self._handle


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The two ends of a TCP connection on loopback."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours, theirs:
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield ours, theirs


def _undelivered(handle: object, before: int) -> bool:
    return is_undelivered(Transport(handle), before)  # type: ignore[arg-type]


def _converse(ours: socket.socket, theirs: socket.socket, rounds: int) -> int:
    for _ in range(rounds):
        ours.sendall(b"x" * 100)
        assert theirs.recv(200)
        theirs.sendall(b"y" * 100)
        assert ours.recv(200)
    return rounds * 100


@pytest.mark.parametrize("rounds", [0, 1, 50])
def test_what_was_written_to_a_closed_peer_is_undelivered(
    pair: tuple[socket.socket, socket.socket], rounds: int
) -> None:
    """The peer ended its stream before the request came."""
    ours, theirs = pair
    before = _converse(ours, theirs, rounds)
    theirs.close()
    ours.sendall(b"POST")
    time.sleep(0.01)
    assert ours.recv(10) == b""
    assert _undelivered(ours, before)


@pytest.mark.parametrize("rounds", [0, 1, 50])
def test_what_the_peer_read_before_it_closed_is_delivered(
    pair: tuple[socket.socket, socket.socket], rounds: int
) -> None:
    """The end of its stream acknowledges what came before it, however long other acknowledgements are delayed."""
    ours, theirs = pair
    before = _converse(ours, theirs, rounds)
    ours.sendall(b"POST")
    assert theirs.recv(10) == b"POST"
    theirs.close()
    assert ours.recv(10) == b""
    assert not _undelivered(ours, before)


def test_after_a_reset_the_count_proves_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    """The reason why only the end of a stream is believed: here the peer did read the request."""
    ours, theirs = pair
    before = _converse(ours, theirs, 50)
    ours.sendall(b"POST")
    assert theirs.recv(10) == b"POST"
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    with pytest.raises(ConnectionResetError):
        ours.recv(10)
    assert _undelivered(ours, before), "wrong, and known to be: the caller must not ask after a reset"


def test_a_part_that_was_taken_is_a_delivery(pair: tuple[socket.socket, socket.socket]) -> None:
    """One byte beyond those of earlier requests is enough."""
    ours, theirs = pair
    before = _converse(ours, theirs, 3)
    ours.sendall(b"P")
    assert theirs.recv(1)
    theirs.shutdown(socket.SHUT_WR)
    assert ours.recv(10) == b""
    assert not _undelivered(ours, before)
    assert _undelivered(ours, before + 1)


def test_where_it_cannot_be_known_it_counts_as_delivered() -> None:
    """No socket, one that is closed, one that is no TCP."""
    closed = socket.socket()
    closed.close()
    local, other = socket.socketpair()
    with local, other:
        assert not _undelivered(None, 0)
        assert not _undelivered(closed, 0)
        assert not _undelivered(local, 0)
