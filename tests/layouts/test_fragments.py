"""Fragments against the formulas by which the PTX manual defines them.

g = lane // 4, p = lane % 4; i numbers a lane's elements, register by register, low bits first.
"""

from collections.abc import Callable

import pytest

from tileloom.layouts import LayoutError, RegisterLayout, fragments, local, spatial

Formula = Callable[[int, int, int], tuple[int, int]]

# (dtype, k): row and column of element i of a, and of b.
FORMULAS: dict[tuple[str, int], tuple[Formula, Formula]] = {
    ("f16", 16): (
        lambda g, p, i: (g + 8 * (i in (2, 3, 6, 7)), 2 * p + i % 2 + 8 * (i >= 4)),
        lambda g, p, i: (2 * p + i % 2 + 8 * (i >= 2), g),
    ),
    ("f16", 8): (
        lambda g, p, i: (g + 8 * (i >= 2), 2 * p + i % 2),
        lambda g, p, i: (2 * p + i, g),
    ),
    ("tf32", 8): (
        lambda g, p, i: (g + 8 * (i in (1, 3)), p + 4 * (i >= 2)),
        lambda g, p, i: (p + 4 * (i == 1), g),
    ),
    ("tf32", 4): (
        lambda g, p, i: (g + 8 * (i == 1), p),
        lambda g, p, i: (p, g),
    ),
    ("i8", 32): (
        lambda g, p, i: (g + 8 * (4 <= i < 8 or i >= 12), 4 * p + i % 4 + 16 * (i >= 8)),
        lambda g, p, i: (4 * p + i % 4 + 16 * (i >= 4), g),
    ),
    ("i8", 16): (
        lambda g, p, i: (g + 8 * (i >= 4), 4 * p + i % 4),
        lambda g, p, i: (4 * p + i, g),
    ),
}


