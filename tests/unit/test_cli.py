"""The commands that read manifests and print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ingress.cli import main
from ingress.cli.render import columns, is_coloured, paint
from ingress.version import VERSION

INGRESS = """\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec:
  rules:
  - host: shop.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: front, port: {number: 80}}}}
      - {path: /cart, pathType: Exact, backend: {service: {name: cart, port: {number: 80}}}}
"""
FRONT = """\
apiVersion: v1
kind: Service
metadata: {name: front, namespace: shop}
spec:
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: front, namespace: shop}
subsets:
- addresses: [{ip: 10.0.0.1}, {ip: "fd00::1"}]
  ports: [{port: 8080}]
"""
CART = FRONT.replace("front", "cart")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without problems, below the working directory."""
    monkeypatch.chdir(tmp_path)
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    for name, text in {"ingress": INGRESS, "front": FRONT, "cart": CART}.items():
        (manifests / f"{name}.yaml").write_text(text)
    return manifests


def pyngress(*arguments: str, **more: Any) -> Result:
    return CliRunner().invoke(main, list(arguments), prog_name="pyngress", **more)


def test_check_of_good_manifests_is_silent_but_for_the_summary(folder: Path) -> None:
    """Exit code 0 and one line."""
    result = pyngress("check", str(folder))
    assert (result.exit_code, result.output) == (0, "1 Ingress served: 0 errors, 0 warnings\n")


def test_check_names_object_place_field_and_message_of_each_problem(folder: Path) -> None:
    """A missing Service is found, its line is aligned and plain, and the exit code is 1."""
    (folder / "cart.yaml").unlink()
    result = pyngress("check", str(folder))
    assert result.exit_code == 1
    problem, summary = result.output.splitlines()
    assert problem.startswith(
        "error  Ingress shop/web  manifests/ingress.yaml:1 (document 1)  spec.rules[0].http.paths[1].backend"
    )
    assert "cart" in problem
    assert "\x1b" not in problem
    assert summary == "1 Ingress served: 1 error, 0 warnings"


def test_check_as_json(folder: Path) -> None:
    """The same problem, for programs."""
    (folder / "cart.yaml").unlink()
    result = pyngress("check", str(folder), "-o", "json")
    assert result.exit_code == 1
    (problem,) = json.loads(result.output)
    assert problem["severity"] == "error"
    assert problem["object"] == {"kind": "Ingress", "namespace": "shop", "name": "web"}
    assert problem["source"]["line"] == 1
    assert set(problem) == {"severity", "object", "field", "reason", "message", "source"}


def test_warnings_do_not_fail_a_check(folder: Path) -> None:
    """An annotation of ours that does not exist changes nothing: a warning, exit code 0."""
    text = INGRESS.replace("metadata: {", "metadata: {annotations: {pyngress.io/no-such-thing: x}, ")
    (folder / "ingress.yaml").write_text(text)
    result = pyngress("check", str(folder))
    assert result.exit_code == 0
    assert result.output.startswith("warning  Ingress shop/web")
    assert result.output.endswith("1 Ingress served: 0 errors, 1 warning\n")


def test_a_path_that_does_not_exist_is_a_wrong_command_line(folder: Path) -> None:
    """Exit code 2, and the name."""
    for command in (["check", "nowhere"], ["routes", "nowhere"], ["explain", "a.b", "/", "--manifests", "nowhere"]):
        result = pyngress(*command)
        assert result.exit_code == 2
        assert "There is no file or folder 'nowhere'." in result.output


def test_no_path_at_all_is_a_wrong_command_line() -> None:
    """It says what to give."""
    result = pyngress("check")
    assert result.exit_code == 2
    assert "--manifests" in result.output


def test_routes_prints_an_aligned_table(folder: Path) -> None:
    """Host, path, kind, backend, endpoints, TLS, redirect; the longest path first."""
    result = pyngress("routes", str(folder))
    assert result.exit_code == 0
    assert [line.split() for line in result.output.splitlines()] == [
        ["HOST", "PATH", "KIND", "BACKEND", "ENDPOINTS", "TLS", "REDIRECT"],
        ["shop.example.com", "/cart", "exact", "shop/cart:80", "10.0.0.1:8080,[fd00::1]:8080", "default", "-"],
        ["shop.example.com", "/", "prefix", "shop/front:80", "10.0.0.1:8080,[fd00::1]:8080", "default", "-"],
    ]
    starts = {
        line.index(word) for line, word in zip(result.output.splitlines(), ("KIND", "exact", "prefix"), strict=True)
    }
    assert len(starts) == 1


