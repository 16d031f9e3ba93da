"""Matrix descriptors: what they make the hardware read is what the layout says."""

from __future__ import annotations

from itertools import product

import pytest

from tileloom.layouts import (
    LayoutError,
    MatrixDescriptor,
    MemoryLayout,
    Swizzle,
    describe_operand,
    matrix_operand,
    parse_memory_layout,
    row_major,
    strided,
    swizzled,
)


def walked(found: MatrixDescriptor, start: int, i: int, k: int, bits: int) -> int:
    """The byte of element (i, k) of a box as PTX's canonical layouts define it."""
    per_unit, units, width = 128 // bits, found.units, bits // 8
    if found.transposed:
        chunk, inside = divmod(i, per_unit)
        if units == 1:
            place = inside * width + chunk * found.stride + k % 8 * 16 + k // 8 * found.leading
        else:
            place = inside * width + chunk % units * 16 + chunk // units * found.leading
            place += k % 8 * 16 * units + k // 8 * found.stride
    else:
        chunk, inside = divmod(k, per_unit)
        place = inside * width + chunk * (found.leading if units == 1 else 16)
        place += i % 8 * 16 * units + i // 8 * found.stride
    address = start + place
    return address ^ (address >> 7 & units - 1) << 4


def check(layout: MemoryLayout, bits: int, mn: int, mn_dim: int = 0, k_dim: int = 1) -> None:
    found = describe_operand(layout, bits, mn, mn_dim=mn_dim, k_dim=k_dim)
    step = 256 // bits
    width = bits // 8
    other = [range(n) if d not in (mn_dim, k_dim) else (0,) for d, n in enumerate(layout.shape)]
    for at in product(*other):
        for m0, k0 in product(
            range(0, layout.shape[mn_dim], mn), range(0, layout.shape[k_dim], step)
        ):
            index = list(at)
            index[mn_dim], index[k_dim] = m0, k0
            start = layout.offset(index) * width
            assert start % 16 == 0
            for i, k in product(range(0, mn, 3), range(0, step, 3)):
                index[mn_dim], index[k_dim] = m0 + i, k0 + k
                assert layout.byte_offset(index, bits) == walked(found, start, i, k, bits)


@pytest.mark.parametrize("mn_major", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("mn", [8, 16, 24, 64, 96, 128])
@pytest.mark.parametrize("k", [32, 64, 128])
def test_what_the_catalogue_offers(k: int, mn: int, bits: int, mn_major: bool) -> None:
    if mn_major and bits != 16:
        with pytest.raises(LayoutError, match="is not k-major as wgmma reads it"):
            matrix_operand(mn, k, bits, mn_major)
        return
    layout = matrix_operand(mn, k, bits, mn_major)
    check(layout, bits, 8 if not mn_major else mn)
    check(layout, bits, mn)


def test_forms_without_swizzle() -> None:
    """Core matrices of 8 rows by 16 bytes, in any order."""
    for text in (
        "memory(shape=[64, 32], digits=[[8, 8], [4, 8]], strides=[[64, 8], [512, 1]], start=0)",
        "memory(shape=[64, 32], digits=[[8, 8], [4, 8]], strides=[[256, 8], [64, 1]], start=64)",
    ):
        layout = parse_memory_layout(text)
        assert describe_operand(layout, 16, 64, mn_dim=0, k_dim=1).units == 1
        check(layout, 16, 64)
        check(layout, 16, 32)
    transposed = parse_memory_layout(
        "memory(shape=[64, 32], digits=[[8, 8], [4, 8]], strides=[[64, 1], [512, 8]], start=0)"
    )
    assert describe_operand(transposed, 16, 64, mn_dim=0, k_dim=1).transposed
    check(transposed, 16, 64)


@pytest.mark.parametrize("bits", [1, 2, 3])
def test_swizzles(bits: int) -> None:
    width = 8 << bits  # elements of 16 bits in a row
    k_major = MemoryLayout((32, width), row_major(32, width).digits, Swizzle(bits, 4, 3))
    check(k_major, 16, 32)
    check(k_major, 16, 16)
    mn_major = k_major.permute(1, 0)
    assert describe_operand(mn_major, 16, width, mn_dim=0, k_dim=1).transposed
    check(mn_major, 16, width)


def test_stages_and_the_fields() -> None:
    stages = swizzled([4, 128, 64], 16)
    check(stages, 16, 64, 1, 2)
    found = describe_operand(stages, 16, 64, mn_dim=1, k_dim=2)
    assert (found.leading, found.stride, found.units, found.transposed) == (16, 1024, 8, False)
    assert found.bits == 1 << 62 | 64 << 32 | 1 << 16
    wide = describe_operand(swizzled([64, 256], 16), 16, 128, mn_dim=1, k_dim=0)
    assert (wide.leading, wide.stride, wide.transposed) == (64 * 128, 1024, True)
    assert [describe_operand(swizzled([8, n], 8), 8, 8, mn_dim=0, k_dim=1).bits >> 62
            for n in (32, 64, 128)] == [3, 2, 1]  # fmt: skip


WRONG = {
    "is not k-major or mn-major as wgmma reads it": (row_major(64, 64), 16, 64),
    "is not k-major as wgmma reads it": (swizzled([64, 64], 16).permute(1, 0), 32, 64),
    "boxes of 64 by 16 don't divide the tile of 96 by 64": (swizzled([96, 64], 16), 16, 64),
    "wgmma knows no `swizzle(3, 5, 3)`": (
        MemoryLayout((64, 64), row_major(64, 64).digits, Swizzle(3, 5, 3)), 16, 64,
    ),
    "start off the 1024 bytes after which its pattern repeats": (
        MemoryLayout((64, 64), row_major(64, 64).digits, Swizzle(3, 4, 3), 256), 16, 64,
    ),
    "is not k-major or mn-major as wgmma reads": (strided([64, 64], [72, 1]), 16, 64),
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_layouts_without_a_descriptor(message: str) -> None:
    layout, bits, mn = WRONG[message]
    with pytest.raises(LayoutError) as caught:
        describe_operand(layout, bits, mn, mn_dim=0, k_dim=1)
    assert message in str(caught.value)
