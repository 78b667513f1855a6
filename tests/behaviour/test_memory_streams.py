"""Bodies of any size pass through a process whose memory does not grow."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process import proxy_process
from tests.support.proxy import one_route

SIZE = 1 << 30
TLS_SIZE = 1 << 27
MARGIN = 20 * 1024 * 1024
"""What the proxy may need beyond what it needed for small requests."""


def send_zeros(connection: socket.socket, size: int) -> None:
    """``size`` bytes from a file in memory, without a copy in this process."""
    with open(os.memfd_create("zeros"), "rb") as file:
        os.ftruncate(file.fileno(), 1 << 24)
        while size:
            size -= connection.sendfile(file, 0, min(size, 1 << 24))


def drop(connection: socket.socket, size: int) -> None:
    """Receive ``size`` bytes and forget them."""
    buffer = bytearray(1 << 20)
    while size:
        received = connection.recv_into(buffer, min(size, len(buffer)))
        if not received:
            raise EOFError(f"{size} bytes early")
        size -= received


def read_head(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            raise EOFError("in a head")
        head += byte
    return head


def serve(listener: socket.socket) -> None:
    """A backend: drops what it is sent, and sends as many zeros as the path asks for."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def answer(connection: socket.socket) -> None:
    """All requests of one connection."""
    with connection, contextlib.suppress(ConnectionError, EOFError):
        while True:
            head = read_head(connection)
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            drop(connection, int(length or 0))
            wanted = int(head.split(b" ", 2)[1][1:])
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % wanted)
            send_zeros(connection, wanted)


@contextlib.contextmanager
def backend() -> Iterator[int]:
    """The backend in a thread; its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, args=(listener,), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def exchange(port: int, *, upload: int, download: int, context: ssl.SSLContext | None = None) -> None:
    """One request with ``upload`` bytes whose response has ``download`` bytes."""
    with socket.create_connection(("127.0.0.1", port), 15) as plain:
        connection = plain if context is None else context.wrap_socket(plain)
        head = b"PUT /%d HTTP/1.1\r\nHost: foo.example.com\r\nContent-Length: %d\r\n\r\n" % (download, upload)
        connection.sendall(head)
        if context is None:
            send_zeros(connection, upload)
        else:
            for _ in range(upload >> 20):
                connection.sendall(bytes(1 << 20))
        assert read_head(connection).startswith(b"HTTP/1.1 200 ")
        drop(connection, download)
        connection.close()


@pytest.mark.slow
async def test_a_gibibyte_each_way_needs_no_memory(tmp_path: Path) -> None:
    """1 GiB up and 1 GiB down, counted, leave less than 20 MiB of growth even at the worst moment."""
    with backend() as port:
        async with proxy_process(one_route([port]), tmp_path) as proxy:
            await asyncio.to_thread(exchange, proxy.port, upload=1 << 20, download=1 << 20)
            before = proxy.resident()
            await asyncio.to_thread(exchange, proxy.port, upload=SIZE, download=SIZE)
            assert proxy.peak() - before < MARGIN


@pytest.mark.slow
async def test_large_bodies_over_tls_need_no_memory(tmp_path: Path) -> None:
    """128 MiB up and down over TLS likewise."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with backend() as port:
        async with proxy_process(one_route([port]), tmp_path) as proxy:
            await asyncio.to_thread(exchange, proxy.tls_port, upload=1 << 20, download=1 << 20, context=context)
            before = proxy.resident()
            await asyncio.to_thread(exchange, proxy.tls_port, upload=TLS_SIZE, download=TLS_SIZE, context=context)
            assert proxy.peak() - before < MARGIN


@pytest.mark.slow
async def test_hundreds_of_stuck_clients_need_little_memory(tmp_path: Path) -> None:
    """200 clients that ask for 64 MiB each and read nothing hold less than 1 MiB each in the proxy."""
    clients = 200
    with backend() as port:
        async with proxy_process(one_route([port]), tmp_path) as proxy:
            await asyncio.to_thread(exchange, proxy.port, upload=0, download=1 << 20)
            before = proxy.resident()
            stuck = []
            for _ in range(clients):
                connection = socket.create_connection(("127.0.0.1", proxy.port), 15)
                connection.sendall(b"GET /67108864 HTTP/1.1\r\nHost: foo.example.com\r\n\r\n")
                stuck.append(connection)
            await asyncio.sleep(1.5)
            grown = proxy.resident() - before
            for connection in stuck:
                connection.close()
    assert grown < clients * 1024 * 1024
