"""Two nodes, a pod on each and a client, in network namespaces: what a CNI plugin builds, in small.

::

    client 198.51.100.9 ── node a ═══ 192.0.2.0/24 ═══ node b
                             │                           │
                     proxy 10.244.1.2            backend 10.244.2.2

The double line is the network of the nodes, MTU 1500. How pods of one node reach those of the other is up to the CNI:
:func:`overlay` (VXLAN, as Flannel, Canal, Weave and Cilium) or :func:`plain_routes` (as Calico with BGP).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

__all__ = [
    "CLIENT",
    "NODE_A",
    "NODE_B",
    "OVERLAY_MTU",
    "POD_A",
    "POD_B",
    "UNDERLAY_MTU",
    "Nodes",
    "missing",
    "nodes",
    "overlay",
    "plain_routes",
]

CLIENT, NODE_A, NODE_B = "198.51.100.9", "192.0.2.1", "192.0.2.2"
POD_A, POD_B = "10.244.1.2", "10.244.2.2"
UNDERLAY_MTU = 1500
OVERLAY_MTU = UNDERLAY_MTU - 50
"""VXLAN over IPv4 takes 50 bytes: inner Ethernet 14, VXLAN 8, UDP 8, IPv4 20 (RFC 7348)."""
_GATEWAY = "169.254.1.1"
"""The next hop that pods of Calico have: every node answers for it by proxy ARP."""
PATIENCE = 10.0

_IP, _TC = shutil.which("ip"), shutil.which("nft")


def missing(*, nat: bool = False) -> str:
    """Why the namespaces cannot be built on this machine; empty: they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if _IP is None:
        return "there is no ip (Debian: iproute2)"
    if nat and _TC is None:
        return "there is no nft (Debian: nftables)"
    probe = f"pyn-probe-{os.getpid()}"
    if _run("ip", "netns", "add", probe, check=False).returncode:
        return "network namespaces cannot be made here"
    try:
        link = ("ip", "-n", probe, "link", "add", "probe", "type", "vxlan", "id", "1", "dstport", "8472")
        if _run(*link, check=False).returncode:
            return "the kernel has no VXLAN"
        rules = ("ip", "netns", "exec", probe, "nft", "add chain ip nat x { type nat hook prerouting priority -100; }")
        table = ("ip", "netns", "exec", probe, "nft", "add table ip nat")
        if nat and (_run(*table, check=False).returncode or _run(*rules, check=False).returncode):
            return "the kernel has no address translation by nftables"
    finally:
        _run("ip", "netns", "del", probe)
    return ""


