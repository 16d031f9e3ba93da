"""Tiles copied by the copy engine: boxes from layouts, what is emitted, and that it assembles and
agrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from execution import agree, assemble, emulate
from hypothesis import given
from hypothesis import strategies as st

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.compiler.tensor_boxes import BoxError, plan_boxes
from tileloom.layouts import MemoryLayout, Swizzle, column_major, row_major, swizzled
from tileloom.runtime.emulator import EmulatorError
from tileloom.runtime.tensor_maps import resolve
from tileloom.vm import parse
from tileloom.vm.diagnostics import LaunchError, VMError
from tileloom.vm.dtypes import Dtype, dtype, i32

from ..vm.interpreter.test_tensor import SHIFT, matrix, shifted


@pytest.mark.parametrize("when", ["late", "early"])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("m", "k"), [(16, 32), (40, 72), (1, 8), (17, 200)])
def test_tiles_at_the_edges(m: int, k: int, when: str, seed: int, tmp_path: Path) -> None:
    x, y, *sizes = matrix(m, k)
    lowered = emulate(SHIFT, [x, y, *sizes], seed=seed, asynchronous=when)
    np.testing.assert_array_equal(y, shifted(x))
    assert "tensor_map_0[128]" in lowered.ptx and "cvta.param.u64" in lowered.ptx
    assert (
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx" in lowered.ptx
    )
    assert "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [" in lowered.ptx
    assert [m.swizzle for m in lowered.tensor_maps] == [64, 64]
    assert [m.box for m in lowered.tensor_maps] == [(32, 16)] * 2
    if (m, k, when, seed) == (16, 32, "late", 0):
        assemble(lowered.ptx, "sm_90a", tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("  mbarrier_wait %full[0], 0\n", ""), "race"),
        (("  fence_proxy_async\n", ""), "with no fence.proxy.async between"),
        (("  barrier\n", ""), "race"),
        (("  bulk_wait\n", ""), "the thread ends without a wait for this copy"),
        (("], 1024", "], 1008"), "16 bytes more land at the mbarrier"),
        (("], 1024", "], 1040"), "16 bytes are outstanding"),
    ],
)
def test_the_emulator_finds_what_is_missing(change: tuple[str, str], said: str) -> None:
    assert change[0] in SHIFT
    with pytest.raises(EmulatorError) as caught:
        emulate(SHIFT.replace(*change), matrix(40, 72))
    assert said in caught.value.message


@vm.kernel
def there_and_back(
    x: vm.Ptr["element"],  # type: ignore[type-arg]
    y: vm.Ptr["element"],  # type: ignore[type-arg]
    m: i32,
    n: i32,
    layout: MemoryLayout,
    element: Dtype,
    by_columns: bool,
) -> None:
    """y = x in tiles of the layout, which a plain load and store read and write in between."""
    rows, columns = layout.shape
    vm.launch(grid=[vm.cdiv(m, rows), vm.cdiv(n, columns)], warps=2)
    strides = [1, m] if by_columns else [n, 1]
    gx, gy = vm.global_view(x, [m, n], strides), vm.global_view(y, [m, n], strides)
    there = vm.alloc_shared(element, (rows, columns), layout)
    back = vm.alloc_shared(element, (rows, columns), layout)
    full = vm.alloc_mbarrier([1])
    place = [vm.block_index(0) * rows, vm.block_index(1) * columns]
    vm.mbarrier_expect(full, 0, rows * columns * element.bits // 8)
    vm.copy_tensor(there, [0, 0], gx, place, full, 0, (rows, columns), cache="stream")
    vm.mbarrier_wait(full, 0, 0)
    vm.store(back, [0, 0], vm.load(there, [0, 0], (rows, columns)))
    vm.fence_proxy_async()
    vm.barrier()
    vm.store_tensor(gy, place, back, [0, 0], (rows, columns))
    vm.bulk_commit()
    vm.bulk_wait()


LAYOUTS: dict[str, tuple[MemoryLayout, str]] = {
    "plain": (row_major(8, 32), "f32"),
    "128 bytes": (swizzled([16, 64], 16), "f16"),
    "64 bytes": (swizzled([24, 16], 32), "i32"),
    "32 bytes": (swizzled([8, 32], 8), "u8"),
    "several boxes": (swizzled([16, 192], 16), "bf16"),
    "boxes of 8 bits": (swizzled([32, 256], 8), "e4m3"),
    "boxes of 64 bits": (swizzled([8, 32], 64), "f64"),
    "columns": (column_major(64, 12), "f16"),
    "swizzled columns": (swizzled([24, 64], 16).permute(1, 0), "f16"),
}


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_layouts(name: str, tmp_path: Path) -> None:
    layout, element = LAYOUTS[name]
    kind = dtype(element)
    by_columns = "columns" in name
    m, n = (80, 50) if by_columns else (50, 80)
    size = m * n * kind.bits // 8
    x = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    function = there_and_back.trace(layout=layout, element=kind, by_columns=by_columns)
    found = agree(function, [x, np.zeros_like(x), m, n])
    np.testing.assert_array_equal(found[1], x)
    lowered = compile_function(function)
    boxes = 3 if name == "several boxes" else 2 if name.startswith("boxes") else 1
    assert lowered.ptx.count("complete_tx::bytes.L2::cache_hint [") == boxes
    assemble(lowered.ptx, "sm_90a", tmp_path)


@given(
    rows=st.sampled_from([1, 2, 8, 12]),
    columns=st.sampled_from([16, 32, 48, 64, 128]),
    bits=st.sampled_from([8, 16, 32]),
    swizzles=st.booleans(),
)
def test_boxes_are_where_the_layout_says(
    rows: int, columns: int, bits: int, swizzles: bool
) -> None:
    """The engine's addresses, box by box, are those of the layout."""
    layout = swizzled([rows, columns], bits) if swizzles else row_major(rows, columns)
    plan = plan_boxes(layout, bits, (rows, columns))
    size = bits // 8
    box_rows, box_columns = plan.extents
    for box in range(plan.counts[1]):
        start = layout.offset([0, box * box_columns]) * size
        index = np.moveaxis(np.indices((box_rows, box_columns)), 0, -1)
        index = index + np.array([0, box * box_columns])
        meant = layout.byte_offsets(index, bits)
        dense = start + np.arange(box_rows * box_columns).reshape(box_rows, -1) * size
        if plan.swizzle:
            dense ^= (dense >> 7 & plan.swizzle // 16 - 1) << 4
        np.testing.assert_array_equal(dense, meant)


@pytest.mark.parametrize(
    ("layout", "shape", "said"),
    [
        (row_major(8, 12), (8, 12), "rows of 24 bytes are no multiple of 16"),
        (row_major(8, 512), (8, 512), "a box has at most 256 elements along a dimension"),
        (row_major(8, 64), (8, 32), "dimension 0 of the tile has stride 64, not 32"),
        (swizzled([8, 128], 16), (8, 96), "96 elements are no whole boxes of 64"),
        (
            MemoryLayout(row_major(8, 64).shape, row_major(8, 64).digits, Swizzle(2, 4, 3)),
            (8, 64),
            "dimension 0 of the tile has stride 64, not 32",
        ),
        (
            MemoryLayout(row_major(8, 64).shape, row_major(8, 64).digits, Swizzle(3, 4, 4)),
            (8, 64),
            "the engine has no `swizzle(3, 4, 4)`",
        ),
    ],
)
def test_layouts_that_the_engine_cannot_write(
    layout: MemoryLayout, shape: tuple[int, ...], said: str
) -> None:
    with pytest.raises(BoxError) as caught:
        plan_boxes(layout, 16, shape)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("row_major(2, 16, 32) ^ swizzle(2, 4, 3)", "row_major(2, 16, 32) ^ swizzle(3, 4, 3)"),
         "the layout of `%s`: rows of 64 bytes under a swizzle of rows of 128"),
        (("row_major(2, 16, 32) ^ swizzle(2, 4, 3)", "column_major(2, 16, 32)"),
         "the layout of `%s`: dimension 0 of the tile has stride 2, not 1"),
        (("global<f16, [%m, %k]>", "global<f16, [%m, %k], strides = [1, %m]>"),
         "neighbours in `%s` are none in `%gx`"),
        (("global<f16, [%m, %k]>", "global<f16, [%m, %k + block.x]>"),
         "the extents and strides of `%gx` don't follow from parameters alone"),
        (("global_view %x :", "global_view %x {alignment = 8} :"),
         "`%gx` may start at no multiple of 16 bytes"),
        (("copy_tensor %s[1, 0, 0]", "copy_tensor %s[1, %m - %m, 0]"), None),
        (("block.y * 32 + 8]", "block.y * 32 + 4]"), "index 1 of `%gx` may be no multiple of 8"),
        (("block.y * 32 + 8]", "%k]"), "index 1 of `%gx` may be no multiple of 8"),
        (("copy_tensor %s[1, 0, 0], %gx[block.x * 16 - 3, block.y * 32 + 8]",
          "assume %k % 8 == 0\n  copy_tensor %s[1, 0, 0], %gx[block.x * 16 - 3, %k]"), None),
        (("copy_tensor %s[1, 0, 0], %gx", "copy_tensor %s[1, %m, 0], %gx"),
         "a box of `%s` may start at no multiple of 512 bytes"),
    ],
)  # fmt: skip
def test_what_the_compiler_refuses(change: tuple[str, str], said: str | None) -> None:
    assert change[0] in SHIFT
    text = SHIFT.replace(*change)
    if said is None:
        compile_function(parse(text))
        return
    with pytest.raises(VMError) as caught:
        compile_function(parse(text))
    assert caught.value.message == f"`copy_tensor`: {said}"
    assert caught.value.kind == "lowering error" and caught.value.location is not None


