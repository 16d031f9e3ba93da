"""Plain quantization: from a matrix of floats to codes, scales and zero points.

A weight matrix is `[k, n]`: k inputs down, n outputs across. `ceil(k / group)` groups of rows
(the last may be short) share one scale a column, and one zero point where there is one:

    zero point    value of a weight              codes
    none          scale * decode(code)           any dtype of 1 to 8 bits
    symmetric     scale * (code - 2^(b-1))       uN
    int           scale * (code - zero)          uN, zero a whole number in [0, 2^b - 1]
    float         scale * (code - zero)          uN, zero any f16

Signed integers, floats, bipolar integers and code books carry their sign in the code, so `none`
is all they take: an affine iN is the uN with its top bit flipped and its zero moved by 2^(b-1).

Float zeros are f16 values and scales f16 values times one power of two a tensor, since that is what
a kernel reads, and they are rounded *before* codes are chosen: `dequantize` uses exactly the stored
numbers. Scales are rounded up, so that rounding a scale never pushes the largest weight of a group
out of the range of codes. The power of two keeps all of a tensor's scales, however small or large
its weights are, in f16's normal range, where they have all eleven bits. It is at least 2^-125, so
that scales are exact in f32: weights below about 2^-139 may become zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tileloom.vm.diagnostics import (
    ShapeError,
    VMNameError,
    VMTypeError,
    VMValueError,
    user_errors,
)
from tileloom.vm.dtypes import Dtype, DtypeError, dtype

ZeroPoint = Literal["none", "symmetric", "int", "float"]
Floats = NDArray[np.float64]

SMALLEST_SCALE = 2.0**-14  # of a scale's unit, as the largest
LARGEST_SCALE = 65504.0
# Past this the spacing of f16 zeros would be a large part of one code's step.
LARGEST_FLOAT_ZERO = 1024.0
# A wide-exponent float needs no more of its range than this: its precision is relative.
LARGEST_FLOAT_TARGET = 512.0
# Scales are f32: with a smaller unit the smallest of them would lose bits.
SMALLEST_UNIT = 2.0**-125
COLUMN_BLOCK_ELEMENTS = 1 << 20


@dataclass(frozen=True, eq=False)
class Quantized:
    """A quantized matrix `[k, n]`.

    `codes` uint8 `[k, n]` hold each element's storage code. `scales` float32 `[groups, n]` hold
    f16 values times one power of two. `zeros` is None for "none" and "symmetric", int32
    `[groups, n]` for "int" and float32 `[groups, n]` (f16 values) for "float". `group` is the
    number of rows in a group.
    """

    codes: NDArray[np.uint8]
    scales: NDArray[np.float32]
    zeros: NDArray[np.int32] | NDArray[np.float32] | None
    dtype: Dtype
    group: int
    zero_point: ZeroPoint

    def __post_init__(self) -> None:
        check_zero_point(self.dtype, self.zero_point)
        if self.codes.ndim != 2:
            raise ShapeError(f"`codes` must be `[k, n]`, not `{list(self.codes.shape)}`")
        groups = [-(-self.k // self.group), self.n]
        for name, array in (("scales", self.scales), ("zeros", self.zeros)):
            if array is not None and list(array.shape) != groups:
                raise ShapeError(f"`{name}` must be `{groups}`, not `{list(array.shape)}`")
        if (self.zeros is None) == (self.zero_point in ("int", "float")):
            raise VMValueError(f'zero point "{self.zero_point}" does not go with these `zeros`')

    @property
    def k(self) -> int:
        """Rows: inputs of the layer."""
        return int(self.codes.shape[0])

    @property
    def n(self) -> int:
        """Columns: outputs of the layer."""
        return int(self.codes.shape[1])

    def dequantize(self) -> Floats:
        """The matrix `[k, n]` these codes stand for, in float64."""
        values = np.empty((self.k, self.n))
        for columns in column_blocks(self.k, self.n):
            block = self.dtype.decode(self.codes[:, columns]).astype(np.float64)
            if self.zero_point == "symmetric":
                block -= 2.0 ** (self.dtype.bits - 1)
            elif self.zeros is not None:
                block -= _rows(self.zeros[:, columns], self.group, self.k)
            block *= _rows(self.scales[:, columns], self.group, self.k)
            values[:, columns] = block
        return values


@user_errors()
def quantize(
    w: Any,
    dtype_name: str | Dtype,
    group: int | str = 128,
    zero_point: ZeroPoint | None = None,
) -> Quantized:
    """Rounds `w`, a float array `[k, n]` (numpy, torch or cupy), to codes of a dtype.

    `group` is a number of rows, "channel" (one scale a column) or "tensor" (one scale for all).
    `zero_point` None means "symmetric" for uN and "none" for the others. Codes are the nearest
    to each weight under the stored scale and zero point, saturating at the ends.

    Raises a `VMError`: a dtype that holds no weights, an illegal zero point or group, a `w` that
    is not a matrix of floats, one with a NaN or an infinity in it, or weights so large that their
    scales are beyond float32.
    """
    weight_dtype = find_dtype(dtype_name)
    chosen = default_zero_point(weight_dtype) if zero_point is None else zero_point
    check_zero_point(weight_dtype, chosen)
    weights = as_matrix(w)
    k, n = weights.shape
    rows = group_rows(group, k)
    groups = -(-k // rows)
    codes = np.empty((k, n), np.uint8)
    scales = np.empty((groups, n), np.float32)
    zeros: Any = None
    if chosen in ("int", "float"):
        zeros = np.empty((groups, n), np.int32 if chosen == "int" else np.float32)
    reach = _tensor_range(weights)
    whole = reach if group == "tensor" else None
    unit = _scale_unit(weight_dtype, chosen, max(-reach[0], reach[1], 0.0))
    for columns in column_blocks(k, n):
        block = weights[:, columns].astype(np.float64)
        low, high = _group_ranges(block, rows) if whole is None else _spread(whole, block, groups)
        scale, zero = _scale_and_zero(weight_dtype, chosen, low, high, unit)
        codes[:, columns] = _encode(weight_dtype, chosen, block, scale, zero, rows)
        scales[:, columns] = scale
        if zeros is not None:
            zeros[:, columns] = zero
    return Quantized(codes, scales, zeros, weight_dtype, rows, chosen)


# What may go with what.


def find_dtype(name: str | Dtype) -> Dtype:
    try:
        return name if isinstance(name, Dtype) else dtype(name)
    except DtypeError as error:
        raise VMNameError(str(error)) from None


def legal_zero_points(weight_dtype: Dtype) -> tuple[ZeroPoint, ...]:
    """The zero points that weights of a dtype may have; none at all means it holds no weights."""
    if not 1 <= weight_dtype.bits <= 8 or weight_dtype.specials == "scale":
        return ()
    if weight_dtype.kind == "uint":
        return ("none", "symmetric", "int", "float")
    return ("none",) if weight_dtype.kind in ("int", "float", "bipolar", "codebook") else ()


def default_zero_point(weight_dtype: Dtype) -> ZeroPoint:
    """What `zero_point=None` means."""
    return "symmetric" if weight_dtype.kind == "uint" else "none"


def check_zero_point(weight_dtype: Dtype, zero_point: str) -> None:
    """Raises a `VMError` unless weights of the dtype may have this zero point."""
    if zero_point not in get_args(ZeroPoint):
        known = ", ".join(f'"{name}"' for name in get_args(ZeroPoint))
        raise VMValueError(f'unknown zero point "{zero_point}"', hint=f"one of {known}, or None")
    legal = legal_zero_points(weight_dtype)
    if not legal:
        raise VMTypeError(
            f"`{weight_dtype.name}` cannot hold weights",
            hint="take an integer, float, bipolar or code book dtype of 1 to 8 bits",
        )
    if zero_point not in legal:
        raise VMTypeError(
            f'zero point "{zero_point}" does not go with `{weight_dtype.name}`',
            hint="it takes " + " or ".join(f'"{name}"' for name in legal),
        )


def group_rows(group: int | str, k: int) -> int:
    """Rows in a group for a matrix of `k` rows: at least 1, at most `k`."""
    if group in ("channel", "tensor"):
        return max(k, 1)
    if not isinstance(group, int | np.integer) or isinstance(group, bool) or group < 1:
        raise VMValueError(
            f"`group` is `{group!r}`", hint='a positive number of rows, "channel" or "tensor"'
        )
    return max(1, min(int(group), k))


def as_matrix(w: Any) -> NDArray[Any]:
    """`w` as a finite numpy matrix of floats; torch and cupy arrays are copied to the host."""
    if hasattr(w, "detach"):
        w = w.detach().cpu()
        w = (w if "float64" in str(w.dtype) else w.float()).numpy()
    elif hasattr(w, "__cuda_array_interface__") and hasattr(w, "get"):
        w = w.get()
    array = np.asarray(w)
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise VMTypeError(f"`w` must hold floats, not `{array.dtype}`")
    if array.ndim != 2:
        raise ShapeError(f"`w` must be `[k, n]`, not `{list(array.shape)}`")
    if array.dtype.kind != "f":
        array = array.astype(np.float32)
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise VMValueError(f"`w` holds {bad} values that are not finite")
    return array


# Scales and zero points, from the smallest and largest weight of each group.


def _scale_unit(weight_dtype: Dtype, zero_point: ZeroPoint, largest: float) -> float:
    """The power of two whose f16 multiples scales are; the tensor's largest is about 2^13 of it."""
    if largest == 0.0:
        return 1.0
    bottom, top = _target_range(weight_dtype, zero_point)
    span = 2.0**weight_dtype.bits if zero_point in ("int", "float") else max(top, -bottom)
    scale = largest / span
    if scale > float(np.finfo(np.float32).max) / 2:
        raise VMValueError(
            f"`w` reaches to {largest:.3g}, and its scales beyond float32",
            hint="divide `w` by a power of two, and multiply the result by it",
        )
    return max(float(2.0 ** (np.floor(np.log2(scale)) - 13)), SMALLEST_UNIT)


