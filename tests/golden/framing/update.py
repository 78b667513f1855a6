"""Writes what comes out now into ``verdicts.txt``: ``python -m tests.golden.framing.update``. Then read the diff."""

from __future__ import annotations

import uvloop

from tests.golden.framing.verdict import VERDICTS, verdicts


def main() -> None:
    text = uvloop.run(verdicts())
    if not VERDICTS.exists() or VERDICTS.read_text() != text:
        VERDICTS.write_text(text)
        print(f"rewritten: {VERDICTS.name}")


if __name__ == "__main__":
    main()
