"""Tests that run in several processes, and those of them that no other may disturb."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = '''
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

INSIDE = Path(__file__).parent / "inside"


@contextmanager
def entered(name):
    mine = INSIDE / f"{Path(__file__).stem}-{name}"
    mine.touch()
    yield
    mine.unlink()


def test_that_both_run_at_once():
    """Each waits until the other is here too."""
    with entered("first"):
        end = time.monotonic() + 10
        while len(list(INSIDE.glob("*-first"))) < 2:
            assert time.monotonic() < end, "the other process runs nothing meanwhile"
            time.sleep(0.001)
        time.sleep(0.05)


@pytest.mark.parametrize("number", range(20))
def test_shared(number):
    with entered("shared"):
        time.sleep(0.005)


@pytest.mark.alone
@pytest.mark.parametrize("number", range(5))
def test_alone(number):
    for _ in range(20):
        assert list(INSIDE.iterdir()) == []
        with entered("alone"):
            time.sleep(0.001)
            assert len(list(INSIDE.iterdir())) == 1
'''
CONFIGURATION = """
[pytest]
markers = alone
"""


def test_tests_run_at_once_except_for_those_that_are_marked_alone(tmp_path: Path) -> None:
    """Two processes run a file each: their first tests meet, and those that are marked never meet any."""
    (tmp_path / "pytest.ini").write_text(CONFIGURATION)
    (tmp_path / "inside").mkdir()
    # Where one is at its tests for itself, the other is at those that may meet.
    shared, alone = FILE.split("@pytest.mark.alone")
    (tmp_path / "test_one.py").write_text(FILE)
    (tmp_path / "test_two.py").write_text(shared.replace("range(20)", "range(60)") + "@pytest.mark.alone" + alone)
    command = (sys.executable, "-m", "pytest", "-p", "xdist", "-p", "tests.support.turns", "-p", "no:cacheprovider")
    ended = subprocess.run(
        [*command, "--rootdir", tmp_path, "-n", "2", "--dist", "loadfile", tmp_path],
        cwd=ROOT,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "92 passed" in ended.stdout