def check(layout: RegisterLayout, formula: Formula) -> None:
    assert layout.num_threads == 32
    for lane in range(32):
        for i in range(layout.num_locals):
            assert layout(lane, i) == formula(lane // 4, lane % 4, i), (lane, i)


@pytest.mark.parametrize(("dtype", "k"), FORMULAS)
def test_mma_operands(dtype: str, k: int) -> None:
    a, b = FORMULAS[dtype, k]
    for name in {"f16": ("f16", "bf16"), "i8": ("i8", "u8")}.get(dtype, (dtype,)):
        mma = fragments.mma(name, k)
        assert (mma.shape, mma.a.shape, mma.b.shape) == (f"m16n8k{k}", (16, k), (k, 8))
        check(mma.a, a)
        check(mma.b, b)
        check(mma.c, lambda g, p, i: (g + 8 * (i >= 2), 2 * p + i % 2))
        assert (fragments.mma_a(name, k), fragments.mma_b(name, k)) == (mma.a, mma.b)
    assert fragments.mma_c(dtype).shape == (16, 8)


def test_the_largest_k_is_the_default() -> None:
    defaults = {name: fragments.mma(name).k for name in ("f16", "bf16", "tf32", "i8", "u8")}
    assert defaults == {"f16": 16, "bf16": 16, "tf32": 8, "i8": 32, "u8": 32}


def test_matrices() -> None:
    check(fragments.matrix(16), lambda g, p, i: (g, 2 * p + i))
    check(fragments.matrix(8), lambda g, p, i: (g, 4 * p + i))
    check(fragments.matrix(32), lambda g, p, i: (g, p))
    check(fragments.matrix(16, transposed=True), lambda g, p, i: (2 * p + i, g))
    for count in (1, 2, 4):
        check(fragments.matrices(count), lambda g, p, i: (8 * (i // 2) + g, 2 * p + i % 2))
        check(
            fragments.matrices(count, transposed=True),
            lambda g, p, i: (8 * (i // 2) + 2 * p + i % 2, g),
        )
        rows = fragments.matrix_row_addresses(count)
        assert [rows(lane, 0) for lane in range(8 * count)] == [(r,) for r in range(8 * count)]


def test_which_operands_ldmatrix_can_load() -> None:
    """A fragment is loaded in registers' order: the quotient's local number is the matrix."""
    matrix, transposed = fragments.matrix(), fragments.matrix(transposed=True)
    a, b = fragments.mma_a("f16"), fragments.mma_b("f16")
    matrices_of_a = a / matrix
    assert [matrices_of_a(0, i) for i in range(4)] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert b / transposed == local(2, 1)  # b as it lies in [k, n] memory
    assert b.permute(1, 0) / matrix == local(1, 2)  # b as it lies in [n, k] memory
    assert fragments.mma_a("i8") / fragments.matrix(8) == matrices_of_a
    assert fragments.mma_a("tf32") / fragments.matrix(32) == matrices_of_a
    assert fragments.mma_c("f16") / matrix == local(2, 1)
    with pytest.raises(LayoutError, match="no layout q has"):
        b / matrix


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: fragments.mma("f64"), r"no mma fragments for f64; there are f16 \[16, 8\]"),
        (lambda: fragments.mma("f16", 32), "no mma fragments for f16 with k = 32"),
        (lambda: fragments.matrix(4), "no matrix loads of 4-bit elements"),
        (lambda: fragments.matrix(8, True), "no transposed matrix loads of 8-bit elements"),
        (lambda: fragments.matrices(3), "move 1, 2 or 4 matrices, not 3"),
        (lambda: fragments.matrix_row_addresses(8), "move 1, 2 or 4 matrices, not 8"),
    ],
)
def test_unknown_fragments(attempt, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LayoutError, match=message):
        attempt()


def test_fragments_tile_by_composition() -> None:
    """A warp tile of several fragments divides by one again."""
    tile = spatial(2, 1) * local(2, 4) * fragments.mma_c("f16")
    assert tile.shape == (64, 32) and tile.num_threads == 64
    assert tile / fragments.mma_c("f16") == spatial(2, 1) * local(2, 4)


# d and a of wgmma by warp w, as the manual's figures of the accumulator and of a number them.
WGMMA_A: dict[str, Formula] = {
    "f16": FORMULAS["f16", 16][0],
    "tf32": FORMULAS["tf32", 8][0],
    "i8": FORMULAS["i8", 32][0],
}


def test_wgmma_fragments() -> None:
    for n in range(8, 257, 8):
        d = fragments.wgmma_d(n)
        assert (d.shape, d.num_threads, d.num_locals) == ((64, n), 128, n // 2)
        for thread in (0, 1, 5, 31, 32, 70, 127):
            warp, g, p = thread // 32, thread % 32 // 4, thread % 4
            for i in range(n // 2):
                place = (16 * warp + g + 8 * (i % 4 >= 2), 8 * (i // 4) + 2 * p + i % 2)
                assert d(thread, i) == place
    kinds = {"f16": ("f16", "bf16"), "tf32": ("tf32",), "i8": ("i8", "u8", "e4m3", "e5m2")}
    for kind, names in kinds.items():
        for name in names:
            a = fragments.wgmma_a(name)
            assert (a.shape, a.num_threads) == ((64, fragments.wgmma_depth(name)), 128)
            for thread in range(128):
                for i in range(a.num_locals):
                    row, column = WGMMA_A[kind](thread % 32 // 4, thread % 4, i)
                    assert a(thread, i) == (16 * (thread // 32) + row, column)


def test_wgmma_shapes() -> None:
    depths = {name: fragments.wgmma_depth(name) for name in fragments.WGMMA_BITS}
    assert depths == {
        "f16": 16, "bf16": 16, "tf32": 8, "e4m3": 32, "e5m2": 32, "i8": 32, "u8": 32
    }  # fmt: skip
    assert fragments.wgmma_widths("e4m3") == tuple(range(8, 257, 8))
    assert fragments.wgmma_widths("u8") == (8, 16, 24, *range(32, 257, 16))
    with pytest.raises(LayoutError, match=r"8, 16, \.\.\., 256 columns, not 12"):
        fragments.wgmma_d(12)
    with pytest.raises(LayoutError, match=r"8, 16, \.\.\., 256 columns, not 264"):
        fragments.wgmma_d(264)
    with pytest.raises(LayoutError, match="no wgmma for f32; there are f16, bf16, tf32"):
        fragments.wgmma_a("f32")
