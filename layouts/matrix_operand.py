"""Shared tiles as tensor cores read them: which layouts are legal, and what describes them.

`wgmma` is told by a *matrix descriptor* where a box of mn x k elements lies (mn: rows of a or
columns of b; k: 32 bytes of it). It knows the eight forms below. A unit u is 16 bytes, a row of a
box has w units: 1 without a swizzle, else 2, 4 or 8 (32, 64, 128 bytes). LBO and SBO are the two
strides of a descriptor, leading and stride, free where they are named.

    k-major    along k: within a unit, then 2 units           along mn: 8 rows, then groups of 8
      w = 1             elements side by side, LBO                       u            SBO
      w = 2, 4, 8       elements side by side, u                         w * u        SBO

    mn-major   along mn: within a row, then rows              along k: 8 rows, then 2 groups of 8
      w = 1             elements side by side, SBO                       u            LBO
      w = 2, 4, 8       elements side by side, LBO                       w * u        SBO

Swizzled addresses have the bits of the unit in a row xored with those of the row: Swizzle(1, 4, 3)
for 32 bytes, (2, 4, 3) for 64, (3, 4, 3) for 128. Only elements of 16 bits can be mn-major.

    128 bytes, k-major, 16 bits: 8 rows of 64, as they lie in 1024 bytes (units by number)

        row 0    0 1 2 3 4 5 6 7        row 4    4 5 6 7 0 1 2 3
        row 1    1 0 3 2 5 4 7 6        row 5    5 4 7 6 1 0 3 2
        row 2    2 3 0 1 6 7 4 5        row 6    6 7 4 5 2 3 0 1
        row 3    3 2 1 0 7 6 5 4        row 7    7 6 5 4 3 2 1 0

Each further 32 bytes of k start two units further in the same row, and the swizzle goes by the
address that results. A descriptor is derived from a layout by comparing it with these forms.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .errors import LayoutError
from .memory_layout import MemoryLayout, row_major, swizzled
from .swizzle import Swizzle
from .tracebacks import user_errors

_UNIT = 16
_STEP = 32  # bytes of k that one instruction takes
_MODES = {1: 0, 2: 3, 4: 2, 8: 1}  # units of a row: the descriptor's swizzle mode
_LIMIT = 1 << 18  # bytes that a descriptor's fields can say

Bytes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class MatrixDescriptor:
    """How one instruction walks a box: strides in bytes, `units` of 16 bytes a row.

    `transposed`: mn-major. The boxes' starts and the pattern of the swizzle are aligned to each
    other, so that the base offset is always zero.
    """

    leading: int
    stride: int
    units: int
    transposed: bool

    @property
    def bits(self) -> int:
        """The 64-bit descriptor but for the start address, which bits 0 .. 13 take in units."""
        fields = self.leading // _UNIT << 16 | self.stride // _UNIT << 32
        return fields | _MODES[self.units] << 62


@user_errors()
def matrix_operand(
    mn: int, k: int, element_bits: int, mn_major: bool = False, box: int | None = None
) -> MemoryLayout:
    """A legal layout of a shared tile [mn, k]: the widest swizzle that fits boxes of `box` along mn
    (default: all of it). For a tile [k, mn], permute it."""
    box = box or mn
    layout = _rows_along_mn(mn, k, box) if mn_major else swizzled([mn, k], element_bits)
    describe_operand(layout, element_bits, box, mn_dim=0, k_dim=1)
    return layout


def _rows_along_mn(mn: int, k: int, box: int) -> MemoryLayout:
    """Elements of 16 bits, mn-major."""
    for bits in (3, 2, 1):
        width = 8 << bits
        if mn % width == 0 and box % width == 0:
            rows = row_major(1, mn // width) * row_major(k, width)
            return MemoryLayout((k, mn), rows.digits, Swizzle(bits, 4, 3)).permute(1, 0)
    return (row_major(1, max(1, mn // 8)) * row_major(k, 8)).permute(1, 0)


@user_errors()
def describe_operand(
    layout: MemoryLayout, element_bits: int, mn: int, *, mn_dim: int, k_dim: int
) -> MatrixDescriptor:
    """The descriptor of boxes of `mn` rows (or columns) along `mn_dim`, and 32 bytes along `k_dim`,
    whichever of the tile's boxes it is told the start of.

    Raises LayoutError if the layout has none of the forms at the head of the file.
    """
    return _described(layout, element_bits, mn, mn_dim, k_dim)


@lru_cache(maxsize=1024)
def _described(
    layout: MemoryLayout, element_bits: int, mn: int, mn_dim: int, k_dim: int
) -> MatrixDescriptor:
    units = _row_units(layout)
    along_mn, along_k = (_bytes_along(layout, dim, element_bits) for dim in (mn_dim, k_dim))
    step = 8 * _STEP // element_bits
    if len(along_mn) % mn or len(along_k) % step:
        raise LayoutError(
            f"boxes of {mn} by {step} don't divide the tile of "
            f"{len(along_mn)} by {len(along_k)}: `{layout}`"
        )
    found = _k_major(along_mn, along_k, units, element_bits, mn)
    if found is None and element_bits == 16:
        found = _mn_major(along_mn, along_k, units, mn)
    if found is None or max(found.leading, found.stride) >= _LIMIT:
        forms = "k-major or mn-major" if element_bits == 16 else "k-major"
        raise LayoutError(f"no matrix descriptor fits: `{layout}` is not {forms} as wgmma reads it")
    starts = [*along_mn[::mn], *(along_k[::step] if found.transposed else ())]
    for dim in set(range(layout.rank)) - {mn_dim, k_dim}:
        starts += [*_bytes_along(layout, dim, element_bits)]
    _check_alignment(layout, found, [*starts, layout.start * element_bits // 8])
    return found


def _row_units(layout: MemoryLayout) -> int:
    if layout.swizzle is None:
        return 1
    for bits in (1, 2, 3):
        if layout.swizzle == Swizzle(bits, 4, 3):
            return 1 << bits
    raise LayoutError(f"wgmma knows no `{layout.swizzle}`, only swizzle(1 | 2 | 3, 4, 3)")


def _bytes_along(layout: MemoryLayout, dim: int, element_bits: int) -> Bytes:
    """What index[dim] adds to the offset in bytes, before the swizzle."""
    index = np.arange(layout.shape[dim], dtype=np.int64)
    total = np.zeros_like(index)
    for step, extent, stride in layout.digits_of(dim):
        total += index // step % extent * stride
    return total * element_bits // 8


def _k_major(
    along_mn: Bytes, along_k: Bytes, units: int, element_bits: int, mn: int
) -> MatrixDescriptor | None:
    width, per_unit, row = element_bits // 8, 8 * _UNIT // element_bits, units * _UNIT
    leading = int(along_k[per_unit] - along_k[0])
    stride = int(along_mn[8] - along_mn[0]) if mn > 8 else 8 * row
    if units > 1 and leading != _UNIT:
        return None
    k = np.arange(2 * per_unit)
    i = np.arange(mn)
    starts = along_k[:: 2 * per_unit]
    in_row = units == 1 or bool((starts % (8 * row) + _STEP <= row).all())
    fits = _repeats(along_k, k % per_unit * width + k // per_unit * leading)
    if not in_row or not fits or not _repeats(along_mn, i % 8 * row + i // 8 * stride):
        return None
    return MatrixDescriptor(leading, stride, units, False)


def _mn_major(along_mn: Bytes, along_k: Bytes, units: int, mn: int) -> MatrixDescriptor | None:
    row = units * _UNIT
    in_row = row // 2  # elements of 16 bits
    between = int(along_mn[in_row] - along_mn[0]) if mn > in_row else 8 * row
    groups = int(along_k[8] - along_k[0])
    i, k = np.arange(mn), np.arange(16)
    if len(along_mn) > mn and mn % in_row:
        return None  # the boxes after the first would start inside a row
    fits = _repeats(along_mn, i % in_row * 2 + i // in_row * between)
    if not fits or not _repeats(along_k, k % 8 * row + k // 8 * groups):
        return None
    leading, stride = (groups, between) if units == 1 else (between, groups)
    return MatrixDescriptor(leading, stride, units, True)


def _repeats(offsets: Bytes, form: Bytes) -> bool:
    """Whether each run of offsets has this form, relative to its first."""
    runs = offsets.reshape(-1, len(form))
    return bool((runs - runs[:, :1] == form).all())


def _check_alignment(layout: MemoryLayout, found: MatrixDescriptor, starts: list[int]) -> None:
    """All boxes must start where the swizzle's pattern does, up to a place within its first row."""
    pattern = 8 * found.units * _UNIT if found.units > 1 else _UNIT
    strides = [found.stride]
    if found.transposed or found.units == 1:
        strides.append(found.leading)
    if any(place % pattern for place in (*strides, *starts)):
        raise LayoutError(
            f"boxes of `{layout}` start off the {pattern} bytes after which its pattern repeats"
        )
