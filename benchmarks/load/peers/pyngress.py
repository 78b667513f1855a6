"""Pyngress' data plane alone, from a table file: one process, or workers as the control process keeps them."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import msgspec

import proxy
from benchmarks.load.peers.peer import Launch, Peer, Setup
from benchmarks.load.processes import free_port
from benchmarks.load.scenarios import HOST
from proxy.table.model import Certificate, Cluster, Endpoint, Forward, Host, Labels, Route, Settings, Table

__all__ = ["PYNGRESS", "make_table"]


def make_table(setup: Setup) -> Table:
    """The scenario's hosts, each with the prefix ``/`` of one cluster."""
    route = Route(
        action=Forward(cluster="demo/foo:80"),
        labels=Labels(namespace="demo", ingress="foo", path="/", service="foo", port="80"),
    )
    names = [HOST, *(f"h{number}.mydomain.com" for number in range(setup.scenario.other_hosts))]
    certificate = Certificate(chain_pem=setup.certificate.read_text(), key_pem=setup.key.read_text())
    return Table(
        hosts={name: Host(routes=(route,)) for name in names},
        clusters={"demo/foo:80": Cluster(endpoints=(Endpoint(address="127.0.0.1", port=setup.backend_port),))},
        certificates={"demo/foo-tls": certificate} if setup.scenario.tls else {},
        server_names={HOST: "demo/foo-tls"} if setup.scenario.tls else {},
        settings=Settings(access_log="off"),
    )


def _configure(setup: Setup) -> Launch:
    table = setup.folder / "table.json"
    table.write_bytes(msgspec.json.encode(make_table(setup), order="deterministic"))
    ports = ["--http-port", str(setup.port)]
    if setup.scenario.tls:
        ports = ["--http-port", str(free_port()), "--https-port", str(setup.port)]
    program = ["proxy", "--bind", "127.0.0.1", "--no-access-log"]
    if setup.scenario.workers > 1:
        program = ["benchmarks.load.peers.workers", "--workers", str(setup.scenario.workers)]
    return Launch(
        command=[setup.executable, "-m", *program, "--table", str(table), *ports],
        environment={"PYTHONPATH": str(Path(proxy.__file__).parents[1])},
    )


PYNGRESS = Peer(
    name="pyngress",
    executable=sys.executable,
    package="Pyngress itself: pip install -e .",
    version=lambda _: f"{version('pyngress')} (Python {sys.version.split()[0]}, uvloop {version('uvloop')})",
    configure=_configure,
    many_hosts=True,
)
