"""The backend: one nginx worker with answers that cost it as little as possible, and its own count of what came."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.processes import free_port, running, wait_until
from benchmarks.load.scenarios import KIB, MIB

__all__ = ["Backend", "BackendCount", "serving_backend"]

BODY = "k" * KIB

_CONFIG = """
daemon off;
{user}
worker_processes 1;
pid backend.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    client_body_temp_path backend-body;
    proxy_temp_path backend-proxy;
    fastcgi_temp_path backend-fastcgi;
    uwsgi_temp_path backend-uwsgi;
    scgi_temp_path backend-scgi;
    client_max_body_size 0;
    client_body_buffer_size 2m;
    default_type text/plain;
    upstream itself {{ server 127.0.0.1:{port}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        # No head twice where no request comes twice.
        location = / {{ add_header X-Item $arg_item; return 200 "{body}"; }}
        location = /mebibyte {{ root {folder}; sendfile on; }}
        # ``return`` would answer before it has read the body; a proxied request is read to its end first.
        location = /upload {{
            proxy_pass http://itself/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_method GET;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }}
        location = /count {{ stub_status; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendCount:
    """What the backend has taken since it started."""

    connections: int
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A backend that serves on the loopback."""

    port: int

    def count(self) -> BackendCount:
        """Reads the counters; that counts as a connection and a request itself. Raises ``OSError``."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/count", timeout=5) as answer:
            # "Active connections: 1 \nserver accepts handled requests\n 9 9 300 \n…"
            accepted, _handled, requests = answer.read().decode().splitlines()[2].split()
        return BackendCount(connections=int(accepted), requests=int(requests))


@contextmanager
def serving_backend(nginx: str, *, core: int, folder: Path) -> Iterator[Backend]:
    """The backend on ``core``, ready, for the time of the block."""
    backend = Backend(port=free_port())
    (folder / "mebibyte").write_bytes(b"m" * MIB)
    config = folder / "backend.conf"
    # A worker started by root gives up root, and could then not read the folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(_CONFIG.format(port=backend.port, body=BODY, folder=folder, user=user))
    command = [nginx, "-p", str(folder), "-e", "stderr", "-c", str(config)]
    with running("backend", command, core=core, folder=folder) as process:
        wait_until(backend.count, process, seconds=10)
        yield backend
