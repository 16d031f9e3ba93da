"""Runs plans in numpy: every operation by its definition, floats rounded once to nearest even."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom.compiler.casts import Half, Plan, Word
from tileloom.vm.dtypes import Dtype, bf16, dtype, f16, f32

Words = NDArray[np.uint32]


def run(plan: Plan, inputs: Words) -> Words:
    """The outputs [lanes, outputs] of a plan for the inputs [lanes, num_inputs]."""
    assert inputs.shape[1] == plan.num_inputs
    values = {number: inputs[:, number] for number in range(plan.num_inputs)}
    lanes = inputs.shape[0]
    for op in plan.ops:
        srcs = [_value(source, values, lanes) for source in op.srcs]
        with np.errstate(invalid="ignore"):  # signalling NaNs
            result = OPCODES[op.opcode](*srcs)
        assert result.dtype == np.uint32, op.opcode
        assert op.dst not in values, "words are assigned once"
        values[op.dst] = result
    return np.stack([values[number] for number in plan.outputs], axis=1)


def _value(source: Any, values: dict[int, Words], lanes: int) -> Words:
    match source:
        case Word(number):
            return values[number]
        case Half(number, high):
            return values[number] >> np.uint32(16 if high else 0) & np.uint32(0xFFFF)
    assert 0 <= source < 2**32
    return np.full(lanes, source, np.uint32)


def lop3(a: Words, b: Words, c: Words, table: Words) -> Words:
    """Bit i of the result is bit (a_i, b_i, c_i) of the table."""
    result = np.zeros_like(a)
    for row in range(8):
        if int(table[0]) >> row & 1:
            result |= (a if row & 4 else ~a) & (b if row & 2 else ~b) & (c if row & 1 else ~c)
    return result


def prmt(a: Words, b: Words, selectors: Words) -> Words:
    """Four bytes out of eight; the top bit of a selector spreads the byte's sign."""
    pool = np.stack([x >> np.uint32(8 * i) & np.uint32(0xFF) for x in (a, b) for i in range(4)])
    result = np.zeros_like(a)
    for position in range(4):
        nibble = selectors >> np.uint32(4 * position) & np.uint32(15)
        byte = np.take_along_axis(pool, (nibble & np.uint32(7))[None].astype(np.intp), 0)[0]
        signs = np.where(byte & np.uint32(0x80), np.uint32(0xFF), np.uint32(0))
        byte = np.where(nibble & np.uint32(8), signs, byte).astype(np.uint32)
        result |= byte << np.uint32(8 * position)
    return result


def funnel(low: Words, high: Words, amount: Words) -> Words:
    wide = high.astype(np.uint64) << np.uint64(32) | low
    return (wide >> (amount & np.uint32(31)).astype(np.uint64)).astype(np.uint32)


def fma(kind: Dtype, a: Words, b: Words, c: Words) -> Words:
    """a * b + c, rounded once: the float64 sum is rounded to odd, which a second rounding heals."""
    x, y, z = (kind.decode(v) for v in (a, b, c))
    with np.errstate(invalid="ignore"):
        product = x * y  # exact: at most 48 bits
        total = product + z
        back = total - product
        error = (product - (total - back)) + (z - back)
    bits = total.view(np.int64).copy()
    inexact = np.isfinite(total) & (error != 0) & (bits & 1 == 0)
    away = (error > 0) == (total > 0)
    bits[inexact] += np.where(away, 1, -1)[inexact]
    return kind.encode(bits.view(np.float64)).astype(np.uint32)


def halves(kind: Dtype, function: Callable[..., Words]) -> Callable[..., Words]:
    """A function of 16-bit floats on both halves of words."""

    def both(*words: Words) -> Words:
        low = function(kind, *(word & np.uint32(0xFFFF) for word in words))
        high = function(kind, *(word >> np.uint32(16) for word in words))
        return low | high << np.uint32(16)

    return both


def add(kind: Dtype, a: Words, b: Words) -> Words:
    one = np.full_like(a, int(kind.encode(1.0)))
    return fma(kind, a, one, b)


def sub(kind: Dtype, a: Words, b: Words) -> Words:
    return add(kind, a, b ^ np.uint32(1 << kind.bits - 1))


def mul(kind: Dtype, a: Words, b: Words) -> Words:
    return fma(kind, a, b, np.full_like(a, 1 << kind.bits - 1))


