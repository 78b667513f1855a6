"""Writes what comes out now into every golden case: ``python -m tests.golden.update [NAME…]``. Then read the diff."""

from __future__ import annotations

import sys

from tests.golden.case import case_files, read_case, run_case


def main(names: list[str]) -> None:
    for path in case_files():
        if not names or path.stem in names:
            text = run_case(read_case(path)).text
            if text != path.read_text():
                path.write_text(text)
                print(f"rewritten: {path.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
