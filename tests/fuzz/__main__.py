"""``python -m tests.fuzz [TARGET…] [--runs N]``: ever new inputs, until one breaks a promise.

With atheris installed, its coverage leads to new inputs; without, those of ``mutation`` are tried. An input that fails
is written to the working directory, and belongs into ``tests/fuzz/seeds`` once the code is repaired.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from time import monotonic

from tests.fuzz.mutation import SEEDS, mutated, seeds_of

NAMES = sorted(path.name for path in SEEDS.iterdir())
"""Of the targets, which are imported only where it is known how."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    parser.add_argument("--runs", type=int, default=100_000, help="inputs per target (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--plain", action="store_true", help="without atheris, though it be there")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    unknown = set(arguments.targets) - set(NAMES)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}")
    names = arguments.targets or NAMES
    if arguments.plain or not _has_atheris():
        return max(_plain(name, arguments.runs, arguments.seed) for name in names)
    if len(names) == 1:
        _guided(names[0], arguments.runs, arguments.seed)
    # A run ends its process.
    return max(_in_process(name, arguments) for name in names)


def _in_process(name: str, arguments: argparse.Namespace) -> int:
    words = [sys.executable, "-m", "tests.fuzz", name, "--runs", str(arguments.runs), "--seed", str(arguments.seed)]
    return abs(subprocess.run(words, check=False).returncode)


def _has_atheris() -> bool:
    try:
        import atheris  # noqa: F401
    except ImportError:
        return False
    return True


def _guided(name: str, runs: int, seed: int) -> None:
    import atheris

    with atheris.instrument_imports(include=["proxy", "ingress"]):
        from tests.fuzz.targets import TARGETS
    options = [f"-runs={runs}", "-max_len=4096", "-timeout=10", "-print_final_stats=1", "-verbosity=1"]
    if seed:
        options.append(f"-seed={seed}")
    corpus = Path(os.environ.get("PYNGRESS_CORPUS", ".fuzz")) / name
    corpus.mkdir(parents=True, exist_ok=True)
    atheris.Setup([name, *options, str(corpus), str(SEEDS / name)], TARGETS[name])
    print(f"{name}: {runs} inputs, led by coverage", flush=True)
    atheris.Fuzz()


def _plain(name: str, runs: int, seed: int) -> int:
    from tests.fuzz.targets import TARGETS

    seed = seed or int.from_bytes(os.urandom(4), "big")
    random, seeds, target = Random(seed), seeds_of(name), TARGETS[name]
    begun = monotonic()
    for number in range(runs):
        data = mutated(seeds, random)
        try:
            target(data)
        except Exception:
            Path(f"failed-{name}").write_bytes(data)
            print(f"{name}: input {number} of seed {seed} failed, and is in failed-{name}", flush=True)
            raise
    print(f"{name}: {runs} inputs of seed {seed} in {monotonic() - begun:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