def _scale_and_zero(
    weight_dtype: Dtype, zero_point: ZeroPoint, low: Floats, high: Floats, unit: float
) -> tuple[Floats, Floats]:
    """Scales and zeros (zeros of 0 where there are none), `[groups, n]`."""
    if zero_point in ("int", "float"):
        return _affine(weight_dtype.bits, zero_point == "int", low, high, unit)
    bottom, top = _target_range(weight_dtype, zero_point)
    scale = np.maximum(high, 0) / top if top > 0 else np.zeros_like(high)
    if bottom < 0:
        scale = np.maximum(scale, np.minimum(low, 0) / bottom)
    return _round_up(scale, unit), np.zeros_like(low)


def _affine(
    bits: int, whole: bool, low: Floats, high: Floats, unit: float
) -> tuple[Floats, Floats]:
    """Scales and zeros that spread 2^b steps evenly from the smallest to the largest weight.

    Code c stands for the middle of step c, so that zero = -low / scale - 1/2. A whole zero lies
    among the codes, hence the range takes in 0 first.
    """
    if whole:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
        scale = _round_up((high - low) / 2.0**bits, unit)
        return scale, np.clip(np.rint(-low / scale - 0.5), 0, 2.0**bits - 1)
    step = np.maximum((high - low) / 2.0**bits, np.abs(low) / LARGEST_FLOAT_ZERO)
    scale = _round_up(step, unit)
    zero = np.clip(-low / scale - 0.5, -LARGEST_SCALE, LARGEST_SCALE)
    return scale, zero.astype(np.float16).astype(np.float64)


