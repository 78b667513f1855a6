"""The Dockerfile: what it copies is there, what it promises the chart holds, and its commands do what they say."""

from __future__ import annotations

import http.server
import json
import os
import re
import struct
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.rendering import CHART, ROOT, VALUES, pod_specs, render
from tests.support.tools import run_tool, tool

DOCKERFILE = (ROOT / "Dockerfile").read_text()
CHART_YAML: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _instructions() -> Iterator[tuple[str, str]]:
    """Keyword and rest of each, lines joined, comments left out."""
    lines = "\n".join(line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        if line.strip():
            keyword, _, rest = line.strip().partition(" ")
            yield keyword, rest.strip()


def _only(keyword: str) -> str:
    (found,) = (rest for word, rest in _instructions() if word == keyword)
    return found


def test_the_linter_finds_nothing() -> None:
    """hadolint is content, but for the line that says why it is not obeyed."""
    done = run_tool(tool("hadolint"), str(ROOT / "Dockerfile"))
    assert (done.returncode, done.stdout) == (0, "")


def test_everything_that_is_copied_exists_and_reaches_the_builder() -> None:
    """Each source of a COPY is in the tree, and .dockerignore, which shuts out the rest, lets it in."""
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    sources = [
        source
        for keyword, rest in _instructions()
        if keyword == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert set(sources) == {"pyproject.toml", "setup.py", "README.md", "LICENSE", "ingress", "proxy"}
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in ignored, source


def test_the_tree_holds_every_package_of_the_project() -> None:
    """What setuptools looks for is what is copied."""
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.rstrip("*") for name in found} == {"ingress", "proxy"}


def test_the_result_starts_from_the_base_and_has_no_compiler() -> None:
    """Of Debian's packages the second stage has the library that is linked to, and of the first stage one folder."""
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    assert len(stages) == 2
    assert "build-essential" in stages[0]
    assert "PYNGRESS_NGHTTP2=1" in stages[0]
    assert re.findall(r"apt-get install.*", stages[1]) == [
        "apt-get install --yes --no-install-recommends libnghttp2-14 \\"
    ]
    assert re.findall(r"^COPY (.*)$", stages[1], re.MULTILINE) == ["--from=build /opt/pyngress /opt/pyngress"]


def test_version_user_and_interpreter_are_those_of_the_chart() -> None:
    """The chart runs this image: the same version and user, and on the host network the interpreter that can bind."""
    assert CHART_YAML["appVersion"] == CHART_YAML["version"] == PROJECT["version"]
    assert f'image.version="{PROJECT["version"]}"' in DOCKERFILE
    user, group = (int(each) for each in _only("USER").split(":"))
    tool("helm")
    ((_, template),) = pod_specs(render(VALUES / "host-network.yaml"))
    context = template["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (user, group)
    interpreter, *module = template["spec"]["containers"][0]["command"]
    assert f'cp "$(readlink -f /opt/pyngress/bin/python)" {interpreter}' in DOCKERFILE
    assert module == ["-m", "ingress"]
    assert json.loads(_only("ENTRYPOINT")) == ["pyngress"]
    assert json.loads(_only("CMD")) == ["run"]


def test_the_interpreter_for_host_networks_gets_one_capability(tmp_path: Path) -> None:
    """The step that sets it writes revision 2, effective, with CAP_NET_BIND_SERVICE (10) permitted and nothing else."""
    (step,) = (json.loads(rest) for keyword, rest in _instructions() if keyword == "RUN" and rest.startswith("["))
    assert step[:2] == ["python", "-c"]
    written: list[tuple[str, str, bytes]] = []
    double = type("os", (), {"setxattr": staticmethod(lambda *args: written.append(args))})
    exec(step[2].replace("import os, struct; ", ""), {"os": double, "struct": struct})
    ((path, name, value),) = written
    assert (path, name) == ("/opt/pyngress/bin/python-bind", "security.capability")
    head, permitted, inheritable, permitted_high, inheritable_high = struct.unpack("<5I", value)
    assert (head & 0xFF000000, head & 1) == (0x02000000, 1)
    assert permitted == 1 << 10
    assert (inheritable, permitted_high, inheritable_high) == (0, 0, 0)


class _Health(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_asks_the_admin_server(status: int, code: int) -> None:
    """Its command ends with 0 if /healthz answers 200 on the port of the environment, and with 1 otherwise."""
    health = type("Health", (_Health,), {"status": status})
    command = json.loads(_only("HEALTHCHECK").partition("CMD ")[2])
    assert command[0] == "python"
    with http.server.HTTPServer(("127.0.0.1", 0), health) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        environment = {**os.environ, "PYNGRESS_ADMIN_PORT": str(server.server_port)}
        done = subprocess.run([sys.executable, *command[1:]], env=environment, capture_output=True, check=False)
        thread.join()
    assert done.returncode == code
