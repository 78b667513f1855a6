"""The client: wrk, told by a script to send the scenario's request and to report in JSON; and a single probe."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.processes import BenchmarkError, pinned
from benchmarks.load.scenarios import HOST, Scenario

__all__ = ["LoadResult", "Probe", "probe", "run_load"]

# The name is resolved by the script, so that the TLS server name is the host's without touching the machine's files.
_SCRIPT = """
local resolve = wrk.resolve
function wrk.resolve(_, service) resolve("127.0.0.1", service) end
wrk.method = "{method}"
wrk.headers["Host"] = "{host}"
{body}
function done(summary, latency, _)
    io.write(string.format(
        '\\n{{"requests": %d, "seconds": %.6f, "bytes": %d, "p50": %.6f, "p99": %.6f, ' ..
        '"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}\\n',
        summary.requests, summary.duration / 1e6, summary.bytes,
        latency:percentile(50.0) / 1e6, latency:percentile(99.0) / 1e6,
        summary.errors.connect, summary.errors.read, summary.errors.write,
        summary.errors.timeout, summary.errors.status))
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """What the client saw. Durations in seconds."""

    requests: int
    seconds: float
    bytes: int
    """Of the responses, heads included."""
    p50: float
    p99: float
    errors: dict[str, int]
    """Kinds of failure that happened: ``connect``, ``read``, ``write``, ``timeout``, ``status`` (400 and above)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One answer."""

    status: int
    body_bytes: int
    cipher: str
    """TLS version and cipher suite; empty without TLS."""


def run_load(
    wrk: str, scenario: Scenario, *, port: int, connections: int, seconds: int, core: int, folder: Path
) -> LoadResult:
    """Loads the port for ``seconds``, one thread. Raises ``BenchmarkError`` when the client itself fails."""
    script = folder / "client.lua"
    body = f'wrk.body = string.rep("u", {scenario.request_bytes})' if scenario.request_bytes else ""
    script.write_text(_SCRIPT.format(method=scenario.method, host=HOST, body=body))
    url = f"{'https' if scenario.tls else 'http'}://{HOST}:{port}{scenario.path}"
    numbers = ["--threads", "1", "--connections", str(connections), "--duration", str(seconds), "--timeout", "5"]
    command = pinned([wrk, *numbers, "--script", str(script), url], core)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True)
    except subprocess.CalledProcessError as error:
        raise BenchmarkError(f"wrk: {error.stdout}{error.stderr}") from error
    except subprocess.TimeoutExpired as error:
        raise BenchmarkError(f"wrk has not ended {error.timeout} s after its start") from error
    report = json.loads(done.stdout.rstrip().rsplit("\n", 1)[-1])
    kinds = ("connect", "read", "write", "timeout", "status")
    return LoadResult(
        requests=report["requests"],
        seconds=report["seconds"],
        bytes=report["bytes"],
        p50=report["p50"],
        p99=report["p99"],
        errors={kind: report[kind] for kind in kinds if report[kind]},
    )


def probe(scenario: Scenario, *, port: int, host: str = HOST) -> Probe:
    """Sends the scenario's request once. Raises ``OSError`` when there is no proper answer."""
    connection = http.client.HTTPConnection(host, timeout=5)
    plain = socket.create_connection(("127.0.0.1", port), timeout=5)
    try:
        connection.sock = _encrypted(plain) if scenario.tls else plain
        cipher = connection.sock.cipher() if isinstance(connection.sock, ssl.SSLSocket) else None
        connection.request(scenario.method, scenario.path, body=b"u" * scenario.request_bytes or None)
        answer = connection.getresponse()
        return Probe(
            status=answer.status,
            body_bytes=len(answer.read()),
            cipher=f"{cipher[1]} {cipher[0]}" if cipher else "",
        )
    except http.client.HTTPException as error:
        raise OSError(f"no proper answer: {error!r}") from error
    finally:
        connection.close()
        plain.close()


def _encrypted(plain: socket.socket) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate is our own, and wrk does not verify it either
    return context.wrap_socket(plain, server_hostname=HOST)
