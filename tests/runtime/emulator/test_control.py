"""Branches that diverge, loops, barriers, spinning, exits, and the scheduler's seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tileloom.runtime.emulator import EmulatorError, parse_module

from .harness import kernel_text, run_kernel

OWN = """
  mov.u32 %r51, %ctaid.x; mov.u32 %r52, %ntid.x; mad.lo.u32 %r53, %r51, %r52, %r50;
  mul.wide.u32 %rd10, %r53, 4; add.u64 %rd11, %rd0, %rd10;
"""
SEEDS = [0, 1, 2, 3]


@pytest.mark.parametrize("seed", SEEDS)
def test_divergent_branches_join_again(seed: int) -> None:
    """Lanes go three ways, one of them nested; a shuffle behind needs all of them."""
    out = np.zeros(128, np.uint32)
    body = (
        OWN
        + """
      and.b32 %r1, %r50, 3; mov.u32 %r2, 1;
      setp.eq.u32 %p1, %r1, 0; @%p1 bra ZERO;
      setp.eq.u32 %p2, %r1, 1; @%p2 bra ONE;
      mul.lo.u32 %r2, %r50, 10; bra INNER;
    ONE: add.u32 %r2, %r50, 1000;
    INNER: add.u32 %r2, %r2, 1; bra JOIN;
    ZERO: mov.u32 %r2, 7;
    JOIN: shfl.sync.bfly.b32 %r3, %r2, 1, 31, 0xffffffff;
      st.global.u32 [%rd11], %r3;"""
    )
    run_kernel(body, [out], block=128, seed=seed)
    thread = np.arange(128)
    value = np.select([thread % 4 == 0, thread % 4 == 1], [7, thread + 1001], thread * 10 + 1)
    assert np.array_equal(out, value[thread ^ 1])


@pytest.mark.parametrize("seed", SEEDS)
def test_loops_of_different_length(seed: int) -> None:
    out = np.zeros(256, np.uint32)
    body = (
        OWN
        + """
      mov.u32 %r1, 0; mov.u32 %r2, 0; rem.u32 %r4, %r53, 7;
    LOOP: add.u32 %r2, %r2, %r1; add.u32 %r1, %r1, 1;
      setp.le.u32 %p1, %r1, %r4; @%p1 bra LOOP;
      redux.sync.add.u32 %r5, %r2, 0xffffffff;
      st.global.u32 [%rd11], %r5;"""
    )
    run_kernel(body, [out], grid=2, block=128, seed=seed)
    steps = np.arange(256) % 7
    sums = (steps * (steps + 1) // 2).reshape(8, 32).sum(1)
    assert np.array_equal(out, np.repeat(sums, 32))


def test_profile_counts_warps() -> None:
    out = np.zeros(128, np.uint32)
    body = (
        OWN
        + """
      mov.u32 %r2, 5; mov.u32 %r9, %warpid; setp.ne.u32 %p1, %r9, 2; @%p1 bra SKIP;
      mov.u32 %r2, 9;
    SKIP: st.global.u32 [%rd11], %r2;"""
    )
    statistics = run_kernel(body, [out], block=128)
    assert out.reshape(4, 32)[:, 0].tolist() == [5, 5, 9, 5]
    lines = [statistics.profile[line] for line in sorted(statistics.profile)]
    assert lines[-3:] == [1, 4, 4]  # the move in one warp, the store, the return
    assert statistics.instructions == sum(statistics.profile.values())


def test_partial_blocks_and_exits() -> None:
    out = np.zeros(4 * 45, np.uint32)
    body = (
        OWN
        + """
      setp.gt.u32 %p1, %r50, 40; @%p1 exit;
      mov.u32 %r1, 1; bar.sync 0;
      setp.lt.u32 %p2, %r50, 33; @!%p2 bra LATE;
      add.u32 %r1, %r1, 1;
    LATE: activemask.b32 %r2; shl.b32 %r1, %r1, 16; popc.b32 %r2, %r2; or.b32 %r1, %r1, %r2;
      st.global.u32 [%rd11], %r1;"""
    )
    run_kernel(body, [out], grid=4, block=45)
    block = np.array([2 << 16 | 32] * 32 + [2 << 16 | 9] + [1 << 16 | 9] * 8 + [0] * 4)
    assert np.array_equal(out, np.tile(block, 4))


@pytest.mark.parametrize("seed", SEEDS)
def test_barriers_order_shared_memory(seed: int) -> None:
    out = np.zeros(3 * 128, np.uint32)
    body = (
        OWN
        + """
      mov.u32 %r1, smem; shl.b32 %r2, %r50, 2; add.u32 %r2, %r1, %r2; mov.u32 %r5, 0;
      mov.u32 %r6, 0;
    LOOP: add.u32 %r3, %r53, %r6; st.shared.u32 [%r2], %r3; bar.sync 0;
      xor.b32 %r4, %r50, 127; shl.b32 %r4, %r4, 2; add.u32 %r4, %r1, %r4;
      ld.shared.u32 %r3, [%r4]; add.u32 %r5, %r5, %r3; barrier.sync 0;
      add.u32 %r6, %r6, 1; setp.lt.u32 %p1, %r6, 4; @%p1 bra LOOP;
      st.global.u32 [%rd11], %r5;"""
    )
    run_kernel(body, [out], grid=3, block=128, shared=512, seed=seed)
    thread = np.arange(384)
    assert np.array_equal(out, 4 * (thread // 128 * 128 + 127 - thread % 128) + 6)


@pytest.mark.parametrize("seed", SEEDS)
def test_named_barriers_between_producers_and_consumers(seed: int) -> None:
    """Warps 0, 1 produce, warps 2, 3 consume: bar.arrive on one side, bar.sync on the other."""
    out = np.zeros(128, np.uint32)
    body = (
        OWN
        + """
      mov.u32 %r1, smem; shl.b32 %r2, %r50, 2; add.u32 %r2, %r1, %r2; mov.u32 %r6, 0;
      mov.u32 %r5, 0; setp.ge.u32 %p2, %r50, 64; @%p2 bra CONSUME;
    PRODUCE: bar.sync 2, 128; add.u32 %r3, %r50, %r6; st.shared.u32 [%r2], %r3; bar.arrive 1, 128;
      add.u32 %r6, %r6, 1; setp.lt.u32 %p1, %r6, 3; @%p1 bra PRODUCE; bra OUT;
    CONSUME: bar.arrive 2, 128; bar.sync 1, 128; ld.shared.u32 %r3, [%r2+-256];
      add.u32 %r5, %r5, %r3; bar.sync 3, 64;
      add.u32 %r6, %r6, 1; setp.lt.u32 %p1, %r6, 3; @%p1 bra CONSUME;
    OUT: st.global.u32 [%rd11], %r5;"""
    )
    run_kernel(body, [out], block=128, shared=256, seed=seed)
    thread = np.arange(128)
    assert np.array_equal(out, np.where(thread < 64, 0, 3 * (thread - 64) + 3))


@pytest.mark.parametrize("seed", SEEDS)
def test_spinning_between_blocks(seed: int) -> None:
    """Blocks take turns through a lock in memory; the first to come waits for the last block."""
    lock, out = np.zeros(1, np.uint32), np.zeros(6, np.uint32)
    body = """
      mov.u32 %r1, %ctaid.x; mov.u32 %r2, 5; sub.u32 %r2, %r2, %r1;
      setp.ne.u32 %p2, %r50, 0; @%p2 bra JOIN;
    SPIN: ld.acquire.gpu.global.u32 %r3, [%rd0]; setp.ne.u32 %p1, %r3, %r2; @%p1 bra SPIN;
    JOIN: bar.sync 0;
      mul.wide.u32 %rd10, %r1, 4; add.u64 %rd11, %rd1, %rd10;
      ld.volatile.global.u32 %r4, [%rd0]; @!%p2 st.global.u32 [%rd11], %r4;
      bar.sync 0; add.u32 %r4, %r4, 1;
      @!%p2 st.release.gpu.global.u32 [%rd0], %r4;"""
    run_kernel(body, [lock, out], grid=6, block=64, seed=seed)
    assert lock[0] == 6
    assert out.tolist() == [5, 4, 3, 2, 1, 0]


def test_spinning_on_blocks_that_are_not_resident_yet() -> None:
    count = np.zeros(1, np.uint32)
    body = """
      setp.ne.u32 %p2, %r50, 0; mov.u32 %r1, %nctaid.x; @%p2 bra DONE;
      atom.global.add.u32 %r3, [%rd0], 1;
    SPIN: ld.relaxed.gpu.global.u32 %r3, [%rd0]; setp.lt.u32 %p1, %r3, %r1; @%p1 bra SPIN;
    DONE:"""
    run_kernel(body, [count], grid=40, block=1024)
    assert count[0] == 40


WRONG = [
    ("setp.lt.u32 %p1, %r50, 5; @%p1 bra L; bar.sync 0;\nL:", "barrier divergence"),
    ("setp.lt.u32 %p1, %r50, 5;\n@%p1 bar.sync 0;", "the barrier is guarded off"),
    ("setp.lt.u32 %p1, %r50, 32; @%p1 bra L; bar.sync 1, 64;\nL:", "deadlock"),
    ("setp.lt.u32 %p1, %r50, 32; @%p1 bra L; bar.sync 1; bra D;\nL: bar.sync 2;\nD:", "deadlock"),
    ("bar.sync 0, 48;", "no positive multiple of 32"),
    ("bar.sync 0, 32;", "more warps arrived"),
    ("bar.sync %r50;", "the barrier's number differs within a warp"),
    ("setp.lt.u32 %p1, %r50, 32; selp.u32 %r1, 64, 96, %p1; bar.sync 0, %r1;", "announce"),
    ("L: bra L;", "the instruction limit"),
]


@pytest.mark.parametrize(("body", "message"), WRONG)
def test_reports(body: str, message: str) -> None:
    out: Any = np.zeros(1, np.uint32)
    with pytest.raises(EmulatorError, match=message) as caught:
        run_kernel(body, [out], block=64, limit=1000)
    assert caught.value.line > 0
    assert caught.value.text in body


def test_deadlock_says_who_waits() -> None:
    out: Any = np.zeros(1, np.uint32)
    body = "setp.ge.u32 %p1, %r50, 32; @%p1 bra L; bar.sync 3, 64;\nL:"
    with pytest.raises(EmulatorError) as caught:
        run_kernel(body, [out], block=64)
    assert "block (0, 0, 0), warp 0 at barrier 3" in caught.value.message


def test_kernel_can_be_launched_again() -> None:
    out = np.zeros(32, np.uint32)
    text = kernel_text(
        "ld.param.u64 %rd0, [p0]; mov.u32 %r1, %tid.x; red.global.add.u32 [%rd0], %r1;", 1
    )
    kernel = parse_module(text).kernels["k"]
    first = kernel.launch(1, 32, [out])
    assert kernel.launch((1, 1, 1), (32, 1, 1), [out]) == first
    assert out[0] == 2 * 496
    assert kernel.launch(0, 32, [out]).instructions == 0
    for grid, block in ((1, 2048), (1, 0), ((1, 1, 1, 1), 32)):
        with pytest.raises(ValueError):
            kernel.launch(grid, block, [out])
