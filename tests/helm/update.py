"""Writes what comes out of the chart now: ``python -m tests.helm.update``. Then read the diff.

The golden renderings, the plain manifests in ``deploy/``, and the chart's copies of the CRDs.
"""

from __future__ import annotations

from pathlib import Path

from tests.helm.rendering import DEPLOY, RENDERED, copy_crds, deploy_text, render, value_sets


def main() -> None:
    copy_crds()
    for values in value_sets():
        _write(RENDERED / values.name, render(values))
    _write(DEPLOY, deploy_text())


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        print(f"rewritten: {path.name}")


if __name__ == "__main__":
    main()
