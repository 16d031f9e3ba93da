"""Every program assembles for every target that can be compiled for."""

from __future__ import annotations

import pytest

from tileloom.runtime.assemble import assemble
from tileloom.runtime.compiled import lower
from tileloom.runtime.errors import ToolMissingError
from tileloom.runtime.toolkit import find_assembler

from .every_ptx import functions


@pytest.mark.ptxas
@pytest.mark.parametrize("target", ["sm_80", "sm_89", "sm_90a"])
def test_every_program_assembles(target: str) -> None:
    try:
        assembler = find_assembler()
    except ToolMissingError as error:
        pytest.skip(f"no assembler: {error.message}")
    kernels = set()
    for name, function in functions(target):
        assembled = assemble(lower(function, target).ptx, target, assembler=assembler)
        assert assembled.cubin[:4] == b"\x7fELF", name
        kernels |= {kernel.name for kernel in assembled.kernels}
    assert {"quantized_matmul", "pack_weights", "unpack_weights", "matmul"} <= kernels
