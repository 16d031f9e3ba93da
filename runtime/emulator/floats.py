"""f32 and f64 arithmetic: rounding modes, .ftz, .sat, and the approximate functions.

Approximate functions are computed in f64 and rounded to nearest: their documented error bound
contains the correctly rounded result.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from . import halves
from .opcode import Form, Mods, OpcodeError, Pure, opcode
from .rounding import (
    F32,
    canonical,
    directed_zero,
    fused_multiply_add,
    narrow,
    odd_fma,
    odd_sum,
    pick_by_value,
)
from .types import RAW, Array, Type

_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
}
_TINY = np.float32(2.0**-126)


def flush(values: Array) -> Array:
    """Subnormal f32 -> zero of the same sign."""
    small = np.abs(values) < _TINY
    return np.where(small, np.copysign(np.float32(0), values), values)


def finish_f32(values: Array, ftz: bool, sat: bool) -> Array:
    """f32 results -> raw, with .ftz and .sat applied and NaN made canonical."""
    if ftz:
        values = flush(values)
    if sat:
        values = np.where(np.isnan(values), np.float32(0), np.clip(values, 0, 1))
        values = values + np.float32(0)  # -0 saturates to +0
    return canonical(values, np.uint32, 0x7FFFFFFF)


def _inputs(ftz: bool) -> Callable[[Array], Array]:
    if ftz:
        return lambda raw: flush(raw.view(np.float32))
    return lambda raw: raw.view(np.float32)


def _mode(mods: Mods) -> str:
    return mods.choice("rn", "rz", "rm", "rp", default="rn")


def binary(mods: Mods, type_: Type) -> Form:
    """add sub mul min max of f32 or f64."""
    if mods.base in ("min", "max"):
        return minimum_maximum(mods, type_)
    mode, ftz, sat = _mode(mods), mods.flag("ftz"), mods.flag("sat")
    fn = _ARITHMETIC[mods.base]
    if type_.bits == 64:
        if mode != "rn":
            raise OpcodeError(f"`{mods.text}`: only .rn is supported for f64")
        return Pure((type_,), (type_, type_), lambda a, b: _f64(fn(*_doubles(a, b)), a, b))
    read = _inputs(ftz)
    if mode == "rn":
        return Pure(
            (type_,), (type_, type_), lambda a, b: finish_f32(fn(read(a), read(b)), ftz, sat)
        )
    exact = _directed(mods.base, mode)

    def run(a: Array, b: Array) -> Array:
        wide = exact(read(a).astype(np.float64), read(b).astype(np.float64))
        return finish_f32(_round_f32(wide, mode), ftz, sat)

    return Pure((type_,), (type_, type_), run)


def _directed(base: str, mode: str) -> Callable[[Array, Array], Array]:
    """The f64 operation on f32 values, rounded to odd (a product is exact)."""
    if base == "mul":
        return lambda a, b: np.asarray(a * b)

    def run(a: Array, b: Array) -> Array:
        b = -b if base == "sub" else b
        total = odd_sum(a, b)
        return directed_zero(total, a, b) if mode == "rm" else total

    return run


def _round_f32(wide: Array, mode: str) -> Array:
    codes = narrow(wide, F32, mode).astype(np.uint32)
    return codes.view(np.float32)


def _doubles(*raw: Array) -> list[Array]:
    return [array.view(np.float64) for array in raw]


_QUIET = np.uint64(1 << 51)


def _f64(values: Array, *operands: Array) -> Array:
    """f64 results -> raw. A NaN is that of the last raw operand that is one, made quiet."""
    bits = canonical(np.asarray(values), np.uint64, 0xFFF8000000000000)
    nans = np.isnan(values)
    if nans.any():
        for raw in operands:
            bits = np.where(nans & np.isnan(raw.view(np.float64)), raw | _QUIET, bits)
    return bits


# ---- fused multiply-add


@opcode("fma")
def fma(mods: Mods) -> Form:
    type_ = mods.type("f16", "f16x2", "bf16", "bf16x2", "f32", "f64")
    return halves.fused(mods, type_) if type_.bits == 16 or type_.lanes == 2 else fused(mods, type_)


def fused(mods: Mods, type_: Type) -> Form:
    mode, ftz, sat = _mode(mods), mods.flag("ftz"), mods.flag("sat")
    if type_.bits == 64:
        if mode != "rn":
            raise OpcodeError(f"`{mods.text}`: only .rn is supported for f64")
        return Pure((type_,), (type_,) * 3, _fma_f64)
    read = _inputs(ftz)

    def run(a: Array, b: Array, c: Array) -> Array:
        wide = [read(x).astype(np.float64) for x in (a, b, c)]
        if mode == "rn":
            result = fused_multiply_add(wide[0], wide[1], wide[2], F32).astype(np.float32)
        else:
            total = odd_fma(wide[0], wide[1], wide[2])
            if mode == "rm":
                total = directed_zero(total, wide[0] * wide[1], wide[2])
            result = _round_f32(total, mode)
        return finish_f32(result, ftz, sat)

    return Pure((type_,), (type_,) * 3, run)


def _fma_f64(a: Array, b: Array, c: Array) -> Array:
    """Exact through rationals; rare, so clarity wins."""
    x, y, z = np.broadcast_arrays(*_doubles(a, b, c))
    result = np.asarray(x * y + z)
    flat = result.reshape(-1)
    finite = np.isfinite(x) & np.isfinite(y) & np.isfinite(z)
    for index in np.flatnonzero(finite):
        p, q, r = (float(array.reshape(-1)[index]) for array in (x, y, z))
        exact = Fraction(p) * Fraction(q) + Fraction(r)
        if exact != 0:
            flat[index] = _nearest(exact)
    # The product of finite factors may overflow in f64, but it is finite.
    infinite = np.isinf(z) & np.isfinite(x) & np.isfinite(y)
    result = np.where(infinite, z, result)
    return _f64(result, a, c, b)


def _nearest(exact: Fraction) -> float:
    try:
        return exact.numerator / exact.denominator
    except OverflowError:
        return float("inf") if exact > 0 else float("-inf")


# ---- min, max, sign


def minimum_maximum(mods: Mods, type_: Type) -> Form:
    ftz, propagate = mods.flag("ftz"), mods.flag("NaN")
    largest, bits = mods.base == "max", type_.bits
    infinity = 0x7F800000 if bits == 32 else 0x7FF0000000000000

    def run(a: Array, b: Array) -> Array:
        if ftz:
            a, b = (flush(x.view(np.float32)).view(np.uint32) for x in (a, b))
        result = pick_by_value(a, b, bits, infinity, largest, propagate)
        return _f64(result.view(np.float64), a, b) if bits == 64 else result

    return Pure((type_,), (type_, type_), run)


def sign(mods: Mods, type_: Type) -> Form:
    """neg and abs of any float: the sign bit of each element. A NaN becomes the canonical one, in
    f64 a quiet one."""
    ftz = mods.flag("ftz")
    width = type_.bits // type_.lanes
    top = sum(1 << (width * lane + width - 1) for lane in range(type_.lanes))
    keep, flip = type_.raw.type(~top % (1 << type_.bits)), type_.raw.type(top)
    negate = mods.base == "neg"
    infinity = {"f16": 0x7C00, "bf16": 0x7F80}.get(type_.name.removesuffix("x2"), 0x7F800000)

    def run(a: Array) -> Array:
        if ftz and type_.name == "f32":
            a = flush(a.view(np.float32)).view(np.uint32)
        changed: Array = a ^ flip if negate else a & keep
        if width == 64:
            return np.where(np.isnan(a.view(np.float64)), a | _QUIET, changed)
        element = RAW[width]
        codes = np.ascontiguousarray(changed).view(element)
        nans = (codes & element.type((1 << (width - 1)) - 1)) > infinity
        if nans.any():
            codes = np.where(nans, element.type((1 << (width - 1)) - 1), codes)
        return codes.view(type_.raw)

    return Pure((type_,), (type_,), run)


@opcode("copysign")
def copysign(mods: Mods) -> Form:
    type_ = mods.type("f32", "f64")
    top = type_.raw.type(1 << (type_.bits - 1))
    return Pure((type_,), (type_, type_), lambda a, b: (a & top) | (b & ~top))


# ---- division and functions


def divide(mods: Mods, type_: Type) -> Form:
    if mods.base == "rem":
        raise OpcodeError(f"unknown opcode `{mods.text}`")
    mode = mods.choice("approx", "full", "rn", "rz", "rm", "rp")
    ftz = mods.flag("ftz")
    if mode in ("rz", "rm", "rp"):
        raise OpcodeError(f"`{mods.text}`: only .rn, .approx and .full are supported")
    if type_.bits == 64:
        return Pure((type_,), (type_, type_), lambda a, b: _f64(np.divide(*_doubles(a, b)), b, a))
    read = _inputs(ftz)
    return Pure(
        (type_,),
        (type_, type_),
        lambda a, b: finish_f32(np.divide(read(a), read(b)), ftz, False),
    )


def _log2(x: Array) -> Array:
    return np.where(x < 0, np.nan, np.log2(np.abs(x)))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1.0 / np.sqrt(x),
    "rcp": lambda x: 1.0 / x,
    "ex2": np.exp2,
    "lg2": _log2,
    "tanh": np.tanh,
    "sin": np.sin,
    "cos": np.cos,
}


@opcode(*FUNCTIONS)
def function(mods: Mods) -> Form:
    """f32, f64, or (ex2, tanh) the 16-bit floats."""
    type_ = mods.type("f16", "f16x2", "bf16", "bf16x2", "f32", "f64")
    mode = mods.choice("approx", "rn", "rz", "rm", "rp")
    ftz = mods.flag("ftz")
    if mode in ("rz", "rm", "rp"):
        raise OpcodeError(f"`{mods.text}`: only .rn and .approx are supported")
    fn = FUNCTIONS[mods.base]
    if type_.bits == 16 or type_.lanes == 2:
        if mods.base not in ("ex2", "tanh"):
            raise OpcodeError(f"unknown opcode `{mods.text}`")
        return halves.function(type_, fn, ftz)
    if type_.bits == 64:
        return Pure((type_,), (type_,), lambda a: _f64(fn(a.view(np.float64)), a))
    read = _inputs(ftz)
    if mods.base in ("sqrt", "rcp"):
        # numpy's f32 operation is correctly rounded, subnormal results included.
        one = np.float32(1)
        exact = np.sqrt if mods.base == "sqrt" else (lambda x: one / x)
        return Pure((type_,), (type_,), lambda a: finish_f32(exact(read(a)), ftz, False))

    def run(a: Array) -> Array:
        value = fn(read(a).astype(np.float64))
        return finish_f32(value.astype(np.float32), ftz, False)

    return Pure((type_,), (type_,), run)
