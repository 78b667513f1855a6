"""The proxies that can be measured, in the order they are measured and shown."""

from typing import Final

from benchmarks.load.peers.caddy import CADDY
from benchmarks.load.peers.envoy import ENVOY
from benchmarks.load.peers.haproxy import HAPROXY
from benchmarks.load.peers.nginx import NGINX
from benchmarks.load.peers.peer import Launch, Peer, Setup
from benchmarks.load.peers.pyngress import PYNGRESS
from benchmarks.load.peers.traefik import TRAEFIK

__all__ = ["PEERS", "Launch", "Peer", "Setup"]

PEERS: Final = {peer.name: peer for peer in (PYNGRESS, NGINX, HAPROXY, ENVOY, TRAEFIK, CADDY)}
