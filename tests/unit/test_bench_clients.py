"""The clients of the load benchmark that are not a foreign program's own: what they send, count and read."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks.load.certificate import make_certificate
from benchmarks.load.clients.h2load import read_report
from benchmarks.load.clients.load import percentile
from benchmarks.load.handshakes import work
from benchmarks.load.processes import BenchmarkError, nice_session
from benchmarks.load.scenarios import HOST

ANSWER = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"

REPORT = """starting benchmark...
TLS Protocol: TLSv1.3
Application protocol: h2

finished in 2.05s, 7252.50 req/s, 8.12MB/s
requests: 14505 total, 14537 started, 14505 done, 14501 succeeded, 4 failed, 0 errored, 0 timeout
status codes: 14499 2xx, 0 3xx, 2 4xx, 0 5xx
traffic: 14.61MB (15319580) total, 227.05KB (232500) headers (space savings 89.00%), 14.16MB (14848000) data
                     min         max         mean         sd        +/- sd
"""


@contextmanager
def serving(folder: Path, answer: bytes, *, tickets: int) -> Iterator[tuple[int, list[bytes]]]:
    """A TLS server that gives each connection ``answer`` and closes it: its port, and what it was sent."""
    chain, key = make_certificate(HOST)
    (folder / "chain.pem").write_text(chain)
    (folder / "key.pem").write_text(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
    context.num_tickets = tickets
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):  # the listener is shut down at the end
                while True:
                    plain, _ = listener.accept()
                    with plain, context.wrap_socket(plain, server_side=True) as connection:
                        requests.append(connection.recv(65536))
                        connection.sendall(answer)
                        with suppress(OSError):
                            connection.unwrap()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], requests
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            assert not thread.is_alive()


@pytest.mark.parametrize(
    ("resume", "tickets", "resumed"),
    [
        pytest.param(False, 2, False, id="nothing is offered"),
        pytest.param(True, 2, True, id="a ticket is offered and taken"),
        pytest.param(True, 0, False, id="the server gives no tickets"),
    ],
)
def test_handshakes_are_resumed_only_when_wanted_and_possible(
    tmp_path: Path, resume: bool, tickets: int, resumed: bool
) -> None:
    """Every connection makes one request; all but the first are resumed, or none is, and both are counted."""
    with serving(tmp_path, ANSWER, tickets=tickets) as (port, requests):
        tally = work(port, "/", time.monotonic() + 0.2, resume)
    assert tally.errors == {}
    assert len(tally.durations) == len(requests) > 2
    assert tally.resumed == (len(requests) - 1 if resumed else 0)
    assert tally.bytes == len(requests) * len(ANSWER)
    assert set(requests) == {b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % HOST.encode()}


def test_a_refused_request_is_an_error_and_no_handshake(tmp_path: Path) -> None:
    """A proxy that answers 503 fast would look cheap."""
    with serving(tmp_path, ANSWER.replace(b"200 OK", b"503 No"), tickets=0) as (port, requests):
        tally = work(port, "/", time.monotonic() + 0.1, False)
    assert tally.errors == {"status": len(requests)}
    assert tally.durations == []


def test_what_h2load_says_is_read() -> None:
    """Whole responses count, with the bytes of their bodies; what failed is named, percentiles are the log's."""
    load = read_report(REPORT, [0.001] * 98 + [0.004, 0.005])
    assert (load.requests, load.seconds, load.bytes) == (14501, 2.05, 14848000)
    assert load.errors == {"status": 2, "stream": 4}
    assert (load.p50, load.p99) == (0.001, 0.005)


@pytest.mark.parametrize("changed", [("protocol: h2", "protocol: http/1.1"), ("requests:", "queries:")])
def test_another_protocol_or_an_unknown_report_is_no_result(changed: tuple[str, str]) -> None:
    """HTTP/1.1 by a peer that does not speak HTTP/2 is not measured as HTTP/2."""
    with pytest.raises(BenchmarkError, match="h2load"):
        read_report(REPORT.replace(*changed), [])


def test_percentiles_of_few_and_of_none() -> None:
    """The highest share is the longest duration; no durations have none."""
    assert percentile([0.3, 0.1, 0.2], 0.5) == 0.2
    assert percentile([0.3, 0.1, 0.2], 0.99) == 0.3
    assert percentile([], 0.5) == 0.0


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel does not group sessions")
def test_a_session_of_its_own_gets_the_niceness() -> None:
    """Between sessions the kernel heeds their niceness alone, which a new session does not inherit."""
    read = ["cat", "/proc/self/autogroup"]
    code = (
        "import os, subprocess, sys; os.nice(3); from benchmarks.load.processes import nice_session; "
        f"print(subprocess.run(nice_session({read!r}), start_new_session=True, capture_output=True, text=True).stdout)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split()[1:] == ["nice", "3"]
    if os.getpriority(os.PRIO_PROCESS, 0) == 0:
        assert nice_session(read) == read
