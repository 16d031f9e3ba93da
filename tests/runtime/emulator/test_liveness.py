"""Which registers are kept where warps part and meet."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.runtime.emulator import EmulatorError, parse_module
from tileloom.runtime.emulator.kernel import GLOBAL_START
from tileloom.runtime.emulator.parser import parse
from tileloom.runtime.emulator.program import Program, build

from .harness import kernel_text, run_kernel

SEEDS = [0, 1, 2, 3]
LOOP = """
  mov.u32 %r1, 5; mov.u32 %r2, 7; mov.u32 %r3, 9; mov.u32 %r4, 0; mov.u32 %r50, %tid.x;
LOOP: add.u32 %r4, %r4, %r1;
  setp.lt.u32 %p1, %r4, 20; setp.lt.u32 %p2, %r50, 8;
  @%p2 mov.u32 %r2, 1;
  mov.u32 %r3, %r4;
  @%p1 bra LOOP;
  add.u32 %r5, %r2, %r3;
  ld.param.u64 %rd0, [p0]; st.global.u32 [%rd0], %r5;"""
ADDRESS = "  mul.wide.u32 %rd1, %r50, 4; add.u64 %rd0, %rd0, %rd1;\n"


def _program(body: str) -> Program:
    module = parse(kernel_text(body, 1))
    return build(module.functions["k"], module, GLOBAL_START)


def _names(program: Program, slots: list[int]) -> set[str]:
    return {program.body.registers[slot].name for slot in slots}


def test_what_is_read_later_is_live() -> None:
    """%r3 is overwritten on every path; %r2 only in some lanes, so what it was counts."""
    program = _program(LOOP)
    assert len(program.blocks) == 4  # before the loop, the loop, behind it, the end
    entering = _names(program, program.liveness.entering(1))
    assert entering == {"%r1", "%r2", "%r4", "%r50"}
    assert _names(program, program.liveness.leaving(1)) == entering | {"%r3"}
    assert _names(program, program.liveness.entering(2)) == {"%r2", "%r3"}
    assert program.liveness.leaving(2) == program.liveness.entering(3) == []


def test_operands_of_products_are_always_live() -> None:
    """They are watched until the wait, which names none of them."""
    body = """
  mov.b32 %r0, 0; mov.b32 %r1, 0; mov.b32 %r2, 0; mov.b32 %r3, 0; mov.b64 %rd3, 0;
  mov.b32 %r10, 0; mov.b32 %r11, 0; mov.b32 %r12, 0; mov.b32 %r13, 0;
  wgmma.fence.sync.aligned;
  wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%r0, %r1, %r2, %r3},
    {%r10, %r11, %r12, %r13}, %rd3, 1, 1, 1, 0;
  wgmma.commit_group.sync.aligned;
  bra NEXT;
NEXT: wgmma.wait_group.sync.aligned 0;"""
    program = _program(body)
    kept = _names(program, program.liveness.entering(1))
    assert kept >= {f"%r{number}" for number in (0, 1, 2, 3, 10, 11, 12, 13)}


@pytest.mark.parametrize("seed", SEEDS)
def test_lanes_that_a_guard_leaves_out_keep_what_they_had(seed: int) -> None:
    """Through a branch that parts lanes, whose sides write the register for some of theirs."""
    out = np.zeros(96, np.uint32)
    body = (
        ADDRESS
        + """
      mov.u32 %r1, 100; add.u32 %r2, %r50, 1; and.b32 %r3, %r50, 3;
      setp.lt.u32 %p1, %r50, 40; setp.eq.u32 %p2, %r3, 0; @%p1 bra LOW;
      @%p2 mov.u32 %r1, 200; bra JOIN;
    LOW: @!%p2 mov.u32 %r1, 300;
    JOIN: add.u32 %r1, %r1, %r2; st.global.u32 [%rd0], %r1;"""
    )
    run_kernel(body, [out], block=96, seed=seed)
    thread = np.arange(96)
    multiple = thread % 4 == 0
    low, high = np.where(multiple, 100, 300), np.where(multiple, 200, 100)
    assert np.array_equal(out, np.where(thread < 40, low, high) + thread + 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_register_that_was_forgotten_is_written_anew(seed: int) -> None:
    """One side of a branch has no value of %r2; behind it both write it."""
    out = np.zeros(64, np.uint32)
    body = (
        ADDRESS
        + """
      and.b32 %r3, %r50, 1; setp.eq.u32 %p1, %r3, 0; mov.u32 %r1, 3; @%p1 bra EVEN;
      mov.u32 %r2, 5; add.u32 %r1, %r1, %r2;
    EVEN: add.u32 %r2, %r1, %r50; st.global.u32 [%rd0], %r2;"""
    )
    run_kernel(body, [out], block=64, seed=seed)
    thread = np.arange(64)
    assert np.array_equal(out, 3 + 5 * (thread % 2) + thread)


def test_what_one_side_never_wrote_is_still_found() -> None:
    body = (
        ADDRESS
        + """
      setp.lt.u32 %p1, %r50, 7; @%p1 bra JOIN;
      mov.u32 %r1, 5;
    JOIN: st.global.u32 [%rd0], %r1;"""
    )
    text = kernel_text("  ld.param.u64 %rd0, [p0]; mov.u32 %r50, %tid.x;\n" + body, 1)
    kernel = parse_module(text).kernels["k"]
    with pytest.raises(EmulatorError, match=r"`%r1` has no defined value.*lane 0"):
        kernel.launch(1, 32, [np.zeros(32, np.uint32)])
