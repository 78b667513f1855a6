"""The kept inputs, and a first thousand made of them; ``make fuzz`` goes on from there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from random import Random

import pytest

from tests.fuzz.mutation import mutated, seeds_of
from tests.fuzz.targets import TARGETS

RUNS = {"manifest": 60, "exchange": 400, "response": 400}
"""Inputs per target, where they are slow."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What is logged of broken input is not looked at here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs_keep_the_promises(name: str) -> None:
    """Among them each that broke one once."""
    seeds = seeds_of(name)
    assert seeds
    for data in (b"", b"\0", *seeds):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_new_inputs_keep_the_promises(name: str) -> None:
    """Always the same ones."""
    random, seeds = Random(5), seeds_of(name)
    for _ in range(RUNS.get(name, 1000)):
        data = mutated(seeds, random)
        try:
            TARGETS[name](data)
        except Exception as error:
            raise AssertionError(f"{name} breaks with {data[:2000]!r}") from error
