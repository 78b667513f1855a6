"""Every golden case: the manifests give exactly the table and the problems that stand in its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.case import Case, case_files, read_case, run_case

SHUFFLES = 4


@pytest.mark.parametrize("path", case_files(), ids=lambda path: path.stem)
def test_case_gives_its_table_and_problems(path: Path) -> None:
    """The file stands for what comes out; `python -m tests.golden.update` rewrites it after an intended change."""
    case = read_case(path)
    assert run_case(case).text == path.read_text()


@pytest.mark.parametrize("path", case_files(), ids=lambda path: path.stem)
def test_order_of_objects_means_nothing(path: Path) -> None:
    """The same objects and annotations in other orders give the same bytes."""
    case = read_case(path)
    for seed in range(SHUFFLES):
        assert run_case(case, seed=seed) == case, f"seed {seed}"


def test_no_case_shows_a_key() -> None:
    """Keys are redacted in every case that has a certificate."""
    shown = [read_case(path).table for path in case_files()]
    assert sum("<redacted sha256:" in table for table in shown) >= 5
    assert not any("PRIVATE" in table for table in shown)


@pytest.mark.parametrize(
    "text",
    ["No manifests.\n", "No full stop\n---- manifests\n", "Odd.\nflag: x\n---- manifests\n", "A.\n---- manifest\nx\n"],
)
def test_file_that_is_no_case_is_refused(tmp_path: Path, text: str) -> None:
    """A misspelt section or header line is an error, so that no case tests less than it says."""
    path = tmp_path / "case.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"case\.txt"):
        read_case(path)


def test_text_of_a_case_is_its_file() -> None:
    """Reading and writing a case loses nothing."""
    case = Case(header="A.\nflags: --no-ssl-redirect\n", manifests="{}\n", table="{}\n", problems="")
    assert case.text == "A.\nflags: --no-ssl-redirect\n---- manifests\n{}\n---- table\n{}\n---- problems\n"
