"""The product's programs: assembled for every target, deterministic, right on the emulator."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from execution import TARGETS, assemble, emulate

from tileloom.compiler import compile_function
from tileloom.programs.matmul.program import Schedule, matmul
from tileloom.programs.vector_add.program import vector_add
from tileloom.vm.ir import Function

SMALL = Schedule(rows=32, columns=64, depth=32, row_warps=1, column_warps=2, vector=8)


def programs() -> dict[str, Function]:
    return {
        "vector_add": vector_add.trace(),
        "vector_add f16": vector_add.trace(element="f16"),
        "matmul": matmul.trace(),
        "matmul bf16": matmul.trace(element="bf16", out="f32", schedule=SMALL),
    }


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", sorted(programs()))
def test_programs_assemble_without_spills(name: str, target: str, tmp_path: Path) -> None:
    said = assemble(compile_function(programs()[name], target).ptx, target, tmp_path)
    assert "0 bytes spill stores, 0 bytes spill loads" in said
    assert "warning" not in said.lower()


@pytest.mark.parametrize(("m", "k", "n"), [(40, 72, 136), (1, 8, 8), (32, 32, 64)])
@pytest.mark.parametrize("element", ["f16", "f32"])
def test_matmul(m: int, k: int, n: int, element: str) -> None:
    out: Any = {"f16": np.float16, "f32": np.float32}[element]
    rng = np.random.default_rng(m)
    a, b = (rng.integers(-3, 4, s).astype(np.float16) for s in ((m, k), (k, n)))
    c = np.full((m, n), 99, out)
    emulate(matmul.trace(out=element, schedule=SMALL), [a, b, c, m, k, n])
    np.testing.assert_array_equal(c, (a.astype("f4") @ b.astype("f4")).astype(out))


DIGEST = """
import hashlib
from tileloom.compiler import compile_function
from tileloom.programs.matmul.program import matmul
print(hashlib.sha256(compile_function(matmul.trace()).ptx.encode()).hexdigest())
"""


def test_the_text_is_the_same_in_every_process() -> None:
    root = Path(__file__).parents[2]
    found = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root / ".src")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    own = hashlib.sha256(compile_function(matmul.trace()).ptx.encode()).hexdigest()
    assert found == {own}


def test_the_front_end_is_fast() -> None:
    function = matmul.trace()
    compile_function(function)
    start = time.process_time()
    for _ in range(3):
        compile_function(function)
    assert (time.process_time() - start) / 3 < 0.1


def test_every_vm_statement_stands_above_its_code() -> None:
    ptx = compile_function(matmul.trace()).ptx
    assert "// mma %total, %load" in ptx
    lowered = compile_function(matmul.trace(), with_locations=True, keep_stages=True)
    assert ".loc " in lowered.ptx and ".loc " not in ptx
    assert list(lowered.stages) == ["source", "layouts", "shared", "ptx"]
    lines = lowered.ptx.split("\n")
    (mma,) = {p.line for n, p in lowered.lines.items() if lines[n - 1].lstrip().startswith("mma")}
    assert mma > 0
