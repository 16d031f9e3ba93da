"""Which tiles blocks work on: all of them once, and sums of tiles that blocks share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tileloom import vm
from tileloom.layouts import RegisterLayout, fragments, local, replicate, spatial
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import f16, f32, i32, u32
from tileloom.vm.interpreter import run


@vm.kernel
def visits(y: vm.Ptr[i32], down: i32, across: i32, blocks: i32, band: int) -> None:
    """Counts at each tile's row and column."""
    vm.launch(grid=[blocks], warps=1)
    view = vm.global_view(y, [down, across])
    for tile in vm.persistent_tiles(down * across):
        row, column = vm.in_bands(tile, down, across, band)
        vm.atomic(view, [row, column], vm.full(i32, (1, 1), 1))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 20), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_persistent_blocks_take_every_tile_once(
    down: int, across: int, blocks: int, band: int
) -> None:
    y = np.zeros((down, across), np.int32)
    run(visits.trace(band=band), [y, down, across, blocks])
    assert (y == 1).all()


@pytest.mark.parametrize("band", [1, 2, 3])
def test_a_band_is_walked_column_by_column(band: int) -> None:
    order = np.zeros((5, 4), np.int32)

    @vm.kernel
    def numbered(y: vm.Ptr[i32]) -> None:
        vm.launch(grid=[20], warps=1)
        tile = vm.block_index()
        row, column = vm.in_bands(tile, vm.constant(5), vm.constant(4), band)
        vm.store(vm.global_view(y, [5, 4]), [row, column], vm.full(i32, (1, 1)) + tile)

    run(numbered.trace(), [order])
    bands = [range(first, min(5, first + band)) for first in range(0, 5, band)]
    places = [(row, column) for rows in bands for column in range(4) for row in rows]
    assert [order[place] for place in places] == list(range(20))


@vm.kernel
def stream_k(
    a: vm.Ptr[f16],
    b: vm.Ptr[f16],
    c: vm.Ptr[f32],
    partials: vm.Ptr["sums"],
    flags: vm.Ptr["counts"],
    m: i32,
    k: i32,
    n: i32,
    parts: i32,
    layout: RegisterLayout,
    halves: int = 1,
    sums: str = "f32",
    counts: str = "u32",
) -> None:
    """c = a @ b in tiles of 16 x 8 * halves, each half a tile of sums of its own."""
    vm.launch(grid=[parts], warps=1)
    shape = (16, 8)
    across = vm.cdiv(n, 8 * halves)
    work = vm.StreamK(vm.cdiv(m, 16) * across, vm.cdiv(k, 16), parts)
    shared = vm.SharedSums(work, partials, flags, [layout] * halves)
    view_a, view_b = vm.global_view(a, [m, k]), vm.global_view(b, [k, n])
    view_c = vm.global_view(c, [m, n])
    with work.segments() as part:
        row, column = part.tile // across * 16, part.tile % across * (8 * halves)
        totals = [vm.full(f32, shape, 0.0) for _ in range(halves)]
        for turn in vm.range(part.turns):
            at = (part.begin + turn) * 16
            left = vm.load(view_a, [row, at], (16, 16))
            for half, total in enumerate(totals):
                vm.mma(total, left, vm.load(view_b, [at, column + 8 * half], (16, 8)))
        with shared.meet(part, totals):
            for half, total in enumerate(totals):
                vm.store(view_c, [row, column + 8 * half], total)


C = fragments.mma("f16", 16).c


def operands(m: int, k: int, n: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(m + k + n)
    a, b = (rng.integers(-4, 5, shape).astype(np.float16) for shape in ((m, k), (k, n)))
    return a, b, a.astype(np.float64) @ b.astype(np.float64)


def workspace(parts: int, layout: RegisterLayout, halves: int) -> tuple[Any, Any]:
    size = parts * layout.num_threads * layout.num_locals * halves
    return np.full(size, np.nan, np.float32), np.zeros(parts, np.uint32)


@given(
    st.integers(1, 40), st.integers(1, 100), st.integers(1, 40), st.integers(1, 25),
    st.integers(1, 2), st.integers(0, 3),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_blocks_share_all_turns_evenly(
    m: int, k: int, n: int, parts: int, halves: int, seed: int
) -> None:
    a, b, exact = operands(m, k, n)
    sums, flags = workspace(parts, C, halves)
    function = stream_k.trace(layout=C, halves=halves)
    for _ in range(2):  # the second launch finds the flags as the first did
        c = np.full((m, n), np.nan, np.float32)
        run(function, [a, b, c, sums, flags, m, k, n, parts], seed=seed)
        np.testing.assert_array_equal(c, exact)
        assert not flags.any()


@pytest.mark.parametrize("halves", [1, 2])
@pytest.mark.parametrize("parts", [1, 3, 7])
def test_the_compiled_program_does_the_same(halves: int, parts: int) -> None:
    m, k, n = 37, 83, 21
    a, b, exact = operands(m, k, n)
    sums, flags = workspace(parts, C, halves)
    c = np.full((m, n), np.nan, np.float32)
    arguments = (a, b, c, sums, flags, m, k, n, parts)
    stream_k(*arguments, layout=C, halves=halves, device="emulator")
    np.testing.assert_array_equal(c, exact)
    assert not flags.any()


@vm.kernel
def row_sums(
    x: vm.Ptr[f32],
    y: vm.Ptr[f32],
    partials: vm.Ptr[f32],
    flags: vm.Ptr[u32],
    m: i32,
    k: i32,
    parts: i32,
    layout: RegisterLayout,
) -> None:
    vm.launch(grid=[parts], warps=1)
    (rows,) = layout.shape
    work = vm.StreamK(vm.cdiv(m, rows), k, parts)
    shared = vm.SharedSums(work, partials, flags, [layout])
    with work.segments() as part:
        total = vm.full(f32, (rows,), 0.0, layout)
        for turn in vm.range(part.turns):
            place = [part.tile * rows, part.begin + turn]
            total.set(total + vm.load(vm.global_view(x, [m, k]), place, (rows,), dims=[0]))
        with shared.meet(part, [total]):
            vm.store(vm.global_view(y, [m]), [part.tile * rows], total)


LAYOUTS = [spatial(32), spatial(32) * local(3), local(2) * spatial(16) * replicate(2), local(8)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("device", ["interpreter", "emulator"])
def test_sums_in_any_layout(layout: RegisterLayout, device: str) -> None:
    """Of one, two, three and eight elements a thread, replicas among them."""
    if layout.num_threads == 1:
        layout = replicate(32) * layout
    m, k, parts = 100, 7, 9
    x = np.random.default_rng(0).integers(-9, 9, (m, k)).astype(np.float32)
    y, (sums, flags) = np.full(m, np.nan, np.float32), workspace(parts, layout, 1)
    row_sums(x, y, sums, flags, m, k, parts, layout=layout, device=device)
    np.testing.assert_array_equal(y, x.sum(axis=1))


@pytest.mark.parametrize(("how", "named"), [({"sums": "f16"}, "f16"), ({"counts": "f32"}, "f32")])
def test_a_workspace_of_another_dtype(how: dict[str, str], named: str) -> None:
    with pytest.raises(VMError, match=f"sums are shared through `{named}`") as caught:
        stream_k.trace(layout=C, **how)
    assert caught.value.hint is not None
