"""Tensors of more than 2**31 elements: the right elements on every executor."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.runtime import compile_kernel
from tileloom.runtime.compiled import lower
from tileloom.vm import parse
from tileloom.vm.diagnostics import LimitError

from .far_programs import PROGRAMS


@pytest.mark.parametrize("device", ["interpreter", "emulator"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_right_elements(name: str, device: str) -> None:
    program = PROGRAMS[name]
    arguments = program.make()
    compile_kernel(parse(program.text))(*arguments, device=device)
    program.check(*arguments)


@pytest.mark.gpu
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.usefixtures("gpu")
def test_the_right_elements_on_a_gpu(name: str) -> None:
    """The tensors really lie there: up to 9.2 GB."""
    program = PROGRAMS[name]
    arguments = program.make()
    compile_kernel(parse(program.text))(*arguments, device="cuda")
    program.check(*arguments)


def test_other_launches_keep_their_code() -> None:
    kernel = compile_kernel(parse(PROGRAMS["cube"].text))
    far = kernel.variant(far=True)
    assert far is kernel.variant(far=True) is far.variant(far=True) is far.variant(far=False)
    assert kernel.variant(far=False) is kernel
    assert "mul.lo.s64" in far.ptx and "mul.lo.s64" not in kernel.ptx
    assert lower(far.function, far.target, far=True).ptx == far.ptx


def test_edited_code_does_not_reach_beyond_what_it_was_made_for() -> None:
    kernel = compile_kernel(parse(PROGRAMS["flat"].text))
    arguments = PROGRAMS["flat"].make()
    with pytest.raises(LimitError, match="this launch has a larger one"):
        kernel.override(ptx=kernel.ptx)(*arguments, device="emulator")
    far = kernel.variant(far=True)
    far.override(ptx=far.ptx)(*arguments, device="emulator")
    PROGRAMS["flat"].check(*arguments)


def test_what_is_proven_small_stays_in_32_bits() -> None:
    """Block and loop indices of constant bounds need no wide products."""
    text = """func @f(%x: *f32, %n: i64) warps = 1, grid = [1024] {
  %gx = global_view %x : global<f32, [%n, 128]>
  for %i in 0 to 4 {
    %t = load %gx[block.x * 4 + %i, 0] : reg<f32, [1, 128]>
    store %gx[block.x * 4 + %i, 0], %t
  }
}"""
    kernel = compile_kernel(parse(text))
    assert kernel.variant(far=True).ptx.count("mul.lo.s64") == kernel.ptx.count("mul.lo.s64")


def test_i32_arithmetic_wraps_elsewhere() -> None:
    """Only far launches compute it exactly."""
    text = """func @f(%y: *i64, %a: i32) warps = 1 {
  %gy = global_view %y : global<i64, [1]>
  %zero = full {fill = 0} : reg<i64, [1]>
  %t = add %zero, %a * 65536
  store %gy[0], %t
}"""
    for device in ("interpreter", "emulator"):
        y = np.zeros(1, np.int64)
        compile_kernel(parse(text))(y, 65537, device=device)
        assert y[0] == 65536
