"""nginx with the forwarding headers of ingress-nginx."""

from __future__ import annotations

import os

from benchmarks.load.peers.peer import Launch, Peer, Setup, first_line
from benchmarks.load.scenarios import HOST

__all__ = ["NGINX"]

_CONFIG = """
daemon off;
{user}
worker_processes {workers};
pid nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_timeout 75s;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server_names_hash_max_size 65536;
    upstream backend {{
        server 127.0.0.1:{backend_port};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    proxy_http_version 1.1;
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    proxy_set_header Connection "";
    proxy_set_header Host $host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header X-Forwarded-Port $server_port;
    proxy_set_header X-Request-ID $request_id;
    server {{ listen 127.0.0.1:{port} default_server {tls} backlog=4096; return 404; }}
{servers}
}}
"""


def _configure(setup: Setup) -> Launch:
    # ``http2 on`` is nginx 1.25; newer ones still take this, with a warning.
    tls = ("ssl http2" if setup.scenario.http2 else "ssl") if setup.scenario.tls else ""
    hosts = [HOST, *(f"h{number}.mydomain.com" for number in range(setup.scenario.other_hosts))]
    config = setup.folder / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            workers=setup.scenario.workers,
            user="user root;" if os.geteuid() == 0 else "",
            port=setup.port,
            backend_port=setup.backend_port,
            certificate=setup.certificate,
            key=setup.key,
            tls=tls,
            servers="\n".join(
                f"    server {{ listen 127.0.0.1:{setup.port} {tls}; server_name {host}; "
                "location / { proxy_pass http://backend; } }"
                for host in hosts
            ),
        )
    )
    return Launch(command=[setup.executable, "-p", str(setup.folder), "-e", "stderr", "-c", str(config)])


NGINX = Peer(
    name="nginx",
    executable="nginx",
    package="the Debian package nginx",
    version=lambda executable: first_line(executable, "-v").removeprefix("nginx version: nginx/"),
    configure=_configure,
    many_hosts=True,
)
