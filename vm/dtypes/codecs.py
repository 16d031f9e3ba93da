"""Encoding and decoding, by kind; the one place that knows how codes become values.

Dtypes of at most 8 bits encode by searching the sorted midpoints between neighbouring values.
A tie is settled in advance: where the upper neighbour has the even code its midpoint is replaced
by the next float64 below, so that one search with strict comparison rounds to nearest even.
Wider floats use numpy's own conversions, which round once, and bit operations for bf16 and tf32.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .dtype import Dtype

Array = NDArray[Any]

_NATIVE: Final[dict[str, Any]] = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
# How many low bits of a float32 the dtype drops.
_TRUNCATED: Final = {"bf16": 16, "tf32": 13}


def unsigned(bits: int) -> np.dtype[Any]:
    """Return the smallest unsigned numpy dtype of at least `bits` bits."""
    for width in (8, 16, 32):
        if bits <= width:
            return np.dtype(f"u{width // 8}")
    return np.dtype(np.uint64)


def decode(dtype: Dtype, codes: Array) -> Array:
    """Return the values of valid `codes`, which are of `dtype.code_dtype`."""
    return np.asarray(_DECODERS[dtype.kind](dtype, codes))


def encode(dtype: Dtype, values: Array) -> Array:
    """Return the codes nearest to `values`; see `Dtype.encode`."""
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    codes = _ENCODERS[dtype.kind](dtype, values)
    return np.asarray(codes).astype(dtype.code_dtype, copy=False)


def finite_range(dtype: Dtype) -> tuple[float | int, float | int]:
    """Return the least and the greatest finite value."""
    if dtype.kind in ("uint", "int"):
        sign = dtype.kind == "int"
        return (-(1 << dtype.bits - 1) if sign else 0), (1 << dtype.bits - sign) - 1
    if dtype.name in _NATIVE:
        info = np.finfo(_NATIVE[dtype.name])
        return float(info.min), float(info.max)
    if dtype.name in _TRUNCATED:
        fraction = 2.0 - 2.0**-dtype.mantissa_bits
        return -fraction * 2.0**127, fraction * 2.0**127
    finite = dtype.table[np.isfinite(dtype.table)]
    return finite.min().item(), finite.max().item()


# Integers, bool, bipolar


def _decode_uint(dtype: Dtype, codes: Array) -> Array:
    return codes.astype(np.uint64 if dtype.bits == 64 else np.int64)


def _decode_int(dtype: Dtype, codes: Array) -> Array:
    shift = np.int64(64 - dtype.bits)
    return (codes.astype(np.int64) << shift) >> shift


def _encode_integer(dtype: Dtype, values: Array) -> Array:
    low, high = finite_range(dtype)
    if values.dtype.kind == "f":
        return _round_to_integer(values.astype(np.float64), int(low), int(high), dtype)
    # Clip in the input's own type: bounds beyond it can't be reached.
    info = np.iinfo(values.dtype)
    clipped = np.clip(values, max(int(low), int(info.min)), min(int(high), int(info.max)))
    return _wrap(clipped, dtype.bits)


def _round_to_integer(values: Array, low: int, high: int, dtype: Dtype) -> Array:
    rounded = np.rint(np.where(np.isnan(values), 0.0, values))
    # float(2**63 - 1) is 2**63, out of range: convert the values inside, fill in the others.
    inside = (rounded > float(low)) & (rounded < float(high))
    integer = np.uint64 if dtype.kind == "uint" else np.int64
    wide: Array = np.where(inside, rounded, 0.0).astype(integer)
    wide[rounded >= float(high)] = high
    wide[rounded <= float(low)] = low
    return _wrap(wide, dtype.bits)


def _wrap(values: Array, bits: int) -> Array:
    codes = values.astype(np.uint64)
    return codes if bits == 64 else codes & np.uint64((1 << bits) - 1)


def _decode_bool(dtype: Dtype, codes: Array) -> Array:
    return codes.astype(np.int64)


def _encode_bool(dtype: Dtype, values: Array) -> Array:
    return np.not_equal(values, 0)


def _decode_bipolar(dtype: Dtype, codes: Array) -> Array:
    return 2 * codes.astype(np.int64) - ((1 << dtype.bits) - 1)


# Tables: bipolar and code books


def _decode_codebook(dtype: Dtype, codes: Array) -> Array:
    return np.array(dtype.values)[codes]


def _encode_table(dtype: Dtype, values: Array) -> Array:
    codes, midpoints, zero = _sorted_table(dtype)
    reals = values.astype(np.float64)
    found: Array = codes[np.searchsorted(midpoints, reals)]
    return np.where(np.isnan(reals), zero, found)


@lru_cache(maxsize=64)
def _sorted_table(dtype: Dtype) -> tuple[Array, Array, int]:
    """Codes in the order of their values, midpoints between them, the first code nearest 0."""
    values, codes = np.unique(dtype.table.astype(np.float64), return_index=True)
    zero = int(np.argmin(np.abs(dtype.table)))
    return codes.astype(dtype.code_dtype), _midpoints(values, codes), zero


def _midpoints(values: Array, codes: Array) -> Array:
    # Halves first: the sum of two large values may overflow.
    middle: Array = values[:-1] / 2 + values[1:] / 2
    upper_is_even = (codes[1:] % 2 == 0) & (codes[:-1] % 2 == 1)
    return np.where(upper_is_even, np.nextafter(middle, -np.inf), middle)


# Floats


def _decode_float(dtype: Dtype, codes: Array) -> Array:
    if dtype.name not in _NATIVE and dtype.name not in _TRUNCATED:
        return _small_float_table(dtype)[codes]
    if dtype.name in _NATIVE:
        native: Array = codes.view(_NATIVE[dtype.name])
    else:
        native = (codes.astype(np.uint32) << np.uint32(32 - dtype.bits)).view(np.float32)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return native.astype(np.float64)


@lru_cache(maxsize=64)
def _small_float_table(dtype: Dtype) -> Array:
    if dtype.specials == "scale":
        scales = np.ldexp(1.0, np.arange(256) - dtype.bias)
        scales[255] = np.nan
        return scales
    magnitude = np.arange(1 << dtype.bits - 1)
    mantissa = magnitude & ((1 << dtype.mantissa_bits) - 1)
    exponent = magnitude >> dtype.mantissa_bits
    # The first binade above zero is spaced as the subnormals are, without the implicit one.
    significand = np.where(exponent == 0, mantissa, mantissa + (1 << dtype.mantissa_bits))
    power = np.maximum(exponent, 1) - dtype.bias - dtype.mantissa_bits
    values = np.ldexp(significand.astype(np.float64), power)
    if dtype.specials == "fn":
        values[-1] = np.nan
    if dtype.specials == "ieee":
        top = exponent == (1 << dtype.exponent_bits) - 1
        values[top] = np.where(mantissa[top] == 0, np.inf, np.nan)
    return np.concatenate([values, -values])


def _encode_float(dtype: Dtype, values: Array) -> Array:
    if dtype.name in _NATIVE:
        with np.errstate(over="ignore", under="ignore"):
            native: Array = values.astype(_NATIVE[dtype.name])
        return native.view(dtype.code_dtype)
    if dtype.name in _TRUNCATED:
        return _encode_truncated(dtype, values)
    reals = values.astype(np.float64)
    return _encode_scale(dtype, reals) if dtype.specials == "scale" else _encode_small(dtype, reals)


def _encode_truncated(dtype: Dtype, values: Array) -> Array:
    drop = _TRUNCATED[dtype.name]
    single = _float32_to_odd(values)
    bits = single.view(np.uint32)
    even = (bits >> np.uint32(drop)) & np.uint32(1)
    with np.errstate(over="ignore"):
        rounded = bits + np.uint32((1 << drop - 1) - 1) + even
    # A NaN whose payload sits in the dropped bits must not become an infinity.
    rounded = np.where(np.isnan(single), bits | np.uint32(1 << 22), rounded)
    if dtype.bits == 32:
        return rounded >> np.uint32(drop) << np.uint32(drop)
    return rounded >> np.uint32(drop)


def _float32_to_odd(values: Array) -> Array:
    """Convert to float32 so that a later rounding to fewer bits is a single rounding.

    Where float32 can't hold a value, truncate it and set the last bit, which then stands for
    everything that was cut off.
    """
    if values.dtype in (np.float32, np.float16):
        return values.astype(np.float32)
    wide = _float64_to_odd(values) if values.dtype.kind in "ui" else values.astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        single: Array = np.array(wide.astype(np.float32))
    back = single.astype(np.float64)
    bits = single.view(np.uint32)
    bits -= (np.abs(back) > np.abs(wide)).astype(np.uint32)
    bits |= ((back != wide) & ~np.isnan(wide)).astype(np.uint32)
    return single


def _float64_to_odd(integers: Array) -> Array:
    if integers.dtype.itemsize < 8:
        return integers.astype(np.float64)
    low = integers & integers.dtype.type(2047)
    sticky = ((low != 0).astype(integers.dtype)) << integers.dtype.type(11)
    big = (integers > 1 << 53) | (integers < -(1 << 53) if integers.dtype.kind == "i" else False)
    return np.where(big, (integers - low) | sticky, integers).astype(np.float64)


def _encode_small(dtype: Dtype, reals: Array) -> Array:
    codes, midpoints = _magnitudes(dtype)
    found: Array = codes[np.searchsorted(midpoints, np.abs(reals))]
    if dtype.specials == "ieee":
        found = np.where(np.isinf(reals), (1 << dtype.bits - 1) - (1 << dtype.mantissa_bits), found)
    sign = np.signbit(reals).astype(np.uint8) << np.uint8(dtype.bits - 1)
    missing = codes[-1] if dtype.specials == "none" else (1 << dtype.bits - 1) - 1
    return np.where(np.isnan(reals), missing, found | sign)


@lru_cache(maxsize=64)
def _magnitudes(dtype: Dtype) -> tuple[Array, Array]:
    """Codes of the finite values from 0 up, and the midpoints between them."""
    values = _small_float_table(dtype)[: 1 << dtype.bits - 1]
    values = values[np.isfinite(values)]
    codes = np.arange(values.size)
    return codes.astype(np.uint8), _midpoints(values, codes)


def _encode_scale(dtype: Dtype, reals: Array) -> Array:
    values = _small_float_table(dtype)[:-1]
    found = np.searchsorted(_midpoints(values, np.arange(values.size)), reals)
    return np.where(np.isnan(reals) | (reals < 0), 255, found)


_Codec = Callable[["Dtype", Array], Array]
_DECODERS: Final[dict[str, _Codec]] = {
    "uint": _decode_uint,
    "int": _decode_int,
    "float": _decode_float,
    "bipolar": _decode_bipolar,
    "codebook": _decode_codebook,
    "bool": _decode_bool,
}
_ENCODERS: Final[dict[str, _Codec]] = {
    "uint": _encode_integer,
    "int": _encode_integer,
    "float": _encode_float,
    "bipolar": _encode_table,
    "codebook": _encode_table,
    "bool": _encode_bool,
}
