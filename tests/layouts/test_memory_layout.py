"""Memory layouts, swizzles and symbolic views by their defining equations."""

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tileloom.layouts import (
    GlobalLayout,
    LayoutError,
    MemoryLayout,
    Swizzle,
    column_major,
    row_major,
    strided,
    swizzled,
)

from .strategies import divisions, drawn, indices, memory_layouts


@drawn(200)
@given(memory_layouts(), st.sampled_from((1, 2, 4, 8, 16, 32)))
def test_offsets(layout: MemoryLayout, bits: int) -> None:
    every = indices(layout.shape)
    offsets = layout.offsets(every)
    expected = np.full(len(every), layout.start)
    for dim, digits in enumerate(layout.digits):
        if digits:
            values = np.unravel_index(every[:, dim], [d.extent for d in digits])
            expected += sum(v * d.stride for v, d in zip(values, digits, strict=True))
    assert np.array_equal(offsets, expected)
    assert layout.is_injective and offsets.max() == layout.size - 1
    places = layout.bit_offsets(every, bits)
    in_bits = offsets * bits
    in_bytes = in_bits // 8 if layout.swizzle is None else layout.swizzle(in_bits // 8)
    assert np.array_equal(in_bytes * 8 + in_bits % 8, places)
    some = tuple(int(i) for i in every[-1])
    assert layout.offset(some) == offsets[-1]
    assert layout.bit_offset(some, bits) == places[-1]
    if bits >= 8:
        assert np.array_equal(layout.byte_offsets(every, bits) * 8, places)
        assert layout.byte_offset(some, bits) * 8 == places[-1]


@drawn(100)
@given(st.integers(1, 4), st.integers(4, 6), st.integers(0, 3))
def test_a_swizzle_permutes_its_blocks(bits: int, base: int, extra: int) -> None:
    swizzle = Swizzle(bits, base, bits + extra)
    addresses = np.arange(swizzle.period)
    moved = swizzle(addresses)
    assert np.array_equal(swizzle(moved), addresses)
    assert np.array_equal(moved // swizzle.block, addresses // swizzle.block)
    assert np.array_equal(moved % 16, addresses % 16)
    assert np.array_equal(swizzle(addresses + swizzle.period), moved + swizzle.period)
    assert swizzle(swizzle.period - 16) == moved[-16]


@pytest.mark.parametrize("bits", [3, 2, 1])
def test_swizzles_of_the_hardware(bits: int) -> None:
    """Rows of 128, 64, 32 bytes: chunk c of a row moves to c xor (number of its 128 bytes)."""
    swizzle = Swizzle(bits, 4, 3)
    for address in range(0, 4096, 16):
        chunk, line = address // 16 % 8, address // 128
        assert swizzle(address) == line * 128 + (chunk ^ (line % (1 << bits))) * 16


def test_swizzled_rows() -> None:
    layout = swizzled([8, 64], 16)
    row = [layout.byte_offset((1, column), 16) // 2 for column in range(16)]
    assert row == [*range(72, 80), *range(64, 72)]
    assert swizzled([4, 8, 64], 16) == row_major(4, 1, 1) * swizzled([1, 8, 64], 16)
    assert swizzled([8, 256], 8).swizzle == Swizzle(3, 4, 3)
    assert swizzled([8, 32], 16).swizzle == Swizzle(2, 4, 3)
    assert swizzled([8, 48], 16).swizzle == Swizzle(1, 4, 3)
    assert swizzled([8, 8], 16) == row_major(8, 8)
    with pytest.raises(LayoutError, match=r"cannot swizzle shape .* of 3-bit elements"):
        swizzled([8, 64], 3)


def test_strides() -> None:
    assert row_major(3, 4).offset((2, 1)) == 9
    assert column_major(3, 4).offset((2, 1)) == 5
    assert strided([3, 4], [8, 2]).offset((2, 1)) == 18
    assert not strided([3, 4], [0, 1]).is_injective
    assert row_major(6) == strided([6], [1]) == column_major(6)


@drawn(200)
@given(memory_layouts(), st.data())
def test_slice(layout: MemoryLayout, data: st.DataObject) -> None:
    dim = data.draw(st.integers(0, layout.rank - 1))
    start = data.draw(st.integers(0, layout.shape[dim] - 1))
    size = data.draw(st.integers(1, layout.shape[dim] - start))
    try:
        part = layout.slice(dim, start, size)
    except LayoutError:
        assert len(layout.digits[dim]) > 1
        return
    inside = indices(part.shape)
    shift = np.eye(layout.rank, dtype=np.int64)[dim] * start
    assert np.array_equal(part.offsets(inside), layout.offsets(inside + shift))
    assert part.swizzle == layout.swizzle
    chosen = layout.select(dim, start)
    rest = indices(chosen.shape)
    assert np.array_equal(chosen.offsets(rest), layout.offsets(np.insert(rest, dim, start, 1)))


@drawn(150)
@given(memory_layouts(), st.data())
def test_permute_and_squeeze(layout: MemoryLayout, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(layout.rank)))
    permuted = layout.permute(order)
    every = indices(layout.shape)
    assert np.array_equal(permuted.offsets(every[:, order]), layout.offsets(every))
    wider = layout.unsqueeze([0, 2])
    assert wider.shape == (1, layout.shape[0], 1, *layout.shape[1:])
    assert wider.squeeze([0, 2]) == layout


@drawn(200)
@given(memory_layouts(120), st.data())
def test_reshape(layout: MemoryLayout, data: st.DataObject) -> None:
    left, shape = prod(layout.shape), []
    for _ in range(data.draw(st.integers(0, 2))):
        extent, left = data.draw(st.sampled_from(list(divisions(left))))
        shape.append(extent)
    shape.append(left)
    flat = layout.offsets(indices(layout.shape))
    try:
        reshaped = layout.reshape(shape)
    except LayoutError:
        # Along some new dimension, the offset is no function of that index alone.
        cube = flat.reshape(shape) - flat[0]
        axes = [cube[tuple(slice(None) if d == a else 0 for d in range(len(shape)))]
                for a in range(len(shape))]  # fmt: skip
        total = sum(np.ix_(*axes)[1:], start=np.ix_(*axes)[0])
        assert not np.array_equal(total, cube)
    else:
        assert np.array_equal(reshaped.offsets(indices(tuple(shape))), flat)


@drawn(150)
@given(memory_layouts(30), memory_layouts(30))
def test_compose(outer: MemoryLayout, inner: MemoryLayout) -> None:
    if outer.rank != inner.rank or outer.swizzle is not None:
        with pytest.raises(LayoutError, match="cannot compose"):
            outer * inner
        return
    both = outer * inner
    every, shape = indices(both.shape), np.array(inner.shape)
    expected = outer.offsets(every // shape) * inner.size + inner.offsets(every % shape)
    assert np.array_equal(both.offsets(every), expected)
    assert both.swizzle == inner.swizzle


@drawn(200)
@given(memory_layouts(12), memory_layouts(12))
def test_equal_iff_the_functions_are(one: MemoryLayout, other: MemoryLayout) -> None:
    same = one.shape == other.shape and one.swizzle == other.swizzle
    every = indices(one.shape)
    same = same and np.array_equal(one.offsets(every), other.offsets(every))
    assert (one == other) == same


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda m: m.offset((3, 0)), r"index \(3, 0\) is outside the tile \[3, 4\]"),
        (lambda m: m.slice(1, 2, 3), r"no \[2, 5\) in dimension 1"),
        (lambda m: m.permute(0, 0), "is no order of 2 dimensions"),
        (lambda m: m.reshape(5), r"cannot reshape .* to \[5\]"),
        (lambda m: m.squeeze(0), r"cannot squeeze \[0\] of \[3, 4\]: not 1"),
        (lambda m: m.unsqueeze(5), r"cannot insert dimensions \[5\]"),
        (lambda m: m.byte_offset((0, 1), 4), "elements of 4 bits do not start at bytes"),
        (lambda m: strided([2], [-1]), "offsets must not be negative"),
        (lambda m: row_major(0), "extents must be positive"),
        (lambda m: Swizzle(3, 2, 3), "no swizzle of 3 bits at 2 from 3 above"),
        (lambda m: Swizzle(3, 4, 2), "needs bits >= 1, base >= 4, shift >= bits"),
        (lambda m: (row_major(2, 8).slice(0, 0, 2) * swizzled([8, 64], 16))
         .byte_offset((0, 0), 3), "cannot swizzle elements of 3 bits"),
    ],
)  # fmt: skip
def test_errors_show_what_was_asked(attempt, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LayoutError, match=message):
        attempt(row_major(3, 4))