@pytest.mark.parametrize(
    ("m", "k", "said"),
    [
        (16, 33, "the tensor map of `gx` has a stride of 66 bytes"),
        (0, 32, "the tensor map of `gx` has an extent of 0"),
    ],
)
def test_what_a_launch_refuses(m: int, k: int, said: str) -> None:
    function = parse(SHIFT)
    lowered = compile_function(function)
    values = dict(zip(function.params, [None, None, m, k], strict=True))
    with pytest.raises(LaunchError) as caught:
        resolve(function, lowered.tensor_maps, values)
    assert caught.value.message == said


CAST = """func @f(%x: *i32, %y: *i32, %n: i32) warps = 1, grid = [4], cluster = [2] {
  %gx = global_view %x : global<i32, [%n, 4, 32]>
  %gy = global_view %y : global<i32, [4, 2, 8, 32]>
  %s = alloc_shared : shared<i32, [2, 8, 32]>
  %full = alloc_mbarrier : mbarrier<[1]>
  mbarrier_expect %full[0], 2048
  cluster_barrier
  copy_tensor %s[cluster_rank, 0, 0], %gx[0, block.x, 0], %full[0], 3 {
    shape = [8, 32], dims = [0, 2]}
  mbarrier_wait %full[0], 0
  %a = load %s[0, 0, 0] : reg<i32, [2, 8, 32]>
  store %gy[block.x, 0, 0, 0], %a {dims = [1, 2, 3]}
  cluster_barrier
}"""


@pytest.mark.parametrize("when", ["late", "early"])
def test_to_many_blocks_along_other_dimensions(when: str, tmp_path: Path) -> None:
    x = np.arange(5 * 4 * 32, dtype=np.int32).reshape(5, 4, 32)
    y = np.zeros((4, 2, 8, 32), np.int32)
    agree(CAST, [x, y, 5])
    lowered = emulate(CAST, [x, y, 5], asynchronous=when)
    padded = np.zeros((8, 4, 32), np.int32)
    padded[:5] = x
    pairs: Any = padded.transpose(1, 0, 2).reshape(2, 2, 8, 32)
    np.testing.assert_array_equal(y, pairs[np.arange(4) // 2])
    assert lowered.tensor_maps[0].dims == (2, 0, 1) and lowered.tensor_maps[0].box == (32, 8, 1)
    assert "cp.async.bulk.tensor.3d" in lowered.ptx and ".multicast::cluster" in lowered.ptx
    assemble(lowered.ptx, "sm_90a", tmp_path)
