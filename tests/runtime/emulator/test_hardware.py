"""The emulator against an H100: at least 10,000 recorded results an opcode, specials included."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from .hardware import fixture
from .hardware.cases import Case, all_cases
from .hardware.operands import COUNT, Array

CASES = {case.name: case for case in all_cases()}


@lru_cache(maxsize=1)
def recorded() -> tuple[dict[str, list[int]], dict[str, Array]]:
    return fixture.read()


def test_every_case_was_recorded() -> None:
    sums, distances = recorded()
    assert COUNT >= 10_000
    names = {f"{c.name}|{n}": c for c in CASES.values() for n in range(len(c.outputs))}
    assert set(sums) == set(names)
    assert set(distances) == {name for name, case in names.items() if case.bound is not None}


@pytest.mark.parametrize("name", CASES)
def test_opcode(name: str) -> None:
    case = CASES[name]
    sums, distances = recorded()
    for number, result in enumerate(fixture.emulated(case)):
        key = f"{name}|{number}"
        if case.bound is not None:
            result = corrected(case, result, distances[key])
        assert fixture.checksums(result) == sums[key], key


def corrected(case: Case, result: Array, distance: Array) -> Array:
    """What the hardware gave, from the emulator's result; the distance must be within the bound."""
    assert case.bound is not None
    mine = fixture.elements(result, case.bound)
    theirs = (mine.astype(np.int64) + distance).astype(mine.dtype)
    assert not fixture.outside(theirs, mine, case.bound).any()
    return theirs.view(result.dtype)
