"""Whole kernels of specialised warps: rings of tensor copies that feed the tensor cores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from execution import agree, assemble, emulate

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.layouts import fragments, spatial, swizzled
from tileloom.runtime.emulator import EmulatorError
from tileloom.vm.diagnostics import ExecutionError
from tileloom.vm.dtypes import f16, f32, i32
from tileloom.vm.interpreter import run

ROWS, COLUMNS, DEPTH = 128, 64, 64


@vm.kernel
def matmul(
    a: vm.Ptr[f16],
    b: vm.Ptr[f16],
    c: vm.Ptr[f16],
    m: i32,
    k: i32,
    n: i32,
    stages: int = 3,
    broken: str = "",
) -> None:
    """c[m, n] = a[m, k] @ b[k, n]: one thread loads, two warp groups of 4 multiply."""
    vm.launch(grid=[vm.cdiv(m, ROWS), vm.cdiv(n, COLUMNS)], warps=9)
    ga, gb = vm.global_view(a, [m, k]), vm.global_view(b, [k, n])
    gc = vm.global_view(c, [m, n])
    sa = vm.alloc_shared(f16, (stages, ROWS, DEPTH), swizzled([stages, ROWS, DEPTH], 16))
    sb = vm.alloc_shared(f16, (stages, DEPTH, COLUMNS), swizzled([stages, DEPTH, COLUMNS], 16))
    sc = vm.alloc_shared(f16, (ROWS, COLUMNS), swizzled([ROWS, COLUMNS], 16))
    ring = vm.Pipeline(stages, consumers=8)
    row, column = vm.block_index(0) * ROWS, vm.block_index(1) * COLUMNS
    turns = vm.cdiv(k, DEPTH)
    with vm.warp_group(8, 1), vm.single_thread():
        fill = ring.producer()
        for turn in vm.range(turns):
            start = turn * DEPTH
            with fill.turn(2 * DEPTH * (ROWS + COLUMNS)) as stage:
                full = fill.barriers
                vm.copy_tensor(sa, [stage, 0, 0], ga, [row, start], full, stage, (ROWS, DEPTH))
                vm.copy_tensor(
                    sb, [stage, 0, 0], gb, [start, column], full, stage, (DEPTH, COLUMNS)
                )
    with vm.warp_group(0, 8):
        use = ring.consumer()
        layout = spatial(2, 1) * fragments.wgmma_d(COLUMNS)
        acc = vm.full(f32, (ROWS, COLUMNS), 0.0, layout)
        for _turn in vm.range(turns):
            stage = use.acquire() if broken != "no wait" else use.stage
            vm.wgmma(acc, sa, sb, a_offsets=[stage, 0, 0], b_offsets=[stage, 0, 0], depth=DEPTH)
            vm.wgmma_commit()
            vm.wgmma_wait(0 if broken == "" or stages == 1 else 1)
            use.release(per="warp")
            use.advance()
        vm.wgmma_wait()
        vm.store(sc, [0, 0], vm.cast(acc, f16))
        if broken != "no fence":
            vm.fence_proxy_async()
        vm.barrier()
        vm.store_tensor(gc, [row, column], sc, [0, 0], (ROWS, COLUMNS))
        vm.bulk_commit()
        vm.bulk_wait()


def matrices(m: int, k: int, n: int) -> list[Any]:
    rng = np.random.default_rng(0)
    a = rng.integers(-3, 4, (m, k)).astype(np.float16)
    b = rng.integers(-3, 4, (k, n)).astype(np.float16)
    return [a, b, np.full((m, n), np.nan, np.float16), m, k, n]


@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize(("m", "k", "n"), [(128, 64, 64), (200, 200, 72)])
def test_products_of_tiles_from_a_ring(stages: int, m: int, k: int, n: int, tmp_path: Path) -> None:
    arguments = matrices(m, k, n)
    function = matmul.trace(stages=stages)
    found = agree(function, arguments)
    np.testing.assert_array_equal(found[2], arguments[0] @ arguments[1])
    lowered = compile_function(function)
    assert "wgmma.mma_async" in lowered.ptx and "cp.async.bulk.tensor.2d" in lowered.ptx
    said = assemble(lowered.ptx, "sm_90a", tmp_path)
    assert "C75" not in said, said


@pytest.mark.parametrize("when", ["late", "early"])
@pytest.mark.parametrize("seed", [1, 2])
def test_any_order(when: str, seed: int) -> None:
    arguments = matrices(128, 200, 64)
    emulate(matmul.trace(), arguments, seed=seed, asynchronous=when)
    np.testing.assert_array_equal(arguments[2], arguments[0] @ arguments[1])


@pytest.mark.parametrize("broken", ["no wait", "no fence", "too early"])
def test_what_is_missing_is_found_by_both(broken: str) -> None:
    function = matmul.trace(stages=2, broken=broken)
    with pytest.raises(ExecutionError):
        run(function, matrices(128, 320, 64))
    with pytest.raises(EmulatorError):
        emulate(function, matrices(128, 320, 64))
