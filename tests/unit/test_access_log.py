"""The access log: what a line says, that no client can forge one, and that a stuck output stops nobody."""

from __future__ import annotations

import fcntl
import json
import os
import re
import threading
import time
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.table import Labels
from proxy.telemetry import AccessLog, Telemetry
from proxy.telemetry import access_log as module

NOW = 1_764_009_431.0625  # 2025-11-24T18:37:11.062Z
LABELS = Labels(namespace="ns", ingress="web", path="/api", service="api", port="80")
Format = Literal["json", "combined"]


class Request(msgspec.Struct, kw_only=True):
    """The arguments of ``write``, in their order."""

    now: float = NOW
    remote_addr: str = "10.1.2.3"
    method: bytes = b"GET"
    host: bytes = b"foo.com"
    target: bytes = b"/api/x?y=1"
    protocol: str = "HTTP/1.1"
    status: int = 200
    request_bytes: int = 321
    response_bytes: int = 1024
    duration: float = 0.0126
    referer: bytes = b"http://foo.com/"
    user_agent: bytes = b"curl/8.5.0"
    request_id: bytes = b"0123456789abcdef"
    labels: Labels = LABELS
    upstream_addr: str = "10.0.0.2:8080"
    upstream_status: str = "200"
    upstream_duration: float = 0.0114
    retries: int = 0
    tls: str = "TLSv1.3"
    error: str = ""

    def write(self, log: AccessLog) -> None:
        log.write(*msgspec.structs.astuple(self))


def lines_of(style: Format, *requests: Request) -> list[bytes]:
    """What arrives on the other end of a pipe."""
    read, write = os.pipe()
    log = AccessLog(write, style, None, telemetry=Telemetry())
    for request in requests:
        request.write(log)
    assert log.close(5.0)
    os.close(write)
    with open(read, "rb") as output:
        return output.read().splitlines(keepends=True)


def json_of(request: Request) -> dict[str, Any]:
    (line,) = lines_of("json", request)
    assert line.endswith(b"\n")
    value = json.loads(line)
    assert isinstance(value, dict)
    return value


def test_a_json_line_says_everything_about_a_request() -> None:
    """All fields, times in seconds with milliseconds, UTC."""
    assert json_of(Request()) == {
        "time": "2025-11-24T18:37:11.062Z",
        "remote_addr": "10.1.2.3",
        "method": "GET",
        "host": "foo.com",
        "target": "/api/x?y=1",
        "protocol": "HTTP/1.1",
        "status": 200,
        "request_bytes": 321,
        "response_bytes": 1024,
        "duration": 0.013,
        "referer": "http://foo.com/",
        "user_agent": "curl/8.5.0",
        "request_id": "0123456789abcdef",
        "namespace": "ns",
        "ingress": "web",
        "service": "api",
        "port": "80",
        "upstream_addr": "10.0.0.2:8080",
        "upstream_status": "200",
        "upstream_duration": 0.011,
        "retries": 0,
        "tls": "TLSv1.3",
        "error": "",
    }


def test_a_combined_line_has_the_layout_of_ingress_nginx() -> None:
    """Tools that read ingress-nginx's ``upstreaminfo`` lines read ours."""
    assert lines_of("combined", Request()) == [
        b'10.1.2.3 - - [24/Nov/2025:18:37:11 +0000] "GET /api/x?y=1 HTTP/1.1" 200 1024 "http://foo.com/" "curl/8.5.0" '
        b"321 0.013 [ns-api-80] [] 10.0.0.2:8080 1024 0.011 200 0123456789abcdef\n"
    ]


def test_several_upstreams_are_listed_as_nginx_lists_them() -> None:
    """Each try is told, with its status, in both formats."""
    request = Request(upstream_addr="10.0.0.2:80, 10.0.0.3:80", upstream_status="502, 200", retries=1)
    assert json_of(request)["upstream_addr"] == "10.0.0.2:80, 10.0.0.3:80"
    assert json_of(request)["upstream_status"] == "502, 200"
    (line,) = lines_of("combined", request)
    assert b"[] 10.0.0.2:80, 10.0.0.3:80 1024 0.011 502, 200 0123" in line


