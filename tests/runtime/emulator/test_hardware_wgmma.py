"""Products of warp groups against what an H100 answered, bit for bit; and that the assembler takes
every case."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from tileloom.runtime.toolkit import find_program

from .hardware import fixture
from .hardware.cases import Case
from .hardware.operands import COUNT
from .hardware.record import kernel_of
from .hardware.wgmma_cases import wgmma_cases

CASES = {case.name: case for case in wgmma_cases()}
PTXAS = find_program("ptxas")


@lru_cache(maxsize=1)
def recorded() -> dict[str, list[int]]:
    return fixture.read(fixture.WGMMA)[0]


@pytest.mark.parametrize("name", CASES)
def test_product(name: str) -> None:
    results = fixture.emulated(CASES[name])
    assert len(results) == len(CASES[name].outputs) and results[0].shape == (COUNT,)
    assert any(result.any() for result in results)
    found = {f"{name}|{n}": fixture.checksums(result) for n, result in enumerate(results)}
    assert found == {key: recorded()[key] for key in found}


def test_what_is_recorded_is_complete() -> None:
    names = {f"{c.name}|{n}" for c in CASES.values() for n in range(len(c.outputs))}
    assert set(recorded()) == names


@pytest.mark.parametrize("name", CASES)
def test_the_assembler_takes_it(name: str, tmp_path: Path) -> None:
    if PTXAS is None:
        pytest.skip("no ptxas")
    source = tmp_path / "case.ptx"
    source.write_text(kernel_of(CASES[name]))
    command = [PTXAS, "-arch=sm_90a", "-o", str(tmp_path / "case.cubin"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "C75" not in done.stderr + done.stdout, done.stderr


def test_forms_read_what_they_say() -> None:
    """Each form reads other words, so that a wrong descriptor can't go unnoticed."""

    def result(case: Case) -> bytes:
        return b"".join(np.ascontiguousarray(r).tobytes() for r in fixture.emulated(case))

    forms = [case for case in CASES.values() if "n16k16.f32.f16.f16" in case.name]
    assert len({result(case) for case in forms}) == len(forms)
