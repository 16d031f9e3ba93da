"""Integer arithmetic: add sub mul mad div rem min max neg abs sad dp4a dp2a, and counting bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import floats, halves
from .opcode import Form, Mods, OpcodeError, Pure, opcode
from .types import TYPES, U32, Array, Type

_WIDE = {"u16": "u32", "s16": "s32", "u32": "u64", "s32": "s64"}


def viewed(fn: Callable[..., Any], type_: Type) -> Callable[..., Array]:
    """Lifts `fn` on typed arrays to raw arrays; all operands and the result are of `type_`."""
    view, raw = type_.view, type_.raw
    if view == raw:
        return fn

    def lifted(*args: Array) -> Array:
        result: Array = fn(*[arg.view(view) for arg in args])
        return result.view(raw)

    return lifted


def lifted(fn: Callable[..., Any], type_: Type, arity: int) -> Pure:
    return Pure((type_,), (type_,) * arity, viewed(fn, type_))


@opcode("add", "sub", "min", "max")
def add_sub_min_max(mods: Mods) -> Form:
    type_ = mods.type()
    if type_.is_float:
        return (
            halves.binary(mods, type_)
            if type_.bits == 16 or type_.lanes == 2
            else (floats.binary(mods, type_))
        )
    if type_.kind not in "us":
        raise OpcodeError(f"`{mods.text}`: type `.{type_.name}` is not supported")
    if mods.base in ("min", "max"):
        relu = mods.flag("relu")
        pick = np.minimum if mods.base == "min" else np.maximum
        if relu:
            return lifted(lambda a, b: np.maximum(pick(a, b), 0), type_, 2)
        return lifted(pick, type_, 2)
    fn = np.add if mods.base == "add" else np.subtract
    if mods.flag("sat"):
        return Pure((type_,), (type_,) * 2, _saturating(fn))
    # Two's complement wraps alike for both signs; the packed 16-bit forms need the narrow view.
    return lifted(fn, type_, 2) if type_.lanes == 2 else Pure((type_,), (type_,) * 2, fn)


def _saturating(fn: Callable[..., Any]) -> Callable[..., Array]:
    def run(a: Array, b: Array) -> Array:
        wide: Array = fn(a.view(np.int32).astype(np.int64), b.view(np.int32).astype(np.int64))
        return np.clip(wide, -(1 << 31), (1 << 31) - 1).astype(np.int32).view(np.uint32)

    return run


def multiply_wide(type_: Type) -> Callable[[Array, Array], Array]:
    """The full product of two 16- or 32-bit integers, raw, twice as wide."""
    wide = TYPES[_WIDE[type_.name]]

    def run(a: Array, b: Array) -> Array:
        product: Array = a.view(type_.view).astype(wide.view) * b.view(type_.view)
        return product.view(wide.raw)

    return run


def multiply_high(type_: Type) -> Callable[[Array, Array], Array]:
    """The upper half of the full product, raw."""
    if type_.bits == 64:
        return _high_64_signed if type_.signed else _high_64
    wide, raw = multiply_wide(type_), type_.raw
    shift = np.dtype(f"u{type_.bits // 4}").type(type_.bits)

    def run(a: Array, b: Array) -> Array:
        result: Array = (wide(a, b) >> shift).astype(raw)
        return result

    return run


def _high_64(a: Array, b: Array) -> Array:
    mask, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    a0, a1, b0, b1 = a & mask, a >> half, b & mask, b >> half
    middle = a1 * b0 + ((a0 * b0) >> half)
    cross = a0 * b1 + (middle & mask)
    high: Array = a1 * b1 + (middle >> half) + (cross >> half)
    return high


def _high_64_signed(a: Array, b: Array) -> Array:
    zero = np.uint64(0)
    correction = np.where(a.view(np.int64) < 0, b, zero) + np.where(b.view(np.int64) < 0, a, zero)
    high: Array = _high_64(a, b) - correction
    return high


def _multiplier(mods: Mods, type_: Type) -> tuple[Type, Callable[[Array, Array], Array]]:
    half = mods.choice("lo", "hi", "wide")
    if half == "wide":
        if type_.name not in _WIDE:
            raise OpcodeError(f"`{mods.text}`: no wide product of `.{type_.name}`")
        return TYPES[_WIDE[type_.name]], multiply_wide(type_)
    if half == "hi":
        return type_, multiply_high(type_)
    return type_, np.multiply


@opcode("mul")
def mul(mods: Mods) -> Form:
    type_ = mods.type()
    if type_.is_float:
        return (
            halves.binary(mods, type_)
            if type_.bits == 16 or type_.lanes == 2
            else (floats.binary(mods, type_))
        )
    out, product = _multiplier(mods, type_)
    return Pure((out,), (type_, type_), product)


@opcode("mad")
def mad(mods: Mods) -> Form:
    type_ = mods.type()
    if type_.is_float:
        return floats.fused(mods, type_)
    out, product = _multiplier(mods, type_)
    return Pure((out,), (type_, type_, out), lambda a, b, d: product(a, b) + d)


@opcode("mul24", "mad24")
def mul24(mods: Mods) -> Form:
    type_ = mods.type("u32", "s32")
    half = mods.choice("lo", "hi")
    eight = type_.view.type(8)
    shift = np.uint64(0 if half == "lo" else 16)

    def product(a: Array, b: Array) -> Array:
        left, right = (x.view(type_.view) << eight >> eight for x in (a, b))
        wide = left.astype(np.int64) * right
        low: Array = (wide.view(np.uint64) >> shift).astype(np.uint32)
        return low

    if mods.base == "mul24":
        return Pure((type_,), (type_, type_), product)
    return Pure((type_,), (type_,) * 3, lambda a, b, d: product(a, b) + d)


def _divide(a: Array, b: Array) -> Array:
    """Truncating quotient; a zero divisor gives all ones, as the hardware's routine does."""
    safe = np.where(b == 0, b.dtype.type(1), b)
    quotient = (a - np.fmod(a, safe)) // safe
    return np.where(b == 0, ~b, quotient)