def _target_range(weight_dtype: Dtype, zero_point: ZeroPoint) -> tuple[float, float]:
    """The range of `weight / scale` that the codes are to cover.

    Evenly spaced codes cover half a step more than their values on either side: with i4 (-8 to 7)
    it is -8.5 to 7.5, and no weight of the group is further than half a step from its code.
    """
    bits = weight_dtype.bits
    if weight_dtype.kind == "bipolar":
        return -(2.0**bits), 2.0**bits
    if weight_dtype.kind == "int" or zero_point == "symmetric":
        half = 2.0 ** (bits - 1)
        return -(half + 0.5), max(half - 0.5, 1.0)
    bottom, top = float(weight_dtype.min_finite), float(weight_dtype.max_finite)
    if weight_dtype.kind == "float":
        shrink = 2.0 ** max(0.0, np.ceil(np.log2(top / LARGEST_FLOAT_TARGET)))
        return bottom / shrink, top / shrink
    return bottom, top


def _round_up(scale: Floats, unit: float) -> Floats:
    """The next multiple of `unit` by a normal f16 at or above each scale."""
    clipped = np.clip(scale / unit, SMALLEST_SCALE, LARGEST_SCALE)
    nearest = clipped.astype(np.float16)
    above = np.nextafter(nearest, np.float16(LARGEST_SCALE))
    return np.where(nearest < clipped, above, nearest).astype(np.float64) * unit


# Codes.


def _encode(
    weight_dtype: Dtype,
    zero_point: ZeroPoint,
    weights: Floats,
    scale: Floats,
    zero: Floats,
    rows: int,
) -> NDArray[np.uint8]:
    k = weights.shape[0]
    steps: Floats = weights / _rows(scale, rows, k)
    if weight_dtype.kind != "uint":
        return np.asarray(weight_dtype.encode(steps), np.uint8)
    steps += 2.0 ** (weight_dtype.bits - 1) if zero_point == "symmetric" else _rows(zero, rows, k)
    return np.asarray(np.clip(np.rint(steps), 0, 2.0**weight_dtype.bits - 1), np.uint8)


# Groups of rows and blocks of columns.


def column_blocks(k: int, n: int) -> Iterator[slice]:
    """Slices that cover n columns, so that a block's float64 copy stays in the cache's reach."""
    width = max(1, COLUMN_BLOCK_ELEMENTS // max(k, 1))
    for start in range(0, n, width):
        yield slice(start, min(start + width, n))


def _group_ranges(weights: Floats, rows: int) -> tuple[Floats, Floats]:
    """The smallest and largest weight of each group, `[groups, n]`; the last may be short."""
    k, n = weights.shape
    if k == 0:
        return np.empty((0, n)), np.empty((0, n))
    starts = np.arange(0, k, rows)
    return (
        np.minimum.reduceat(weights, starts, axis=0),
        np.maximum.reduceat(weights, starts, axis=0),
    )


def _tensor_range(weights: NDArray[Any]) -> tuple[float, float]:
    return (float(weights.min()), float(weights.max())) if weights.size else (0.0, 0.0)


def _spread(whole: tuple[float, float], block: Floats, groups: int) -> tuple[Floats, Floats]:
    """One range for the whole tensor, repeated for each column of a block."""
    shape = (groups, block.shape[1])
    return np.full(shape, whole[0]), np.full(shape, whole[1])


def _rows(per_group: NDArray[Any], rows: int, k: int) -> NDArray[Any]:
    """Values `[groups, n]` repeated for each of the k rows."""
    return np.repeat(per_group, rows, axis=0)[:k]
