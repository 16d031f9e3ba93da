"""What the compiler emits beside the other cases, bit for bit as an H100 answered; and that
whatever computes something, in what it emits for random programs, is among the cases."""

from __future__ import annotations

import re
from functools import lru_cache

import pytest

from tileloom.runtime.fuzz.check import compiled
from tileloom.runtime.fuzz.generate import generate

from .hardware import fixture
from .hardware.cases import all_cases
from .hardware.emitted_cases import emitted_cases
from .hardware.operands import COUNT
from .hardware.wgmma_cases import wgmma_cases

CASES = {case.name: case for case in emitted_cases()}
# What moves, orders or chooses, but computes nothing.
_MOVES = {
    "and", "atom", "bar", "barrier", "bra", "call", "cp", "createpolicy", "cvta", "elect", "fence",
    "griddepcontrol", "ld", "ldmatrix", "mapa", "mbarrier", "mov", "not", "or", "red", "ret",
    "selp", "setmaxnreg", "st", "stmatrix", "trap", "vote", "xor",
}  # fmt: skip
_OPCODE = re.compile(r"(?:@!?%p\d+ )?([a-z][a-z0-9]*(?:\.[\w:]+)+)")


@lru_cache(maxsize=1)
def recorded() -> dict[str, list[int]]:
    return fixture.read(fixture.EMITTED)[0]


@pytest.mark.parametrize("name", CASES)
def test_opcode(name: str) -> None:
    results = fixture.emulated(CASES[name])
    assert results[0].shape == (COUNT,) and any(result.any() for result in results)
    found = {f"{name}|{n}": fixture.checksums(result) for n, result in enumerate(results)}
    assert found == {key: recorded()[key] for key in found}


def test_what_is_recorded_is_complete() -> None:
    names = {f"{c.name}|{n}" for c in CASES.values() for n in range(len(c.outputs))}
    assert set(recorded()) == names


@lru_cache(maxsize=1)
def known() -> frozenset[str]:
    """Opcodes of all cases; the width of warp groups' products changes no element of them."""
    cases = [*all_cases(), *emitted_cases(), *wgmma_cases()]
    texts = (re.findall(r"[a-z][a-z0-9]*(?:\.[a-zA-Z0-9_:]+)+", case.text) for case in cases)
    return frozenset(_without_width(opcode) for found in texts for opcode in found)


def _without_width(opcode: str) -> str:
    return re.sub(r"(wgmma.*\.m64)n\d+(k)", r"\1\2", opcode)


@pytest.mark.parametrize("first", [0, 2000])
def test_what_computes_in_random_programs_was_recorded(first: int) -> None:
    found = set()
    for seed in range(first, first + 32):
        for lowered in compiled(generate(seed)).lowered.values():
            lines = (_OPCODE.match(line.strip()) for line in lowered.ptx.splitlines())
            found |= {line[1] for line in lines if line}
    found = {_without_width(each) for each in found if each.partition(".")[0] not in _MOVES}
    found = {each for each in found if not re.match(r"wgmma\.(fence|commit|wait)", each)}
    assert len(found) > 40
    assert not found - known()