def test_what_is_absent_is_empty_or_null_or_a_dash() -> None:
    """A request that we refused before it had a route, a target or an upstream."""
    request = Request(
        method=b"",
        host=b"",
        target=b"",
        status=400,
        referer=b"",
        user_agent=b"",
        request_id=b"",
        labels=Labels(),
        upstream_addr="",
        upstream_status="",
        upstream_duration=-1.0,
        error="bad_request",
    )
    line = json_of(request)
    assert (line["method"], line["namespace"], line["upstream_duration"], line["error"]) == (
        "",
        "",
        None,
        "bad_request",
    )
    assert lines_of("combined", request) == [
        b'10.1.2.3 - - [24/Nov/2025:18:37:11 +0000] "-" 400 1024 "-" "-" 321 0.013 [] [] - - - - -\n'
    ]
    tried = Request(upstream_status="", upstream_duration=-1.0)
    assert b"[] 10.0.0.2:8080 1024 - - 0123" in lines_of("combined", tried)[0]


def test_the_time_follows_the_requests() -> None:
    """The text kept per second is renewed with the second, and milliseconds are never rounded into the next one."""
    times = [NOW, NOW + 0.5, NOW + 0.9374, NOW + 0.9376, NOW + 86400.0]
    told = [json.loads(line)["time"] for line in lines_of("json", *(Request(now=now) for now in times))]
    assert told == [
        "2025-11-24T18:37:11.062Z",
        "2025-11-24T18:37:11.562Z",
        "2025-11-24T18:37:11.999Z",
        "2025-11-24T18:37:12.000Z",
        "2025-11-25T18:37:11.062Z",
    ]


HOSTILE = [
    (b'a"b', r"a\x22b"),
    (b"a\\b", r"a\x5Cb"),
    (b"a\r\nb", r"a\x0D\x0Ab"),
    (b"a\x00b", r"a\x00b"),
    (b"\x1b[2Jx", r"\x1B[2Jx"),
    (b"a\x7fb", r"a\x7Fb"),
    (b"a\x9b2Jb", r"a\x9B2Jb"),
    (b"\xc3\xa4", r"\xC3\xA4"),
    (b"\xff", r"\xFF"),
]


@pytest.mark.parametrize(("sent", "escaped"), HOSTILE)
def test_hostile_bytes_are_escaped_as_nginx_does(sent: bytes, escaped: str) -> None:
    """Quotes, controls and bytes beyond ASCII come as backslash, x and two digits, in each place between quotes."""
    (line,) = lines_of("combined", Request(target=b"/" + sent, referer=sent, user_agent=sent))
    assert f'"GET /{escaped} HTTP/1.1"'.encode() in line
    assert f'"{escaped}" "{escaped}"'.encode() in line


@pytest.mark.parametrize(("sent", "_escaped"), HOSTILE)
def test_hostile_bytes_come_back_from_json_unharmed(sent: bytes, _escaped: str) -> None:
    """The line is printable ASCII, and decodes to the very bytes, read as Latin-1."""
    (line,) = lines_of("json", Request(target=sent, host=sent, user_agent=sent))
    assert re.fullmatch(rb"[\x20-\x7e]+\n", line)
    value = json.loads(line)
    assert value["target"].encode("latin-1") == value["host"].encode("latin-1") == sent
    assert value["user_agent"].encode("latin-1") == sent


@settings(deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=40), st.text(max_size=10))
def test_no_input_makes_a_second_line(target: bytes, agent: bytes, label: str) -> None:
    """Any bytes from a client and any text from a manifest: one line of printable ASCII, in both formats."""
    label = label.encode(errors="ignore").decode()
    request = Request(target=target, user_agent=agent, host=agent, labels=Labels(namespace=label, service=label or "s"))
    (line,) = lines_of("json", request)
    assert re.fullmatch(rb"[\x20-\x7e]+\n", line)
    value = json.loads(line)
    assert (value["target"].encode("latin-1"), value["namespace"]) == (target, label)
    (line,) = lines_of("combined", request)
    assert re.fullmatch(rb"[\x20-\x7e]+\n", line)
    assert line.count(b'"') == 6


