"""wrk: HTTP/1.1 on kept-alive connections, told by a script what to send and to report in JSON."""

from __future__ import annotations

import json
from typing import Final

from benchmarks.load.clients.load import Load, LoadResult, output_of
from benchmarks.load.scenarios import HOST, Scenario

__all__ = ["run_wrk"]

# The name is resolved by the script, so that the TLS server name is the host's without touching the machine's files.
_SCRIPT: Final = """
local resolve = wrk.resolve
function wrk.resolve(_, service) resolve("127.0.0.1", service) end
wrk.method = "{method}"
wrk.headers["Host"] = "{host}"
{requests}
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

# One visitor per line of a long list, which all connections share: what a connection sends next is never what it sent.
_CHANGING: Final = """
local heads, last = {}, 0
function init(_)
    for visitor = 1, 997 do
        wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
        wrk.headers["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        wrk.headers["Accept-Language"] = "en-US,en;q=0.5"
        wrk.headers["Accept-Encoding"] = "gzip, deflate, br, zstd"
        wrk.headers["Referer"] = string.format("https://%s/catalogue?page=%d", wrk.headers["Host"], visitor * 7919)
        wrk.headers["Cookie"] = string.format(
            "session=%08x%08x%08x; theme=dark; consent=yes; seen=%d.%d",
            visitor * 40503, visitor * 30011, visitor * 20011, 1700000000 + visitor, visitor)
        wrk.headers["Sec-Fetch-Mode"] = "navigate"
        wrk.headers["Sec-Fetch-Site"] = "same-origin"
        heads[visitor] = wrk.format(wrk.method, string.format("%s?item=%d", wrk.path, visitor))
    end
end
function request()
    last = last % #heads + 1
    return heads[last]
end
"""


def run_wrk(load: Load) -> LoadResult:
    """One thread."""
    scenario = load.scenario
    script = load.folder / "client.lua"
    script.write_text(_SCRIPT.format(method=scenario.method, host=HOST, requests=_requests(scenario)))
    url = f"{'https' if scenario.tls else 'http'}://{HOST}:{load.port}{scenario.path}"
    numbers = ("--connections", str(load.connections), "--duration", str(load.seconds))
    options = ("--threads", "1", "--timeout", "5", *numbers, "--script", str(script))
    report = json.loads(output_of(load, [load.program, *options, url]).rstrip().rsplit("\n", 1)[-1])
    kinds = ("connect", "read", "write", "timeout", "status")
    return LoadResult(
        requests=report["requests"],
        seconds=report["seconds"],
        bytes=report["bytes"],
        p50=report["p50"],
        p99=report["p99"],
        errors={kind: report[kind] for kind in kinds if report[kind]},
    )


def _requests(scenario: Scenario) -> str:
    if scenario.changing:
        return _CHANGING
    return f'wrk.body = string.rep("u", {scenario.request_bytes})' if scenario.request_bytes else ""
