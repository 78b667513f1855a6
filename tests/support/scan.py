"""sslyze, which looks at a TLS server as a scanner on the internet does.

It is a program of its own, in a folder of its own (``make venv``, `tests/sslyze.txt`): it needs an older cryptography
than Pyngress may have, and none of its code is loaded into the tests.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

__all__ = ["Finding", "scan", "sslyze_folder"]

Finding = dict[str, Any]
"""What one target showed: scan command → its result, as in sslyze's JSON; ``connectivity`` as well."""

_FOLDER: Final = Path(sys.prefix, "sslyze")
PATIENCE: Final = 18.0
"""Seconds for one run."""


def sslyze_folder() -> Path:
    """Where sslyze is installed; skips the test on a machine that has no build of it."""
    if not (_FOLDER / "sslyze").is_dir():
        pytest.skip(f"no sslyze: pip install --target {_FOLDER} -r tests/sslyze.txt (builds for Linux and macOS)")
    return _FOLDER


async def scan(port: int, names: Sequence[str], commands: Sequence[str]) -> Mapping[str, Finding]:
    """Scan loopback under each of these server names; ``commands`` as sslyze's flags without their dashes.

    Fails where a command did: a scan that did not happen shows nothing.
    """
    folder = sslyze_folder()
    with tempfile.TemporaryDirectory() as home:
        report = Path(home, "report.json")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "ignore", "-m", "sslyze", "--quiet", "--mozilla_config=disable"),
            *(f"--json_out={report}", *(f"--{command}" for command in commands)),
            *(f"{name}:{port}{{127.0.0.1}}" for name in names),
            env={"PYTHONPATH": str(folder), "PATH": os.environ.get("PATH", ""), "HOME": home},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, said.decode()
        results = json.loads(report.read_bytes())["server_scan_results"]
    return {result["server_location"]["hostname"]: _finding(result) for result in results}


def _finding(result: dict[str, Any]) -> Finding:
    assert result["connectivity_status"] == "COMPLETED", result["connectivity_error_trace"]
    finding: Finding = {"connectivity": result["connectivity_result"]}
    for command, attempt in result["scan_result"].items():
        assert attempt["status"] in ("COMPLETED", "NOT_SCHEDULED"), f"{command}: {attempt['error_trace']}"
        if attempt["status"] == "COMPLETED":
            finding[command] = attempt["result"]
    return finding