def test_routes_of_a_folder_from_the_environment_as_json(folder: Path) -> None:
    """PYNGRESS_MANIFESTS names the folder; JSON is the table."""
    result = pyngress("routes", "-o", "json", env={"PYNGRESS_MANIFESTS": str(folder)})
    assert set(json.loads(result.stdout)["hosts"]) == {"shop.example.com"}


def test_routes_shows_what_cannot_be_served(folder: Path) -> None:
    """A backend without endpoints is marked, and the reader is sent to check."""
    (folder / "cart.yaml").unlink()
    result = pyngress("routes", str(folder))
    cart = next(line for line in result.stdout.splitlines() if "/cart" in line)
    assert "503" in cart
    assert "see 'pyngress check'" in result.stderr


def test_routes_without_any(tmp_path: Path) -> None:
    """An empty folder is not an error."""
    assert pyngress("routes", str(tmp_path)).output == "No routes.\n"


def test_explain_says_who_serves_and_who_lost(folder: Path) -> None:
    """The winner in the first line, then every candidate with its reason."""
    lines = pyngress("explain", "shop.example.com", "/cart", "--manifests", str(folder)).output.splitlines()
    assert lines[0] == "shop.example.com/cart is served by shop/cart:80 (Ingress shop/web)"
    assert any(line.split()[0] == "won" and "/cart" in line for line in lines[3:])
    assert any(line.split()[0] == "lost" and "an exact path goes before a prefix" in line for line in lines[3:])


def test_explain_of_a_host_nobody_serves(folder: Path) -> None:
    """404, with the reason."""
    result = pyngress("explain", "other.example.com", "/", "--manifests", str(folder))
    assert result.output.startswith("other.example.com/ is answered with 404: no host covers it")


def test_explain_of_a_bad_host(folder: Path) -> None:
    """400, with the reason."""
    assert "is refused with 400:" in pyngress("explain", "a b", "/", "--manifests", str(folder)).output


def test_explain_as_json(folder: Path) -> None:
    """The explanation itself."""
    result = pyngress("explain", "shop.example.com", "/x", "--manifests", str(folder), "-o", "json")
    assert json.loads(result.output)["route"]["action"] == {"type": "forward", "cluster": "shop/front:80"}


OLD = """\
apiVersion: extensions/v1beta1
kind: Ingress
metadata: {name: old}
spec:
  backend: {serviceName: other, servicePort: 8080}
"""


def test_convert_prints_v1_from_files_and_standard_input(tmp_path: Path) -> None:
    """Old forms become networking.k8s.io/v1, several inputs several documents."""
    (tmp_path / "old.yaml").write_text(OLD)
    result = pyngress("convert", str(tmp_path / "old.yaml"), "-", input=OLD.replace("old", "piped"))
    assert result.exit_code == 0
    first, second = result.output.split("---\n")
    assert "name: old" in first
    assert "name: piped" in second
    assert result.output.count("apiVersion: networking.k8s.io/v1\n") == 2
    assert "serviceName" not in result.output


def test_convert_refuses_what_does_not_parse(tmp_path: Path) -> None:
    """Exit code 1 with the file's name, no output of the rest."""
    (tmp_path / "bad.yaml").write_text("a: [")
    result = pyngress("convert", str(tmp_path / "bad.yaml"))
    assert result.exit_code == 1
    assert "bad.yaml" in result.stderr
    assert result.stdout == ""


def test_version() -> None:
    """Both ways to ask give the installed version."""
    assert pyngress("version").output == pyngress("--version").output == f"pyngress {VERSION}\n"


class Terminal:
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """NO_COLOR and TERM=dumb turn it off; a file has none."""
    terminal: Any = Terminal()
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert is_coloured(terminal)
    assert paint("x", "red", stream=terminal) == "\x1b[31mx\x1b[0m"
    with (tmp_path / "file").open("w") as file:
        assert not is_coloured(file)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not is_coloured(terminal)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not is_coloured(terminal)


def test_columns_are_aligned_by_what_is_seen() -> None:
    """Colour codes have no width; the last column leaves no blanks."""
    assert columns([["\x1b[31mab\x1b[0m", "x"], ["c", "yy"]]) == ["\x1b[31mab\x1b[0m  x", "c   yy"]
    assert columns([]) == []