class Symbol:
    """Arithmetic written down, as an index expression does."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __add__(self, other: object) -> "Symbol":
        return Symbol(f"({self.text} + {getattr(other, 'text', other)})")

    __radd__ = __add__

    def __mul__(self, other: object) -> "Symbol":
        return Symbol(f"{self.text}*{getattr(other, 'text', other)}")

    __rmul__ = __mul__


def test_symbolic_views() -> None:
    m, k, i, j = map(Symbol, "mkij")
    view = GlobalLayout.row_major([m, k])
    assert view.strides[1] == 1
    assert view.offset([i, j]).text == "(i*k + j)"
    assert view.offset([i, 0]).text == "i*k"
    assert view.offset([0, 0]) == 0
    assert view.permute([1, 0]).offset([j, 0]).text == "j"
    assert view.select(0, i).offset([j]).text == "(i*k + j)"
    assert view.slice(0, i, 16).offset([j, 0]).text == "(i*k + j*k)"
    assert view.slice(0, i, 16).displacement([3, 1]).text == "(k*3 + 1)"
    with pytest.raises(LayoutError, match="index of 1 numbers in a view of rank 2"):
        view.offset([i])
    with pytest.raises(LayoutError, match="no dimension 2"):
        view.select(2, 0)


@drawn(100)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=3), st.data())
def test_views_of_known_sizes_are_memory_layouts(shape: list[int], data: st.DataObject) -> None:
    strides = data.draw(st.lists(st.integers(0, 9), min_size=len(shape), max_size=len(shape)))
    view, memory = GlobalLayout(tuple(shape), tuple(strides)), strided(shape, strides)
    dim = data.draw(st.integers(0, len(shape) - 1))
    start = data.draw(st.integers(0, shape[dim] - 1))
    part, same = (
        view.slice(dim, start, shape[dim] - start),
        memory.slice(dim, start, shape[dim] - start),
    )
    outer, inner = data.draw(st.sampled_from(list(divisions(shape[dim]))))
    split = view.split(dim, [outer, inner])
    for index in indices(tuple(shape)).tolist():
        assert view.offset(index) == memory.offset(index)
        pieces = [*index[:dim], *divmod(index[dim], inner), *index[dim + 1 :]]
        assert split.offset(pieces) == memory.offset(index)
    for index in indices(same.shape).tolist():
        assert part.offset(index) == same.offset(index)