def _remainder(a: Array, b: Array) -> Array:
    safe = np.where(b == 0, b.dtype.type(1), b)
    return np.where(b == 0, a, np.fmod(a, safe))


@opcode("div", "rem")
def div_rem(mods: Mods) -> Form:
    type_ = mods.type()
    if type_.is_float:
        return floats.divide(mods, type_)
    return lifted(_divide if mods.base == "div" else _remainder, type_, 2)


@opcode("neg", "abs")
def neg_abs(mods: Mods) -> Form:
    type_ = mods.type()
    if type_.is_float:
        return floats.sign(mods, type_)
    return lifted(np.negative if mods.base == "neg" else np.abs, type_, 1)


@opcode("sad")
def sad(mods: Mods) -> Form:
    type_ = mods.type("u16", "u32", "u64", "s16", "s32", "s64")

    def run(a: Array, b: Array, d: Array) -> Array:
        x, y = a.view(type_.view), b.view(type_.view)
        return np.where(x > y, a - b, b - a) + d

    return Pure((type_,), (type_,) * 3, run)


@opcode("dp4a", "dp2a")
def dot_product(mods: Mods) -> Form:
    """Sums products of bytes (dp4a), or of halves with the lower or upper two bytes (dp2a)."""
    half = mods.choice("lo", "hi") if mods.base == "dp2a" else ""
    first, second = mods.type("u32", "s32"), mods.type("u32", "s32")
    signed = first.signed or second.signed
    out = TYPES["s32" if signed else "u32"]
    width = np.dtype(f"{'i' if first.signed else 'u'}{1 if not half else 2}")
    byte = np.dtype(np.int8 if second.signed else np.uint8)

    def split(a: Array, view: np.dtype[Any]) -> Array:
        return np.ascontiguousarray(a).view(view).reshape(*a.shape, -1).astype(np.int64)

    def run(a: Array, b: Array, d: Array) -> Array:
        left, right = split(a, width), split(b, byte)
        if half:
            right = right[..., :2] if half == "lo" else right[..., 2:]
        total: Array = (left * right).sum(-1) + d.view(out.view)
        raw: Array = total.astype(np.uint32)
        return raw

    return Pure((out,), (first, second, out), run)


_BYTE_ONES = np.array([bin(value).count("1") for value in range(256)], np.uint8)
_LENGTH = np.array([value.bit_length() for value in range(256)], np.uint8)


def population_count(a: Array) -> Array:
    """Ones in each element, as u32."""
    octets = np.ascontiguousarray(a).view(np.uint8).reshape(*a.shape, -1)
    ones: Array = _BYTE_ONES[octets].sum(-1, dtype=np.uint32)
    return ones


def bit_length(a: Array) -> Array:
    """Position of the highest one plus 1 (0 for zero), as u32."""
    octets = np.ascontiguousarray(a).view(np.uint8).reshape(*a.shape, -1)
    places = np.arange(octets.shape[-1], dtype=np.uint32) * np.uint32(8)
    lengths = np.where(octets != 0, _LENGTH[octets] + places, np.uint32(0))
    longest: Array = lengths.max(-1).astype(np.uint32)
    return longest


@opcode("popc", "clz")
def count_bits(mods: Mods) -> Form:
    type_ = mods.type("b32", "b64")
    if mods.base == "popc":
        return Pure((U32,), (type_,), population_count)
    width = np.uint32(type_.bits)
    return Pure((U32,), (type_,), lambda a: width - bit_length(a))


@opcode("bfind")
def bfind(mods: Mods) -> Form:
    shift_amount = mods.flag("shiftamt")
    type_ = mods.type("u32", "s32", "u64", "s64")
    width = np.uint32(type_.bits)

    def run(a: Array) -> Array:
        bits = np.where(a.view(type_.view) < 0, ~a, a) if type_.signed else a
        length = bit_length(bits)
        position = width - length if shift_amount else length - np.uint32(1)
        return np.where(length == 0, np.uint32(0xFFFFFFFF), position)

    return Pure((U32,), (type_,), run)
