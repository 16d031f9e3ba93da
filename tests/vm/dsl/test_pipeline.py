"""Rings of stages: what they order, with copies and with stores, and stages kept for longer."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom import vm
from tileloom.vm.diagnostics import ExecutionError, VMError
from tileloom.vm.dtypes import f32, i32
from tileloom.vm.interpreter import run


@vm.kernel
def by_stores(x: vm.Ptr[f32], y: vm.Ptr[f32], n: i32, stages: int, broken: str = "") -> None:
    """Rows of x reversed, by two warps that store to the ring and two that read from it."""
    vm.launch(grid=[1], warps=4)
    gx, gy = vm.global_view(x, [n, 64]), vm.global_view(y, [n, 64])
    shared = vm.alloc_shared(f32, (stages, 64))
    ring = vm.Pipeline(stages, producers=64, consumers=2)
    with vm.warp_group(0, 2):
        fill = ring.producer()
        for row in vm.range(n):
            with fill.turn() as stage:
                if broken == "late":
                    vm.mbarrier_wait(ring.empty, stage, fill.phase)
                vm.store(shared, [stage, 0], vm.load(gx, [row, 0], (64,), dims=[1]), dims=[1])
    with vm.warp_group(2, 2):
        use = ring.consumer()
        for row in vm.range(n):
            stage = use.stage if broken == "no wait" else use.acquire()
            tile = vm.load(shared, [stage, 0], (64,), dims=[1])
            use.release(per="warp")
            use.advance()
            vm.store(gy, [row, 0], tile, dims=[1])


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(3))
def test_stores_to_a_ring(stages: int, seed: int) -> None:
    x = np.random.default_rng(0).normal(size=(9, 64)).astype(np.float32)
    y = np.zeros_like(x)
    run(by_stores.trace(stages=stages), [x, y, 9], seed=seed)
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("broken", ["late", "no wait"])
@pytest.mark.parametrize("seed", range(3))
def test_a_ring_used_wrongly(broken: str, seed: int) -> None:
    x = np.zeros((9, 64), np.float32)
    with pytest.raises(ExecutionError) as caught:
        run(by_stores.trace(stages=2, broken=broken), [x, x.copy(), 9], seed=seed)
    words = ("deadlock",) if broken == "late" else ("race on", "uninitialised")
    assert any(each in str(caught.value) for each in words)


@vm.kernel
def with_memory(x: vm.Ptr[f32], y: vm.Ptr[f32], n: i32, stages: int, behind: int) -> None:
    """y[i] = x[i] + x[i - 1], where the row before is still in its stage."""
    vm.launch(grid=[1], warps=2)
    gx, gy = vm.global_view(x, [n, 64]), vm.global_view(y, [n, 64])
    shared = vm.alloc_shared(f32, (stages, 64))
    ring = vm.Pipeline(stages)
    with vm.warp_group(1, 1), vm.single_thread():
        fill = ring.producer()
        for row in vm.range(n):
            with fill.turn(256) as stage:
                vm.copy_bulk(shared, [stage, 0], gx, [row, 0], fill.barriers, stage, 64)
    with vm.warp_group(0, 1):
        use = ring.consumer()
        for row in vm.range(n):
            stage = use.acquire()
            tile = vm.load(shared, [stage, 0], (64,), dims=[1])
            with vm.when(row > 0):
                before = (use.number - 1) % stages
                old = vm.load(shared, [before, 0], (64,), dims=[1])
                vm.store(gy, [row, 0], tile + old, dims=[1])
                use.release(behind=behind, per="warp")
            use.advance()


@pytest.mark.parametrize("stages", [2, 3])
def test_stages_kept_for_a_turn(stages: int) -> None:
    x = np.random.default_rng(0).normal(size=(7, 64)).astype(np.float32)
    y = np.zeros_like(x)
    run(with_memory.trace(stages=stages, behind=1), [x, y, 7])
    np.testing.assert_array_equal(y[1:], x[1:] + x[:-1])


def test_stages_given_back_too_early() -> None:
    x = np.zeros((7, 64), np.float32)
    with pytest.raises(ExecutionError):
        run(with_memory.trace(stages=2, behind=0), [x, x.copy(), 7])


def test_rings_need_stages() -> None:
    @vm.kernel
    def wrong(n: i32) -> None:
        vm.launch(grid=[1], warps=1)
        vm.Pipeline(0)

    with pytest.raises(VMError) as caught:
        wrong.trace()
    assert caught.value.message == "a ring of 0 stages" and caught.value.hint == "1 or more"