def test_lines_wait_for_the_tick_or_for_a_full_batch() -> None:
    """A few lines stay in memory until ``flush``; some 64 KiB go without it."""
    read, write = os.pipe()
    log = AccessLog(write, "json", None, telemetry=Telemetry())
    Request().write(log)
    assert log._writer._thread is None
    log.flush()
    assert os.read(read, 1 << 20).count(b"\n") == 1
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4 * module.BATCH)
    request = Request(user_agent=b"x" * 1000)
    for _ in range(module.BATCH // 1000):
        request.write(log)
    assert log._handed > module.BATCH
    handed = log._handed
    request.write(log)
    assert log._handed == handed
    assert log.close(5.0)
    os.close(write)
    with open(read, "rb") as output:
        assert len(output.readlines()) == module.BATCH // 1000 + 1


def wait_for(condition: Any, timeout: float = 5.0) -> bool:
    """Poll until ``condition`` holds."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def test_a_stuck_output_never_blocks_and_what_does_not_fit_is_counted() -> None:
    """Nobody reads the pipe: writing goes on at full speed, memory stays bounded, lost lines are counted, and when the
    reader comes back, whole lines arrive: written and dropped make up all."""
    read, write = os.pipe()
    telemetry = Telemetry()
    log = AccessLog(write, "json", None, telemetry=telemetry)
    request = Request(user_agent=b"x" * 4000)
    total = 3 * module.MAX_QUEUED // 4000
    slowest = 0.0
    for _ in range(total):
        start = time.monotonic()
        request.write(log)
        slowest = max(slowest, time.monotonic() - start)
    assert slowest < 1.0
    assert telemetry.log_lines_dropped > total // 2
    assert log._handed - log._writer.done <= module.MAX_QUEUED
    start = time.monotonic()
    assert not log.close(0.05)
    assert time.monotonic() - start < 2.0
    received = bytearray()

    def drain() -> None:
        while data := os.read(read, 1 << 16):
            received.extend(data)

    reader = threading.Thread(target=drain)
    reader.start()
    thread = log._writer._thread
    assert thread is not None
    assert thread.daemon, "a stuck output would keep the process from ending"
    thread.join(10.0)
    os.close(write)
    reader.join(10.0)
    os.close(read)
    lines = bytes(received).splitlines(keepends=True)
    assert all(json.loads(line)["status"] == 200 for line in lines)
    assert len(lines) + telemetry.log_lines_dropped == total


def test_an_output_that_failed_is_counted_and_harms_nothing() -> None:
    """A closed pipe costs the lines, not the proxy; the count reaches the metrics with the next tick."""
    read, write = os.pipe()
    os.close(read)
    telemetry = Telemetry()
    log = AccessLog(write, "json", None, telemetry=telemetry)
    for _ in range(2):
        Request().write(log)
        Request().write(log)
        log.flush()
    assert wait_for(lambda: log._writer.lost == 4)
    log.flush()
    log.flush()
    assert telemetry.log_lines_dropped == 4
    assert log.close(5.0)
    os.close(write)


def test_a_non_blocking_output_is_waited_for() -> None:
    """Someone who shares our output may have made it non-blocking; no line is cut or lost by that."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    log = AccessLog(write, "json", None, telemetry=Telemetry())
    for _ in range(60):
        Request(user_agent=b"x" * 5000).write(log)
    log.flush()
    time.sleep(0.05)
    received = bytearray()
    while received.count(b"\n") < 60:
        received += os.read(read, 4096)
    assert all(json.loads(line)["status"] == 200 for line in bytes(received).splitlines())
    assert log.close(5.0)
    os.close(read)
    os.close(write)


def test_lines_of_several_workers_never_mix(tmp_path: Any) -> None:
    """Four processes write long lines into one pipe under the lock: every line arrives whole."""
    read, write = os.pipe()
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    children = []
    for worker in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(read)
                log = AccessLog(write, "json", lock, telemetry=Telemetry())
                for number in range(40):
                    Request(user_agent=b"%d" % worker * 9000, retries=number).write(log)
                    if number % 3 == 0:
                        log.flush()
                code = 0 if log.close(15.0) else 1
            finally:
                os._exit(code)
        children.append(pid)
    os.close(write)
    with open(read, "rb") as output:
        lines = [json.loads(line) for line in output]
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0, 0]
    os.close(lock)
    for worker in range(4):
        own = [line["retries"] for line in lines if line["user_agent"] == str(worker) * 9000]
        assert own == list(range(40))
    assert len(lines) == 160


def test_closing_without_a_line_starts_no_thread() -> None:
    """An idle worker ends at once."""
    log = AccessLog(1, "json", None, telemetry=Telemetry())
    assert log.close(0.0)
    assert log._writer._thread is None
