"""The proxy on one node, its endpoints on another: over an overlay, over plain routes, and behind Services."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import msgspec
import pytest

from proxy.table import Cluster, Endpoint, Forward, Host, Route, Settings, Table
from tests.support import nodes as net
from tests.support.pod_backend import BIG, PATTERN, digest_of_big

PORT, BACKEND_PORT, NODE_PORT = 8080, 8081, 30080
HOST = ("-H", "Host: foo.example.com")


@cache
def _missing(nat: bool) -> str:
    return net.missing(nat=nat)


@pytest.fixture(autouse=True)
def _able(request: pytest.FixtureRequest) -> None:
    reason = _missing(request.node.get_closest_marker("nat") is not None)
    if reason:
        pytest.skip(reason)


@contextmanager
def _serving(folder: Path, cni: Callable[[net.Nodes], None]) -> Iterator[net.Nodes]:
    """The proxy in a pod of node a, the backend in a pod of node b."""
    table = Table(
        hosts={"foo.example.com": Host(routes=(Route(action=Forward(cluster="app")),))},
        clusters={"app": Cluster(endpoints=(Endpoint(address=net.POD_B, port=BACKEND_PORT),))},
        settings=Settings(connect_timeout=2.0, read_timeout=10.0),
    )
    file = folder / "table.json"
    file.write_bytes(msgspec.json.encode(table))
    with net.nodes() as made:
        cni(made)
        log = folder / "backend.log"
        made.start("backend", *net.python("-m", "tests.support.pod_backend", "0.0.0.0", str(BACKEND_PORT)), log=log)
        net.wait_for(log, "listening")
        log = folder / "proxy.log"
        arguments = ("--table", str(file), "--bind", "0.0.0.0", "--http-port", str(PORT), "--no-access-log")
        made.start("proxy", *net.python("-m", "proxy", *arguments), log=log)
        net.wait_for(log, "listening for http")
        yield made


def _wrong_mtu(made: net.Nodes) -> None:
    net.overlay(made, pod_mtu=net.UNDERLAY_MTU)


CNIS = {"overlay": net.overlay, "overlay-with-a-pod-mtu-too-large": _wrong_mtu, "plain-routes": net.plain_routes}


@pytest.mark.parametrize("cni", CNIS.values(), ids=CNIS)
def test_large_bodies_pass_between_nodes(tmp_path: Path, cni: Callable[[net.Nodes], None]) -> None:
    """A download and an upload of 8 MiB arrive whole at an endpoint on another node, whatever the road between."""
    upload = tmp_path / "upload"
    upload.write_bytes((PATTERN * (BIG // len(PATTERN) + 1))[:BIG])
    with _serving(tmp_path, cni) as made:
        target = f"http://{net.POD_A}:{PORT}"
        made.curl(*HOST, "--output", str(tmp_path / "download"), f"{target}/big")
        assert hashlib.sha256((tmp_path / "download").read_bytes()).hexdigest() == digest_of_big()
        answer = made.curl(*HOST, "-H", "Expect:", "--data-binary", f"@{upload}", f"{target}/upload")
        assert answer == digest_of_big()


def test_the_overlay_is_really_smaller(tmp_path: Path) -> None:
    """A packet of the nodes' size does not fit through the overlay: the tests above do cross a smaller MTU."""
    with _serving(tmp_path, net.overlay) as made:
        route = made.ip("proxy", f"-json route get {net.POD_B}")
        assert '"dev"' in route
        with pytest.raises(AssertionError, match="Message too long"):
            made.run("a", "python3", "-c", _OVERSIZED)


_OVERSIZED = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO: never fragment
s.sendto(bytes({net.UNDERLAY_MTU - 28}), ("{net.POD_B}", 9))
"""


@pytest.mark.nat
def test_a_local_traffic_policy_keeps_the_client_address(tmp_path: Path) -> None:
    """``externalTrafficPolicy: Local`` rewrites only the destination: the backend hears of the client's own address."""
    with _serving(tmp_path, net.overlay) as made:
        made.nft("a", _rewrite(NODE_PORT, masquerade=False))
        assert made.curl(*HOST, f"http://{net.NODE_A}:{NODE_PORT}/") == f"{net.CLIENT} {net.POD_A}"


@pytest.mark.nat
def test_a_cluster_traffic_policy_hides_the_client_address(tmp_path: Path) -> None:
    """``externalTrafficPolicy: Cluster`` through another node shows that node instead, as docs/cni.md warns."""
    with _serving(tmp_path, net.overlay) as made:
        made.nft("b", _rewrite(NODE_PORT, masquerade=True))
        seen, _ = made.curl(*HOST, f"http://{net.NODE_B}:{NODE_PORT}/").split()
        assert seen == "10.244.2.0"


def _rewrite(port: int, *, masquerade: bool) -> str:
    """What kube-proxy does for a node port that leads to the proxy's pod."""
    rules = [
        "add table ip nat",
        "add chain ip nat before { type nat hook prerouting priority -100; }",
        f"add rule ip nat before tcp dport {port} dnat to {net.POD_A}:{PORT}",
        "add chain ip nat after { type nat hook postrouting priority 100; }",
    ]
    if masquerade:
        rules.append(f"add rule ip nat after ip daddr {net.POD_A} masquerade")
    return "\n".join(rules) + "\n"
