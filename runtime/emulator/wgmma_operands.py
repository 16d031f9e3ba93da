"""The operands of wgmma as the PTX manual defines them: fragments, matrix descriptors, arithmetic.

Each warp of a warp group computes 16 of the 64 rows, by itself: with w = warp % 4, g = lane / 4,
t = lane % 4 and p elements a register:

    D (64 x N), element e of a lane: row 16 w + g + 8 (e / 2 % 2), column 8 (e / 4) + 2 t + e % 2
    A (64 x K, registers): the rows 16 w .. as the A of an mma.sync m16 of the same K

A matrix descriptor says where a shared operand lies:

    bits  0-13  start address / 16      bits 32-45  stride byte offset (SBO) / 16
    bits 16-29  leading byte offset (LBO) / 16      bits 49-51  base offset
    bits 62-63  0: no swizzle, 1: 128 bytes, 2: 64 bytes, 3: 32 bytes

In units of 16 bytes, with rows of w units (1, or the swizzle's 8, 4, 2), index i along M or N, unit
c along K (k-major) or along M or N (mn-major), k along K:

    k-major     (i % 8) w + (i / 8) SBO + c (c LBO without a swizzle)
    mn-major    (k % 8) w + (k / 8) SBO + c % w + (c / w) LBO;  without a swizzle
                (k % 8) + (k / 8) LBO + c SBO

The unit's number in its row is xored with the row's in the pattern: address bits 4.. with bits 7...

Sums of floats follow the rule recorded for mma.sync (`tensor_core`), in one step over all of k. A
sum of fp8 products keeps 13 bits below the largest term, and 13 of its own fraction where it is an
f32: the last ten bits of such a result are zero. Recorded results agree bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from . import tensor_core
from .cohort import Cohort, FaultError
from .storage import Access
from .types import Array, Type

ROWS = 16  # of a warp
_UNIT = 16
_FP8_BITS = 13
_WIDTHS = {0: 1, 1: 8, 2: 4, 3: 2}  # units in a row, by the descriptor's swizzle mode


@dataclass(frozen=True, slots=True)
class Shape:
    """One instruction: D [64, n] += A [64, k] B [k, n]."""

    n: int
    k: int
    d: Type
    a: Type
    b: Type
    sat: bool

    @property
    def element_bytes(self) -> int:
        return 32 // self.k

    @property
    def d_registers(self) -> int:
        return self.n // 2 // (2 if self.d.name == "f16" else 1)


@lru_cache(maxsize=64)
def d_positions(n: int, per_register: int) -> Array:
    """[registers, 32, per_register]: row * n + column of a warp's [16, n]."""
    lane = np.arange(32)[:, None]
    e = np.arange(n // 2).reshape(-1, 1, per_register)
    row = lane // 4 + 8 * (e // 2 % 2)
    column = 8 * (e // 4) + 2 * (lane % 4) + e % 2
    found: Array = row * n + column
    return found


# ---- shared operands

# Start, leading and stride offset, base offset, swizzle.
_FIELDS = 0x3FFF | 0x3FFF << 16 | 0x3FFF << 32 | 7 << 49 | 3 << 62


@dataclass(frozen=True, slots=True)
class Box:
    """A shared operand of `mn` rows or columns; `transposed`: mn-major."""

    mn: int
    k: int
    element_bytes: int
    transposed: bool


def addresses(box: Box, descriptors: Array, first: Array) -> Array:
    """Shared addresses [n, k, mn] of elements; `descriptors` [n]; `first` [n] is the first row of
    each warp."""
    fields = [int(x) for x in np.unique(descriptors & np.uint64(0xFFFFFFFFFFFFC000))]
    if len(fields) != 1:
        raise FaultError("warps give descriptors of different forms")
    (form,) = fields
    if form & ~_FIELDS:
        raise FaultError(f"a descriptor with bits outside its fields: {form & ~_FIELDS:#x}")
    if form >> 49 & 7:
        raise FaultError("a descriptor with a base offset, which is not emulated")
    width = _WIDTHS[form >> 62]
    leading, stride = (form >> 16 & 0x3FFF) * _UNIT, (form >> 32 & 0x3FFF) * _UNIT
    start = (descriptors.astype(np.int64) & 0x3FFF) * _UNIT
    i = (first[:, None, None] + np.arange(box.mn)).astype(np.int64)
    k = np.arange(box.k)[None, :, None]
    place = start[:, None, None] + _place(box, i, k, width, leading, stride)
    result: Array = place ^ (place >> 7 & width - 1) << 4
    return result


def _place(box: Box, i: Array, k: Array, width: int, leading: int, stride: int) -> Array:
    per_unit = _UNIT // box.element_bytes
    row = width * _UNIT
    result: Array
    if not box.transposed:
        c = k // per_unit
        across = c * (leading if width == 1 else _UNIT) + k % per_unit * box.element_bytes
        result = i % 8 * row + i // 8 * stride + across
    elif width == 1:
        across = i % 8 * 2 + i // 8 * stride
        result = k % 8 * row + k // 8 * leading + across
    else:
        c = i // per_unit
        across = c % width * _UNIT + c // width * leading + i % per_unit * 2
        result = k % 8 * row + k // 8 * stride + across
    return result


def read_box(c: Cohort, places: Array, element_bytes: int) -> Array:
    """Raw elements at shared addresses [n, ...] of the warps of `c`."""
    memory = c.machine.memory
    if int(places.max()) + element_bytes > memory.shared_size:
        raise FaultError(
            f"a matrix reaches to shared address {int(places.max())}: "
            f"{memory.shared_size} bytes are allocated"
        )
    access = Access(element_bytes, 1)
    base = c.slots[:, 0].astype(np.int64) * memory.shared_stride
    index = (places + base.reshape(-1, *(1,) * (places.ndim - 1))) // element_bytes
    if memory.shared.defined is not None:
        bad = memory.shared.shadow(access).take(index) != access.defined
        if bad.any():
            at = int(places[bad][0])
            raise FaultError(f"shared address {at}, which wgmma reads, has no defined value")
    values: Array = memory.shared.view(access).take(index)
    return values


# ---- arithmetic

Compute = Callable[[Array, Array, Array], Array]


@lru_cache(maxsize=64)
def computation(shape: Shape) -> Compute:
    """Raw a [n, k, 16], b [n, k, N], c [n, N, 16] -> raw d [n, N, 16]."""
    if shape.d.name == "s32":
        return _integers(shape)
    addend, finish = tensor_core.operand(shape.d), tensor_core.finisher(shape.d)
    if shape.a.name in ("e4m3", "e5m2"):
        return _eight_bit_floats(shape)
    factor = tensor_core.operand(shape.a)
    return lambda a, b, c: finish(tensor_core.multiply_add((factor, factor), addend, a, b, c))


def _eight_bit_floats(shape: Shape) -> Compute:
    factors = tensor_core.byte_operand(shape.a.name), tensor_core.byte_operand(shape.b.name)
    addend = tensor_core.operand(shape.d)
    finish = tensor_core.finisher(shape.d)

    def run(a: Array, b: Array, c: Array) -> Array:
        exact = tensor_core.multiply_add(factors, addend, a, b, c, _FP8_BITS)
        result = finish(exact)
        if shape.d.name == "f32":
            kept = np.uint32(0xFFFFFFFF << 23 - _FP8_BITS & 0xFFFFFFFF)
            result = np.where(np.isnan(exact), result, result & kept)
        return result

    return run


def _integers(shape: Shape) -> Compute:
    """Exact in f64: sums stay below 2^53."""
    views = shape.a.view, shape.b.view, np.dtype(np.int32)

    def run(a: Array, b: Array, c: Array) -> Array:
        x, y, z = (raw.view(v).astype(np.float64) for raw, v in zip((a, b, c), views, strict=True))
        total = np.matmul(y.swapaxes(1, 2), x) + z
        if shape.sat:
            total = np.clip(total, -(2.0**31), 2.0**31 - 1)
        wrapped: Array = total.astype(np.int64).astype(np.int32).view(np.uint32)
        return wrapped

    return run
