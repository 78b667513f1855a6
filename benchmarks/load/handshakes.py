"""``python -m benchmarks.load.handshakes``: connections with a TLS 1.3 handshake and one request each.

A few processes make one connection after the other until the time is over.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import socket
import ssl
import sys
import time
from dataclasses import dataclass, field
from typing import Final

from benchmarks.load.clients.load import percentile
from benchmarks.load.scenarios import HOST

__all__ = ["Tally", "main", "work"]

PROCESSES: Final = 8
TIME_LIMIT: Final = 5.0
"""Seconds for each step of a connection."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What one process saw."""

    durations: list[float] = field(default_factory=list)
    """Of the requests that were answered, seconds, from the first packet to the last."""
    bytes: int = 0
    resumed: int = 0
    errors: dict[str, int] = field(default_factory=dict)

    def fail(self, kind: str) -> None:
        self.errors[kind] = self.errors.get(kind, 0) + 1


def main(words: list[str]) -> None:
    """The client from start to end; prints a ``LoadResult`` in JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--path", default="/")
    parser.add_argument("--resume", action="store_true", help="offer the session of the connection before")
    arguments = parser.parse_args(words)
    begin = time.monotonic()
    order = (arguments.port, arguments.path, begin + arguments.seconds, arguments.resume)
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        tallies = pool.starmap(work, [order] * PROCESSES, chunksize=1)
    durations = [duration for tally in tallies for duration in tally.durations]
    errors: dict[str, int] = {}
    for tally in tallies:
        for kind, count in tally.errors.items():
            errors[kind] = errors.get(kind, 0) + count
    report = {
        "requests": len(durations),
        "seconds": time.monotonic() - begin,
        "bytes": sum(tally.bytes for tally in tallies),
        "p50": percentile(durations, 0.5),
        "p99": percentile(durations, 0.99),
        "errors": errors,
        "resumed": sum(tally.resumed for tally in tallies),
    }
    sys.stdout.write(json.dumps(report) + "\n")


def work(port: int, path: str, deadline: float, resume: bool) -> Tally:
    """One connection after the other until ``deadline`` (of the monotonic clock)."""
    tally = Tally()
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate is our own
    session: ssl.SSLSession | None = None
    while (begin := time.monotonic()) < deadline:
        try:
            with (
                _connected(port) as plain,
                context.wrap_socket(plain, server_hostname=HOST, session=session) as connection,
            ):
                connection.sendall(request)
                answer = _read_to_end(connection)
                resumed = bool(connection.session_reused)
                # Tickets come behind the handshake; those that did are part of the session now.
                session = connection.session if resume else None
        except TimeoutError:
            tally.fail("timeout")
            continue
        except OSError as error:
            tally.fail("connect" if isinstance(error, ConnectionRefusedError) else "read")
            session = None
            continue
        if not answer.startswith(b"HTTP/1.1 200 "):
            tally.fail("status")
            continue
        tally.durations.append(time.monotonic() - begin)
        tally.bytes += len(answer)
        tally.resumed += resumed
    return tally


def _connected(port: int) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=TIME_LIMIT)
    # As browsers do: else the request waits for the acknowledgement of what ended the handshake, up to 40 ms.
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain


def _read_to_end(connection: ssl.SSLSocket) -> bytes:
    answer = b""
    while data := connection.recv(65536):
        answer += data
    return answer


if __name__ == "__main__":
    main(sys.argv[1:])
