"""Transposes against numpy's, element for element, and what their accesses look like."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.layouts.banks import access_wavefronts
from tileloom.programs.transpose.command import ELEMENTS
from tileloom.programs.transpose.program import reference, transpose
from tileloom.programs.transpose.schedule import (
    Schedule,
    Sectors,
    Shared,
    Squares,
    schedule_for,
)

SHAPES = [(1, 1, 1), (1, 136, 200), (3, 33, 70), (1, 130, 65), (2, 20, 36), (1, 7, 100)]


def check(
    shape: tuple[int, int, int], element: str, device: str, schedule: Schedule | None = None
) -> None:
    batch, rows, columns = shape
    kind = np.dtype(ELEMENTS[element])
    x = np.random.default_rng(rows).integers(0, 100, shape).astype(kind)
    y = np.full((batch, columns, rows), 101, kind)
    chosen = schedule or schedule_for(rows, columns, kind.itemsize, batch)
    transpose(x, y, *shape, device=device, element=element, schedule=chosen)
    np.testing.assert_array_equal(y, reference(x))


@pytest.mark.parametrize("element", ELEMENTS)
def test_every_shape(device: str, element: str) -> None:
    for shape in SHAPES:
        check(shape, element, device)


@pytest.mark.parametrize(
    ("element", "rows", "columns"), [("f16", 133, 131), ("f32", 133, 131), ("i64", 131, 67)]
)
def test_blocks_without_an_edge(device: str, element: str, rows: int, columns: int) -> None:
    """Blocks of whole sectors have code of their own where nothing is outside."""
    check((1, rows, columns), element, device)


@pytest.mark.parametrize(
    "schedule",
    [
        Squares(4, 1, 2, flat=True),
        Shared(2, 2, 2),
        Shared(2, 1, 2, flat=True),
        Sectors(2, 64, 64, 4, flat=True),
    ],
)
def test_schedules(device: str, schedule: Schedule) -> None:
    check((2, 44, 68), "f16", device, schedule)


@pytest.mark.parametrize("itemsize", [1, 2, 4, 8])
def test_shared_memory_meets_no_bank_twice(itemsize: int) -> None:
    word = max(1, 4 // itemsize)
    least = max(1, itemsize // 4)  # elements of 8 bytes take two turns
    for reads, writes in {(1, 1), (word, 1), (1, min(word, 2))}:
        s = Shared(itemsize, reads, writes)
        into = access_wavefronts(s.layout, s.memory, 8 * itemsize, reads)
        out_of = access_wavefronts(s.transposed, s.memory.permute(1, 0), 8 * itemsize)
        assert out_of.max() == least
        assert into.max() <= (2 if reads == 4 else least)


@pytest.mark.parametrize("itemsize", [2, 4, 8])
def test_whole_sectors_meet_no_bank_twice(itemsize: int) -> None:
    s = schedule_for(64, 63, itemsize)
    assert isinstance(s, Sectors)
    least, bits = max(1, itemsize // 4), 8 * itemsize
    lines, width = s.held // s.vector, s.memory.shape[2] * s.grain
    one_class = s.memory.select(1, 0)
    read = one_class.reshape((lines, width)).slice(1, 0, s.columns)
    assert access_wavefronts(s.layout, read, bits, s.vector).max() == least
    written = one_class.select(2, 0).slice(0, 0, s.rows // s.vector)
    written = written.slice(1, 0, s.columns // s.grain).permute(1, 0)
    assert access_wavefronts(s.transposed, written, bits).max() == least


@pytest.mark.parametrize(("element", "edge"), [("f16", 8), ("f32", 4), ("bf16", 8)])
def test_aligned_matrices_move_16_bytes_at_once(element: str, edge: int) -> None:
    ptx = transpose.compile(element=element, schedule=Squares(edge)).ptx
    # Where the whole square is inside, and where not.
    assert ptx.count("ld.global.v4.b32") == ptx.count("st.global.v4.b32") == 2 * edge
    assert "ld.global.b" not in ptx and "shared" not in ptx


def test_every_schedule_suits_its_shape() -> None:
    for itemsize in (1, 2, 4, 8):
        for rows in (1, 2, 3, 4, 6, 8, 12, 16, 40, 1000, 1001):
            for columns in (1, 2, 4, 5, 8, 24, 64, 1002):
                s = schedule_for(rows, columns, itemsize)
                assert s.layout.num_threads == 32 * s.num_warps
                if isinstance(s, Sectors):
                    assert s.transposed.num_threads * s.groups == 32 * s.num_warps
                    assert itemsize > 1
                    continue
                assert rows % s.row_grain == 0 and columns % s.column_grain == 0
                if isinstance(s, Squares):
                    assert 8 <= s.edge * itemsize <= 16 and s.edge <= 8
                else:
                    assert s.layout.shape == s.transposed.shape == s.memory.shape
    assert schedule_for(4096, 4096, 2) == Squares(8) and schedule_for(64, 64, 8) == Squares(2)
    assert schedule_for(64, 63, 2) == Sectors(2, min_blocks=6, single=True)
    assert schedule_for(64, 63, 2, 3) == Shared(2, 1, 2, flat=True)
    assert schedule_for(64, 63, 4) == Sectors(4, single=True)
    assert schedule_for(64, 63, 4, 3) == Sectors(4)
    for itemsize in (1, 2, 4, 8):
        for rows, columns, batch in (
            (2, 3, 65536),
            (8, 8, 65536),
            (1, 1 << 24, 1),
            (8, 1 << 24, 1),
        ):
            assert schedule_for(rows, columns, itemsize, batch).flat
