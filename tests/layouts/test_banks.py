"""Bank conflicts: known accesses, and the count against a simulation bank by bank."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tileloom.layouts import (
    LayoutError,
    access_wavefronts,
    bank_conflicts,
    column_spatial,
    fragments,
    ldmatrix_wavefronts,
    local,
    row_major,
    spatial,
    strided,
    swizzled,
    wavefronts,
)

LANES = np.arange(32)


@pytest.mark.parametrize(
    ("addresses", "width", "expected"),
    [
        (LANES * 4, 4, 1),  # one row of words
        (LANES * 0, 4, 1),  # one word for all
        (LANES * 8, 4, 2),  # every second bank
        (LANES * 128, 4, 32),  # one bank
        (LANES * 132, 4, 1),  # a padded column
        (LANES // 2 * 128, 4, 16),
        (LANES * 1, 1, 1),
        (LANES * 2, 2, 1),
        (LANES * 8, 8, 2),  # 256 bytes take two passes
        (LANES * 128, 8, 32),
        (LANES * 16, 16, 4),
        (LANES * 128, 16, 32),
        (LANES % 8 * 16, 16, 4),
        (LANES[:8] * 16, 16, 1),
        (LANES[:8] * 128, 16, 8),
        (LANES[:0], 4, 0),
    ],
)
def test_known_accesses(addresses: np.ndarray, width: int, expected: int) -> None:
    assert wavefronts(addresses, width) == expected
    per_pass = {8: 16, 16: 8}.get(width, 32)
    assert bank_conflicts(addresses, width) == expected - -(-len(addresses) // per_pass)


@given(st.data(), st.sampled_from((1, 2, 4, 8, 16)))
def test_against_serving_words_one_by_one(data: st.DataObject, width: int) -> None:
    chunks = data.draw(st.lists(st.integers(0, 63), max_size=32))
    per_pass = {8: 16, 16: 8}.get(width, 32)
    total = 0
    for first in range(0, len(chunks), per_pass):
        pending = {
            byte // 4 for c in chunks[first : first + per_pass] for byte in range(c * width,
                                                                                 (c + 1) * width)
        }  # fmt: skip
        while pending:  # a wavefront: one word of each bank
            pending -= {
                max(w for w in pending if w % 32 == bank) for bank in {w % 32 for w in pending}
            }
            total += 1
    assert wavefronts([c * width for c in chunks], width) == total


def test_ldmatrix_needs_a_swizzle() -> None:
    for columns in (64, 128):
        for column in range(0, columns, 8):
            assert ldmatrix_wavefronts(row_major(16, columns), 16, (8, column)) == 8
            assert ldmatrix_wavefronts(swizzled([16, columns], 16), 16, (8, column)) == 1
    assert ldmatrix_wavefronts(row_major(8, 32), 16, (0, 0)) == 4
    assert ldmatrix_wavefronts(swizzled([8, 32], 16), 16, (0, 8)) == 1
    assert ldmatrix_wavefronts(swizzled([8, 16], 16), 16, (0, 8)) == 1
    assert ldmatrix_wavefronts(strided([8, 64], [72, 1]), 16, (0, 0)) == 1


def test_accesses_of_a_tile() -> None:
    layout = fragments.mma_c("f16")
    assert access_wavefronts(layout, row_major(16, 8), 32, vector=2).tolist() == [[2, 2]]
    assert access_wavefronts(layout, row_major(16, 8), 32).tolist() == [[2, 2, 2, 2]]
    whole = row_major(16, 64).slice(1, 0, 8)
    assert access_wavefronts(layout, whole, 16, vector=2).tolist() == [[8, 8]]
    two_warps = spatial(2, 1) * layout
    assert access_wavefronts(two_warps, row_major(32, 8), 16, vector=2).tolist() == [[1, 1]] * 2
    idle = spatial(5, 4)  # 20 lanes
    assert access_wavefronts(idle, row_major(5, 4), 32).tolist() == [[1]]
    assert access_wavefronts(column_spatial(8, 4), row_major(8, 32).slice(1, 0, 4), 32).max() == 8


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: wavefronts([0], 3), "no access has 3 bytes a lane"),
        (lambda: wavefronts(LANES * 2, 4), "not aligned to 4 bytes"),
        (lambda: wavefronts(range(0, 132, 4), 4), "33 lanes in one access"),
        (lambda: access_wavefronts(local(4), row_major(4), 16, 3), "vectors of 3 do not divide"),
        (lambda: access_wavefronts(local(4), strided([4], [2]), 16, 2), "are not consecutive"),
        (lambda: access_wavefronts(local(4), row_major(4), 2, 2), "are no bytes"),
    ],
)
def test_impossible_accesses(attempt, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LayoutError, match=message):
        attempt()
