"""cvt against exact rationals and Python's integers."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from . import exact
from .exact import BF16, E4M3, E5M2, F16, F32, F64, TF32, Kind
from .harness import run_op, sample_floats, sample_integers

Codes = np.ndarray[Any, Any]
N = 400
FLOATS = {"f16": F16, "bf16": BF16, "f32": F32, "f64": F64}
INTEGERS = ["u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"]


def codes(kind: Kind, seed: int, count: int = N) -> Codes:
    return sample_floats(kind.exponent, kind.mantissa, count, seed)


def as_integer(code: int, type_: str) -> int:
    bits = int(type_[1:])
    code %= 1 << bits
    return code - (1 << bits) if type_[0] == "s" and code >> (bits - 1) else code


def limits(type_: str) -> tuple[int, int]:
    bits = int(type_[1:])
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if type_[0] == "s" else (0, (1 << bits) - 1)


def register_type(type_: str) -> str:
    """8-bit values travel in 16-bit registers."""
    return f"u{max(int(type_.lstrip('bfsu')), 16) // 8}"


@pytest.mark.parametrize("source", INTEGERS)
@pytest.mark.parametrize("out", INTEGERS)
def test_integers(out: str, source: str) -> None:
    a = sample_integers(max(int(source[1:]), 16), N, 1)
    text = f"cvt.{out}.{source} {{o0}}, {{i0}}; cvt.sat.{out}.{source} {{o1}}, {{i0}};"
    plain, sat = run_op(text, [a], [np.dtype(register_type(out))] * 2)
    width = plain.dtype.itemsize * 8
    low, high = limits(out)
    for x, p, s in zip(a.tolist(), plain.tolist(), sat.tolist(), strict=True):
        value = as_integer(x, source)
        assert p == as_integer(value, out) % (1 << width)
        assert s == max(low, min(high, value)) % (1 << width)


ROUND = {"rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil}


@pytest.mark.parametrize("mode", ROUND)
@pytest.mark.parametrize("out", ["s8", "u16", "s32", "u32", "s64", "u64"])
@pytest.mark.parametrize("source", ["f16", "f32", "f64"])
def test_float_to_integer(out: str, source: str, mode: str) -> None:
    kind = FLOATS[source]
    a = codes(kind, 2, 300)
    (found,) = run_op(f"cvt.{mode}.{out}.{source} {{o0}}, {{i0}};", [a], [register_type(out)])
    low, high = limits(out)
    for x, result in zip(a.tolist(), found.tolist(), strict=True):
        value = kind.decode(x)
        if value == exact.NAN:
            # The top bit alone where one side has 64 bits, as recorded on an H100.
            wide = "64" in (out[1:], source[1:])
            wanted = as_integer(1 << (int(out[1:]) - 1), out) if wide else 0
        elif isinstance(value, str):
            wanted = high if value == exact.INF else low
        else:
            wanted = max(low, min(high, ROUND[mode](value)))  # type: ignore[operator]
        assert result == wanted % (1 << found.dtype.itemsize * 8), hex(x)


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
@pytest.mark.parametrize("source", ["s8", "s32", "u32", "s64", "u64"])
@pytest.mark.parametrize("out", ["f16", "f32", "f64"])
def test_integer_to_float(out: str, source: str, mode: str) -> None:
    kind = FLOATS[out]
    a = sample_integers(max(int(source[1:]), 16), 200, 3)
    if source[1:] == "64":
        # Midpoints of f32 and their neighbours beyond f64's precision.
        a[:3] = [(1 << 63) + (1 << 39), (1 << 63) + (1 << 39) + 1, (1 << 62) + (1 << 38) - 1]
    (found,) = run_op(f"cvt.{mode}.{out}.{source} {{o0}}, {{i0}};", [a], [f"u{kind.bits // 8}"])
    for x, result in zip(a.tolist(), found.tolist(), strict=True):
        assert result == kind.encode(Fraction(as_integer(x, source)), mode), x


def convert(out: Kind, source: Kind, code: int, mode: str, saturate: bool = False) -> int:
    value = source.decode(code)
    if value == exact.NAN and F64 in (out, source):
        # Sign and payload survive, made quiet: recorded on an H100.
        payload = code & ((1 << source.mantissa) - 1) | 1 << (source.mantissa - 1)
        cut = source.mantissa - out.mantissa
        payload = payload >> cut if cut > 0 else payload << -cut
        return (out.sign if code & source.sign else 0) | out.infinity | payload
    if value == exact.NAN and mode == "rna":
        return (code >> (source.mantissa - out.mantissa)) & (2 * out.sign - 1)
    return out.encode(value, mode, exact.is_negative(source, code), saturate)


NARROWING = [
    *(
        (out, source, mode)
        for out, source in (("f16", "f32"), ("f32", "f64"), ("f16", "f64"))
        for mode in ("rn", "rz", "rm", "rp")
    ),
    ("bf16", "f32", "rn"),
    ("bf16", "f32", "rz"),
]


@pytest.mark.parametrize(("out", "source", "mode"), NARROWING)
def test_narrowing(out: str, source: str, mode: str) -> None:
    kinds = FLOATS[out], FLOATS[source]
    a = codes(kinds[1], 4)
    # Neighbourhoods of midpoints of the destination.
    cut = kinds[1].mantissa - kinds[0].mantissa
    middle = (a[:100] >> a.dtype.type(cut) << a.dtype.type(cut)) | a.dtype.type(1 << (cut - 1))
    a[:100] = middle + np.arange(-1, 99).astype(a.dtype) % a.dtype.type(3) - a.dtype.type(1)
    (found,) = run_op(f"cvt.{mode}.{out}.{source} {{o0}}, {{i0}};", [a], [f"u{kinds[0].bits // 8}"])
    for x, result in zip(a.tolist(), found.tolist(), strict=True):
        assert result == convert(*kinds, x, mode), hex(x)


@pytest.mark.parametrize(
    ("out", "source"), [("f32", "f16"), ("f32", "bf16"), ("f64", "f32"), ("f64", "f16")]
)
def test_widening(out: str, source: str) -> None:
    kinds = FLOATS[out], FLOATS[source]
    a = codes(kinds[1], 5)
    (found,) = run_op(f"cvt.{out}.{source} {{o0}}, {{i0}};", [a], [f"u{kinds[0].bits // 8}"])
    for x, result in zip(a.tolist(), found.tolist(), strict=True):
        if kinds[1].decode(x) == exact.NAN and source == "bf16":
            assert result == x << 16
        else:
            assert result == convert(*kinds, x, "rn")


@pytest.mark.parametrize("mode", ["rn", "rz", "rna"])
def test_tf32(mode: str) -> None:
    a = codes(F32, 6)
    a[:60] = (a[:60] & np.uint32(0xFFFFE000)) | np.uint32(0x1000)
    (found,) = run_op(f"cvt.{mode}.tf32.f32 {{o0}}, {{i0}};", [a], ["u4"])
    for x, result in zip(a.tolist(), found.tolist(), strict=True):
        assert result == convert(TF32, F32, x, mode) << 13, hex(x)


@pytest.mark.parametrize("kind", ["f16x2", "bf16x2"])
def test_pairs(kind: str) -> None:
    shape = FLOATS[kind[:-2]]
    a, b = codes(F32, 7), codes(F32, 8)
    text = f"cvt.rn.{kind}.f32 {{o0}}, {{i0}}, {{i1}}; cvt.rz.{kind}.f32 {{o1}}, {{i0}}, {{i1}};"
    text += f"cvt.rn.relu.{kind}.f32 {{o2}}, {{i0}}, {{i1}};"
    found = run_op(text, [a, b], ["u4"] * 3)
    for x, y, *row in zip(*(v.tolist() for v in (a, b, *found)), strict=True):
        for result, mode in zip(row, ("rn", "rz", "rn"), strict=True):
            wanted = [convert(shape, F32, v, mode) for v in (y, x)]
            if result is row[2]:
                top = shape.sign
                wanted = [0 if v & top and v & (top - 1) <= shape.infinity else v for v in wanted]
            assert result == wanted[1] << 16 | wanted[0]


@pytest.mark.parametrize(("name", "kind"), [("e4m3x2", E4M3), ("e5m2x2", E5M2)])
def test_fp8(name: str, kind: Kind) -> None:
    a, b = codes(F32, 9), codes(F32, 10)
    small = sample_floats(5, 10, 2 * N, 11)
    text = f"cvt.rn.satfinite.{name}.f32 {{o0}}, {{i0}}, {{i1}};"
    text += f"cvt.rn.satfinite.{name}.f16x2 {{o1}}, {{i2}}; cvt.rn.f16x2.{name} {{o2}}, {{o1}};"
    packed, halves, back = run_op(text, [a, b, small.view(np.uint32)], ["u2", "u2", "u4"])
    for x, y, result in zip(a.tolist(), b.tolist(), packed.tolist(), strict=True):
        wanted = [convert(kind, F32, v, "rn", saturate=True) for v in (y, x)]
        assert result == wanted[1] << 8 | wanted[0]
    octets = halves.view(np.uint8).tolist()
    for x, result in zip(small.tolist(), octets, strict=True):
        assert result == convert(kind, F16, x, "rn", saturate=True), hex(x)
    for x, result in zip(octets, back.view(np.uint16).tolist(), strict=True):
        assert result == convert(F16, kind, x, "rn")


def test_all_fp8_codes() -> None:
    every = np.arange(256, dtype=np.uint16)
    for name, kind in (("e4m3x2", E4M3), ("e5m2x2", E5M2)):
        (found,) = run_op(f"cvt.rn.f16x2.{name} {{o0}}, {{i0}};", [every], ["u4"])
        for code, result in enumerate(found.tolist()):
            assert result & 0xFFFF == convert(F16, kind, code, "rn")
            assert result >> 16 == 0


def test_rounding_to_integral_floats() -> None:
    a = codes(F32, 12)
    text = "".join(f"cvt.{mode}.f32.f32 {{o{i}}}, {{i0}};" for i, mode in enumerate(ROUND))
    found = run_op(
        text + "cvt.sat.f32.f32 {o4}, {i0}; cvt.ftz.f32.f32 {o5}, {i0};", [a], ["u4"] * 6
    )
    for x, *row in zip(a.tolist(), *(r.tolist() for r in found), strict=True):
        value = F32.decode(x)
        for result, mode in zip(row, ROUND, strict=False):
            if isinstance(value, str):
                assert F32.decode(result) == value
            else:
                whole = Fraction(ROUND[mode](value))  # type: ignore[operator]
                assert result == F32.encode(whole, "rn", exact.is_negative(F32, x))
        if value == exact.NAN or value == exact.NINF or (not isinstance(value, str) and value <= 0):
            assert row[4] == 0
        else:
            assert row[4] == min(x, 0x3F800000)
        if value != exact.NAN:
            assert row[5] == (x if x & 0x7F800000 else x & 0x80000000)


def test_pack() -> None:
    a, b, c = (sample_integers(32, N, seed) for seed in (13, 14, 15))
    text = "cvt.pack.sat.s16.s32 {o0}, {i0}, {i1}; cvt.pack.sat.u8.s32.b32 {o1}, {i0}, {i1}, {i2};"
    halves, octets = run_op(text, [a, b, c], ["u4", "u4"])
    for x, y, z, h, o in zip(*(v.tolist() for v in (a, b, c, halves, octets)), strict=True):
        p, q = as_integer(x, "s32"), as_integer(y, "s32")
        clipped = [max(-(2**15), min(2**15 - 1, v)) % 2**16 for v in (q, p)]
        assert h == clipped[1] << 16 | clipped[0]
        clipped = [max(0, min(255, v)) for v in (q, p)]
        assert o == (z & 0xFFFF) << 16 | clipped[1] << 8 | clipped[0]
