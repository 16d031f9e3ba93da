"""Rings across the blocks of a cluster: each block loads a part of every stage for all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from execution import assemble, emulate

from tileloom import vm
from tileloom.layouts import swizzled
from tileloom.runtime.emulator import EmulatorError
from tileloom.vm.diagnostics import ExecutionError
from tileloom.vm.dtypes import f16, i32
from tileloom.vm.interpreter import run

ROWS, COLUMNS, USERS = 32, 64, 2


@vm.kernel
def shared_rows(
    x: vm.Ptr[f16],
    y: vm.Ptr[f16],
    turns: i32,
    ranks: int = 2,
    stages: int = 2,
    broken: str = "",
) -> None:
    """y[block] = x * (block + 1): the blocks of a cluster share what each loads."""
    vm.launch(grid=[4], warps=USERS + 1, cluster=(ranks,))
    gx = vm.global_view(x, [turns * ROWS, COLUMNS])
    gy = vm.global_view(y, [4, turns * ROWS, COLUMNS])
    layout = swizzled([stages, ROWS, COLUMNS], 16)
    shared = vm.alloc_shared(f16, layout.shape, layout)
    ring = vm.Pipeline(stages, consumers=USERS * (1 if broken == "count" else ranks))
    part, rank = ROWS // ranks, vm.cluster_rank()
    if broken != "start":
        vm.cluster_barrier()  # the others' barriers are there
    with vm.warp_group(USERS, 1), vm.single_thread():
        fill = ring.producer()
        for turn in vm.range(turns):
            with fill.turn(ROWS * COLUMNS * 2) as stage:
                vm.copy_tensor(
                    shared, [stage, rank * part, 0], gx, [turn * ROWS + rank * part, 0],
                    fill.barriers, stage, (part, COLUMNS), ranks=(1 << ranks) - 1,
                )  # fmt: skip
    with vm.warp_group(0, USERS):
        use = ring.consumer()
        for turn in vm.range(turns):
            stage = use.acquire()
            tile = vm.load(shared, [stage, 0, 0], (ROWS, COLUMNS))
            for other in range(ranks):
                use.release(per="warp", rank=other)
            use.advance()
            factor = vm.cast(vm.full(i32, (1, 1), 1) + vm.block_index(), f16)
            vm.store(gy, [vm.block_index(), turn * ROWS, 0], tile * factor, dims=[1, 2])
    if broken != "end":
        vm.cluster_barrier()  # nobody's memory is gone while others write there


def rows(turns: int) -> tuple[np.ndarray, np.ndarray, int]:
    x = np.random.default_rng(0).integers(-9, 9, (turns * ROWS, COLUMNS)).astype(np.float16)
    return x, np.zeros((4, *x.shape), np.float16), turns


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("stages", [1, 3])
def test_everyone_gets_every_part(ranks: int, stages: int, tmp_path: Path) -> None:
    x, y, turns = rows(5)
    function = shared_rows.trace(ranks=ranks, stages=stages)
    meant = x * np.arange(1, 5, dtype=np.float16)[:, None, None]
    for seed in range(2):
        y[:] = 0
        run(function, [x, y, turns], seed=seed)
        np.testing.assert_array_equal(y, meant)
        for when in ("late", "early"):
            y[:] = 0
            lowered = emulate(function, [x, y, turns], seed=seed, asynchronous=when)
            np.testing.assert_array_equal(y, meant)
    assert (".multicast::cluster" in lowered.ptx) is (ranks > 1)
    assert ("mapa.shared::cluster" in lowered.ptx) is (ranks > 1)
    assemble(lowered.ptx, "sm_90a", tmp_path)


def test_a_block_may_not_end_while_others_arrive_at_its_barriers() -> None:
    function = shared_rows.trace(broken="end")
    for seed in range(4):
        with pytest.raises(ExecutionError) as caught:
            run(function, [*rows(5)], seed=seed)
        assert "the block of rank" in str(caught.value)


@pytest.mark.parametrize("broken", ["count", "start"])
def test_what_is_missing_is_found_by_both(broken: str) -> None:
    function = shared_rows.trace(broken=broken)
    with pytest.raises(ExecutionError):
        run(function, [*rows(5)])
    if broken == "count":
        with pytest.raises(EmulatorError):
            emulate(function, [*rows(5)])