def smaller_magnitude(kind: Dtype, a: Words, b: Words) -> Words:
    """The smaller magnitude, the other's beside a NaN, with the sign of the product."""
    sign = np.uint32(1 << kind.bits - 1)
    x, y = (kind.decode(word & ~sign) for word in (a, b))
    picked = np.where(np.isnan(x) | (y < x), b, a) & ~sign
    both = np.isnan(x) & np.isnan(y)
    return np.where(both, np.uint32(0x7FFF), picked | (a ^ b) & sign).astype(np.uint32)


def pack_halves(kind: Dtype, high: Words, low: Words) -> Words:
    codes = [kind.encode(f32.decode(word)).astype(np.uint32) for word in (high, low)]
    return codes[0] << np.uint32(16) | codes[1]


def to_finite(word: Words) -> Words:
    """f32 limited to what f16 has; NaNs stay."""
    return f32.encode(np.clip(f32.decode(word), -65504, 65504)).astype(np.uint32)


def unpack_e4m3(pair: Words) -> Words:
    source = dtype("e4m3")
    codes = [f16.encode(source.decode(pair >> np.uint32(s) & np.uint32(255))) for s in (0, 8)]
    return codes[0].astype(np.uint32) | codes[1].astype(np.uint32) << np.uint32(16)


def pack_e4m3(high: Words, low: Words) -> Words:
    codes = [dtype("e4m3").encode(f32.decode(word)).astype(np.uint32) for word in (low, high)]
    return (codes[0] | codes[1] << np.uint32(8)) * np.uint32(0x10001)


def to_integer(low: int, high: int) -> Callable[[Words], Words]:
    def convert(word: Words) -> Words:
        values = np.rint(np.clip(np.nan_to_num(f32.decode(word), nan=0.0), low, high))
        return (values.astype(np.int64) & 0xFFFFFFFF).astype(np.uint32)

    return convert


def signed(function: Callable[..., Any]) -> Callable[..., Words]:
    def wrapped(*words: Words) -> Words:
        result: NDArray[np.int32] = function(*(word.view(np.int32) for word in words))
        return result.view(np.uint32)

    return wrapped


def sar(a: Words, b: Words) -> Words:
    return (np.ascontiguousarray(a).view(np.int32) >> b.view(np.int32)).view(np.uint32)


OPCODES: dict[str, Callable[..., Words]] = {
    "mov.b32": lambda a: a,
    "and.b32": lambda a, b: a & b,
    "or.b32": lambda a, b: a | b,
    "xor.b32": lambda a, b: a ^ b,
    "lop3.b32": lop3,
    "prmt.b32": prmt,
    "shl.b32": lambda a, b: a << b,
    "shr.u32": lambda a, b: a >> b,
    "shr.s32": sar,
    "shf.r.wrap.b32": funnel,
    "sub.s32": lambda a, b: a - b,
    "add.s32": lambda a, b: a + b,
    "min.u32": np.minimum,
    "max.u32": np.maximum,
    "min.s32": signed(np.minimum),
    "max.s32": signed(np.maximum),
    "add.f16x2": halves(f16, add),
    "sub.f16x2": halves(f16, sub),
    "mul.f16x2": halves(f16, mul),
    "min.xorsign.abs.f16x2": halves(f16, smaller_magnitude),
    "fma.rn.f16x2": halves(f16, fma),
    "fma.rn.bf16x2": halves(bf16, fma),
    "mul.f32": lambda a, b: mul(f32, a, b),
    "cvt.f32.f16": lambda half: f32.encode(f16.decode(half)),
    "cvt.rn.f32.s32": lambda a: f32.encode(np.ascontiguousarray(a).view(np.int32)),
    "cvt.rn.f32.u32": lambda a: f32.encode(a.astype(np.int64)),
    "sub.f32": lambda a, b: sub(f32, a, b),
    "fma.rn.f32": lambda a, b, c: fma(f32, a, b, c),
    "cvt.rn.f16x2.f32": lambda high, low: pack_halves(f16, high, low),
    "cvt.rn.bf16x2.f32": lambda high, low: pack_halves(bf16, high, low),
    "cvt.rn.satfinite.f16x2.f32": lambda high, low: pack_halves(f16, *map(to_finite, (high, low))),
    "cvt.rn.f16x2.e4m3x2": unpack_e4m3,
    "cvt.rn.satfinite.e4m3x2.f32": pack_e4m3,
    "cvt.rni.s32.f32": to_integer(-(2**31), 2**31 - 1),
    "cvt.rni.u32.f32": to_integer(0, 2**32 - 1),
}
