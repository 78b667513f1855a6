"""HAProxy with one thread and the same forwarding headers as nginx.

``http-reuse safe``, its default, would send the first request of each client's connection over a new one of its own.
"""

from __future__ import annotations

from benchmarks.load.peers.peer import Launch, Peer, Setup, first_line
from benchmarks.load.scenarios import HOST

__all__ = ["HAPROXY"]

_CONFIG = """
global
    nbthread 1
    maxconn 4096
    ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
    mode http
    timeout client 75s
    timeout server 60s
    timeout connect 5s
    timeout http-request 15s
    timeout http-keep-alive 75s
    option http-keep-alive
    http-reuse always
frontend front
    bind 127.0.0.1:{port} {tls}
    unique-id-format %{{+X}}o%ci%cp%ts%rt
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Real-IP %[src]
    http-request set-header X-Forwarded-Proto {scheme}
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Port %[dst_port]
    http-request set-header X-Request-ID %[unique-id]
    acl known req.hdr(host),field(1,:),lower -m str {host}
    use_backend back if known {{ path_beg / }}
    default_backend nothing
backend back
    server one 127.0.0.1:{backend_port}
backend nothing
    http-request return status 404
"""


def _configure(setup: Setup) -> Launch:
    bundle = setup.folder / "bundle.pem"
    bundle.write_text(setup.certificate.read_text() + setup.key.read_text())
    config = setup.folder / "haproxy.cfg"
    alpn = "h2,http/1.1" if setup.scenario.http2 else "http/1.1"
    config.write_text(
        _CONFIG.format(
            port=setup.port,
            backend_port=setup.backend_port,
            tls=f"ssl crt {bundle} alpn {alpn}" if setup.scenario.tls else "",
            scheme="https" if setup.scenario.tls else "http",
            host=HOST,
        )
    )
    return Launch(command=[setup.executable, "-db", "-q", "-f", str(config)])


HAPROXY = Peer(
    name="haproxy",
    executable="haproxy",
    package="the Debian package haproxy",
    version=lambda executable: first_line(executable, "-v").removeprefix("HAProxy version ").split(" ")[0],
    configure=_configure,
)