class Nodes:
    """The namespaces, by what they stand for: ``client``, ``a``, ``b``, ``proxy``, ``backend``."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._prefix = f"pyn{os.getpid()}-"
        self._made = 0

    def add(self, name: str) -> None:
        """A namespace of its own, forwarding between its links."""
        _run("ip", "netns", "add", self._prefix + name)
        self._stack.callback(_run, "ip", "netns", "del", self._prefix + name)
        self.ip(name, "link set lo up")
        self.run(name, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")

    def ip(self, name: str, command: str) -> str:
        """``ip COMMAND`` inside a namespace."""
        return _run("ip", "-n", self._prefix + name, *command.split()).stdout

    def run(self, name: str, *command: str) -> str:
        """A command inside a namespace, to its end; its output."""
        return _run("ip", "netns", "exec", self._prefix + name, *command).stdout

    def nft(self, name: str, rules: str) -> None:
        """Address translation inside a namespace, as kube-proxy makes it."""
        _run("ip", "netns", "exec", self._prefix + name, "nft", "-f", "-", stdin=rules)

    def link(self, one: str, other: str, *, mtu: int = UNDERLAY_MTU) -> tuple[str, str]:
        """A cable between two namespaces; the names of its ends."""
        self._made += 1
        left, right = f"to-{other}"[:12] + str(self._made), f"to-{one}"[:12] + str(self._made)
        _run(
            *("ip", "link", "add", left, "mtu", str(mtu), "netns", self._prefix + one, "type", "veth"),
            *("peer", "name", right, "mtu", str(mtu), "netns", self._prefix + other),
        )
        self.ip(one, f"link set {left} up")
        self.ip(other, f"link set {right} up")
        return left, right

    def start(self, name: str, *command: str, log: Path) -> None:
        """A process inside a namespace until the end of the test; what it says goes to ``log``."""
        with log.open("wb") as sink:
            process = subprocess.Popen(
                ("ip", "netns", "exec", self._prefix + name, *command),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        self._stack.callback(_end, process)

    def curl(self, *arguments: str, at: str = "client") -> str:
        """What curl writes to standard output. It fails on an error status."""
        return self.run(at, "curl", "--silent", "--show-error", "--fail", "--max-time", "15", *arguments)


@contextmanager
def nodes() -> Iterator[Nodes]:
    """Client and nodes with their addresses; the pods come with a CNI."""
    with ExitStack() as stack:
        made = Nodes(stack)
        for name in ("client", "a", "b", "proxy", "backend"):
            made.add(name)
        for name, own, node in (("client", CLIENT, "198.51.100.1"),):
            client, gateway = made.link(name, "a")
            made.ip(name, f"addr add {own}/24 dev {client}")
            made.ip("a", f"addr add {node}/24 dev {gateway}")
            made.ip(name, f"route add default via {node}")
        left, right = made.link("a", "b")
        made.ip("a", f"addr add {NODE_A}/24 dev {left}")
        made.ip("b", f"addr add {NODE_B}/24 dev {right}")
        made.ip("b", f"route add 198.51.100.0/24 via {NODE_A}")
        yield made


def overlay(made: Nodes, *, pod_mtu: int = OVERLAY_MTU) -> None:
    """Pods on a VXLAN between the nodes. ``pod_mtu`` beyond :data:`OVERLAY_MTU` is the usual mistake."""
    macs = {}
    for node, own, device, pod in (("a", NODE_A, 1, "proxy"), ("b", NODE_B, 2, "backend")):
        made.ip(node, f"link add vxlan1 mtu {OVERLAY_MTU} type vxlan id 1 local {own} dstport 8472 nolearning")
        made.ip(node, f"addr add 10.244.{device}.0/32 dev vxlan1")
        made.ip(node, "link set vxlan1 up")
        macs[node] = json.loads(made.ip(node, "-json link show dev vxlan1"))[0]["address"]
        _pod(made, node, pod, f"10.244.{device}", pod_mtu)
    for node, other, address, device in (("a", "b", NODE_B, 2), ("b", "a", NODE_A, 1)):
        made.run(node, "bridge", "fdb", "add", macs[other], "dev", "vxlan1", "dst", address)
        made.ip(node, f"neigh add 10.244.{device}.0 lladdr {macs[other]} dev vxlan1 nud permanent")
        made.ip(node, f"route add 10.244.{device}.0/24 via 10.244.{device}.0 dev vxlan1 onlink")


def _pod(made: Nodes, node: str, pod: str, network: str, mtu: int) -> None:
    inside, outside = made.link(pod, node, mtu=mtu)
    made.ip(node, f"addr add {network}.1/24 dev {outside}")
    made.ip(pod, f"addr add {network}.2/24 dev {inside}")
    made.ip(pod, f"route add default via {network}.1")


def plain_routes(made: Nodes) -> None:
    """Pods with addresses of their own (/32) that the nodes route to each other, without any wrapping."""
    for node, pod, own, other in (
        ("a", "proxy", POD_A, ("10.244.2.0/24", NODE_B)),
        ("b", "backend", POD_B, ("10.244.1.0/24", NODE_A)),
    ):
        inside, outside = made.link(pod, node)
        made.run(node, "sh", "-c", f"echo 1 > /proc/sys/net/ipv4/conf/{outside}/proxy_arp")
        made.ip(node, f"route add default via {other[1]}")  # proxy ARP answers only for what has a route elsewhere
        made.ip(node, f"route add {own}/32 dev {outside} scope link")
        made.ip(node, f"route add {other[0]} via {other[1]}")
        made.ip(pod, f"addr add {own}/32 dev {inside}")
        made.ip(pod, f"route add {_GATEWAY}/32 dev {inside} scope link")
        made.ip(pod, f"route add default via {_GATEWAY} dev {inside}")


def wait_for(path: Path, text: str) -> None:
    """Until a process has said ``text``."""
    end = time.monotonic() + PATIENCE
    while text not in path.read_text():
        assert time.monotonic() < end, path.read_text()
        time.sleep(0.02)


def python(*arguments: str) -> Sequence[str]:
    """The interpreter of the tests, for a process in a namespace."""
    return (sys.executable, *arguments)


def _run(*command: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=PATIENCE * 2)
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
    return done


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
