"""Floating-point opcodes against exact rationals: every result is the true one, rounded once."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from . import exact
from .exact import BF16, F16, F32, F64, Kind
from .harness import run_op, sample_floats

Codes = np.ndarray[Any, Any]
N = 320
KINDS = {"f16": F16, "bf16": BF16, "f32": F32}
OPS: dict[str, Callable[..., int]] = {
    "add": exact.add,
    "sub": lambda kind, a, b, mode="rn": exact.add(kind, a, b ^ kind.sign, mode),
    "mul": exact.multiply,
}


def codes(kind: Kind, seed: int, count: int = N) -> Codes:
    return sample_floats(kind.exponent, kind.mantissa, count, seed)


def check(kind: Kind, found: Codes, expected: list[int], *operands: Codes) -> None:
    for i, (result, wanted) in enumerate(zip(found.tolist(), expected, strict=True)):
        assert result == wanted, [hex(int(array[i])) for array in operands]


def nasty(kind: Kind) -> tuple[Codes, Codes, Codes]:
    """Factors whose product is a midpoint, and addends far below it: where rounding twice fails."""
    rng = np.random.default_rng(7)
    bias, m = kind.bias, kind.mantissa
    a = rng.integers(1 << m, 2 << m, N).astype(np.uint64) & ~np.uint64(0)
    one = np.uint64(bias << m)
    x = one | (a & np.uint64((1 << m) - 1))
    # Half an ulp of 1.xxx: y = 1 + 2^-m has a product that ends in ...1 one place below the last.
    y = np.full(N, (bias << m) | 1 << (m - 1), np.uint64)
    exponent = rng.integers(1, bias - m, N).astype(np.uint64) << np.uint64(m)
    sign = rng.integers(0, 2, N).astype(np.uint64) << np.uint64(kind.bits - 1)
    width = {16: "u2", 32: "u4"}[kind.bits]
    return x.astype(width), y.astype(width), (exponent | sign).astype(width)


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("kind", KINDS)
def test_binary(name: str, kind: str) -> None:
    shape = KINDS[kind]
    a, b = codes(shape, 1), codes(shape, 2)
    (found,) = run_op(f"{name}.{kind} {{o0}}, {{i0}}, {{i1}};", [a, b], [a.dtype])
    wanted = [OPS[name](shape, x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    check(shape, found, wanted, a, b)


@pytest.mark.parametrize("mode", ["rz", "rm", "rp"])
@pytest.mark.parametrize("name", OPS)
def test_directed_rounding(name: str, mode: str) -> None:
    a, b = codes(F32, 3), codes(F32, 4)
    b[:100] = a[:100] ^ np.uint32(1 << 31)  # exact cancellation
    (found,) = run_op(f"{name}.{mode}.f32 {{o0}}, {{i0}}, {{i1}};", [a, b], [a.dtype])
    wanted = [OPS[name](F32, x, y, mode) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    check(F32, found, wanted, a, b)


@pytest.mark.parametrize("kind", KINDS)
def test_fma(kind: str) -> None:
    shape = KINDS[kind]
    drawn = [codes(shape, seed) for seed in (5, 6, 7)]
    for a, b, c in (drawn, nasty(shape)):
        (found,) = run_op(f"fma.rn.{kind} {{o0}}, {{i0}}, {{i1}}, {{i2}};", [a, b, c], [a.dtype])
        rows = zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
        check(shape, found, [exact.fma(shape, *row) for row in rows], a, b, c)


@pytest.mark.parametrize("mode", ["rz", "rm", "rp"])
def test_directed_fma(mode: str) -> None:
    a, b, c = codes(F32, 8), codes(F32, 9), codes(F32, 10)
    (found,) = run_op(f"fma.{mode}.f32 {{o0}}, {{i0}}, {{i1}}, {{i2}};", [a, b, c], [a.dtype])
    rows = zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    check(F32, found, [exact.fma(F32, *row, mode) for row in rows], a, b, c)


def test_nasty_operands_need_a_single_rounding() -> None:
    """The f64 sum, rounded again, is wrong for some: so the test above can fail."""
    a, b, c = nasty(BF16)
    values = [
        (v.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(float) for v in (a, b, c)
    ]
    twice = (values[0] * values[1] + values[2]).astype(np.float32)
    bits = twice.view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    wanted = [exact.fma(BF16, *row) for row in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)]
    assert (rounded != np.array(wanted)).any()


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_packed(kind: str) -> None:
    shape = KINDS[kind]
    a, b, c = (codes(shape, seed).view(np.uint32) for seed in (11, 12, 13))
    text = f"add.{kind}x2 {{o0}}, {{i0}}, {{i1}}; mul.{kind}x2 {{o1}}, {{i0}}, {{i1}};"
    text += f"sub.{kind}x2 {{o2}}, {{i0}}, {{i1}}; fma.rn.{kind}x2 {{o3}}, {{i0}}, {{i1}}, {{i2}};"
    text += f"neg.{kind}x2 {{o4}}, {{i0}}; abs.{kind}x2 {{o5}}, {{i0}};"
    found = [r.view(np.uint16) for r in run_op(text, [a, b, c], ["u4"] * 6)]
    flat = [v.view(np.uint16) for v in (a, b, c)]
    x, y, z = (v.tolist() for v in flat)
    check(shape, found[0], [exact.add(shape, *row) for row in zip(x, y, strict=True)], *flat)
    check(shape, found[1], [exact.multiply(shape, *row) for row in zip(x, y, strict=True)], *flat)
    check(shape, found[2], [OPS["sub"](shape, *row) for row in zip(x, y, strict=True)], *flat)
    check(shape, found[3], [exact.fma(shape, *row) for row in zip(x, y, z, strict=True)], *flat)
    assert np.array_equal(found[4], without_nan(shape, flat[0], flat[0] ^ np.uint16(0x8000)))
    assert np.array_equal(found[5], without_nan(shape, flat[0], flat[0] & np.uint16(0x7FFF)))


def without_nan(kind: Kind, codes: Codes, results: Codes) -> Codes:
    """The results, canonical where the operand was a NaN."""
    nans = (codes & codes.dtype.type(kind.sign - 1)) > kind.infinity
    return np.where(nans, codes.dtype.type(kind.nan), results)


def ordered(kind: Kind, a: int, b: int, largest: bool, propagate: bool) -> int:
    nans = [kind.decode(v) == exact.NAN for v in (a, b)]
    if all(nans) or (any(nans) and propagate):
        return kind.nan
    if any(nans):
        return b if nans[0] else a
    top = kind.sign

    def key(code: int) -> int:
        return -(code & (top - 1)) - 1 if code & top else code

    return max(a, b, key=key) if largest else min(a, b, key=key)


@pytest.mark.parametrize("kind", [*KINDS, "f64"])
def test_min_max(kind: str) -> None:
    shape = {**KINDS, "f64": F64}[kind]
    a, b = codes(shape, 14), codes(shape, 15)
    nan = "" if kind == "f64" else ".NaN"
    text = f"min.{kind} {{o0}}, {{i0}}, {{i1}}; max.{kind} {{o1}}, {{i0}}, {{i1}};"
    text += f"min{nan}.{kind} {{o2}}, {{i0}}, {{i1}}; max{nan}.{kind} {{o3}}, {{i0}}, {{i1}};"
    found = run_op(text, [a, b], [a.dtype] * 4)
    for number, result in enumerate(found):
        propagates = number > 1 and bool(nan)
        wanted = [
            ordered(shape, x, y, number % 2 == 1, propagates)
            for x, y in zip(a.tolist(), b.tolist(), strict=True)
        ]
        check(shape, result, wanted, a, b)


@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_min_max_of_magnitudes(kind: str) -> None:
    shape = KINDS[kind]
    a, b = codes(shape, 16), codes(shape, 17)
    text = f"min.xorsign.abs.{kind} {{o0}}, {{i0}}, {{i1}};"
    text += f"max.xorsign.abs.{kind} {{o1}}, {{i0}}, {{i1}};"
    low = shape.sign - 1
    for number, result in enumerate(run_op(text, [a, b], [a.dtype] * 2)):
        wanted = []
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            picked = ordered(shape, x & low, y & low, number == 1, False)
            is_nan = picked & low > shape.infinity
            wanted.append(shape.nan if is_nan else picked | (x ^ y) & shape.sign)
        check(shape, result, wanted, a, b)


def flushed(code: int) -> int:
    return code & 0x80000000 if code & 0x7F800000 == 0 else code


def test_ftz_and_sat() -> None:
    a, b, c = codes(F32, 16), codes(F32, 17), codes(F32, 18)
    text = "add.ftz.f32 {o0}, {i0}, {i1}; mul.ftz.f32 {o1}, {i0}, {i1};"
    text += "fma.rn.ftz.f32 {o2}, {i0}, {i1}, {i2}; add.sat.f32 {o3}, {i0}, {i1};"
    found = run_op(text, [a, b, c], ["u4"] * 4)
    wanted: list[list[int]] = [[], [], [], []]
    for x, y, z in zip(a.tolist(), b.tolist(), c.tolist(), strict=True):
        p, q, r = flushed(x), flushed(y), flushed(z)
        wanted[0].append(flushed(exact.add(F32, p, q)))
        wanted[1].append(flushed(exact.multiply(F32, p, q)))
        wanted[2].append(flushed(exact.fma(F32, p, q, r)))
        total = exact.add(F32, x, y)
        value = F32.decode(total)
        low = value in (exact.NAN, exact.NINF) or (not isinstance(value, str) and total >> 31)
        high = value == exact.INF or (not isinstance(value, str) and value > 1)
        wanted[3].append(0 if low else 0x3F800000 if high else total)
    for result, expected in zip(found, wanted, strict=True):
        check(F32, result, expected, a, b, c)


def test_f16_modifiers() -> None:
    a, b, c = codes(F16, 19), codes(F16, 20), codes(F16, 21)
    text = "fma.rn.relu.f16 {o0}, {i0}, {i1}, {i2}; fma.rn.sat.f16 {o1}, {i0}, {i1}, {i2};"
    plain, sat = run_op(text, [a, b, c], ["u2", "u2"])
    for row in zip(a.tolist(), b.tolist(), c.tolist(), plain.tolist(), sat.tolist(), strict=True):
        total = exact.fma(F16, *row[:3])
        negative = total & 0x8000 and total & 0x7FFF <= 0x7C00
        assert row[3] == (0 if negative else total)
        value = F16.decode(total)
        clipped = 0 if negative or value == exact.NAN else min(total, 0x3C00)
        assert row[4] == clipped


def test_division_and_root() -> None:
    a, b = codes(F32, 22), codes(F32, 23)
    text = "div.rn.f32 {o0}, {i0}, {i1}; sqrt.rn.f32 {o1}, {i0}; rcp.rn.f32 {o2}, {i1};"
    quotient, root, inverse = run_op(text, [a, b], ["u4"] * 3)
    one = F32.encode(Fraction(1))
    for x, y, q, r, i in zip(*(v.tolist() for v in (a, b, quotient, root, inverse)), strict=True):
        assert q == divided(x, y)
        assert i == divided(one, y)
        value = F32.decode(x)
        if isinstance(value, Fraction) and value > 0:
            assert_nearest_root(value, r)


def divided(a: int, b: int) -> int:
    x, y = F32.decode(a), F32.decode(b)
    negative = exact.is_negative(F32, a) != exact.is_negative(F32, b)
    if exact.NAN in (x, y) or (isinstance(x, str) and isinstance(y, str)) or (x == 0 and y == 0):
        return F32.nan
    if isinstance(x, str) or y == 0:
        return F32.encode(exact.NINF if negative else exact.INF)
    if isinstance(y, str):
        return F32.encode(Fraction(0), "rn", negative)
    return F32.encode(x / y, "rn", negative)


def assert_nearest_root(value: Fraction, code: int) -> None:
    """The root lies between the midpoints to the neighbours of `code`."""
    here = F32.magnitude(code)
    below = (F32.magnitude(code - 1) + here) / 2 if code else here
    above = (F32.magnitude(code + 1) + here) / 2
    assert below**2 <= value <= above**2


def test_f64() -> None:
    a, b, c = codes(F64, 24, 300), codes(F64, 25, 300), codes(F64, 26, 300)
    text = "add.f64 {o0}, {i0}, {i1}; mul.f64 {o1}, {i0}, {i1}; fma.rn.f64 {o2}, {i0}, {i1}, {i2};"
    found = run_op(text, [a, b, c], ["u8"] * 3)
    for x, y, z, *row in zip(*(v.tolist() for v in (a, b, c, *found)), strict=True):
        wanted = exact.add(F64, x, y), exact.multiply(F64, x, y), exact.fma(F64, x, y, z)
        for result, expected in zip(row, wanted, strict=True):
            same = F64.decode(result) == exact.NAN == F64.decode(expected)
            assert same or result == expected, (hex(x), hex(y), hex(z))


FUNCTIONS: dict[str, Callable[[float], float]] = {
    "ex2.approx": np.exp2,
    "lg2.approx": np.log2,
    "rcp.approx": lambda x: 1 / x,
    "rsqrt.approx": lambda x: 1 / np.sqrt(x),
    "sqrt.approx": np.sqrt,
    "tanh.approx": np.tanh,
    "sin.approx": np.sin,
    "cos.approx": np.cos,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    values = np.linspace(0.01, 6.0, 400, dtype=np.float32)
    (found,) = run_op(f"{name}.f32 {{o0}}, {{i0}};", [values], ["f4"])
    wanted = FUNCTIONS[name](values.astype(np.float64))  # type: ignore[arg-type]
    assert np.abs(found - wanted).max() <= 2.0**-23 * np.abs(wanted).max()


def test_functions_of_special_values() -> None:
    inf, nan = np.float32(np.inf), np.float32(np.nan)
    values = np.array([0.0, -0.0, 1.0, inf, -inf, nan, -1.0], np.float32)
    text = "ex2.approx.f32 {o0}, {i0}; lg2.approx.f32 {o1}, {i0}; rcp.approx.f32 {o2}, {i0};"
    text += "rsqrt.approx.f32 {o3}, {i0}; tanh.approx.f32 {o4}, {i0};"
    found = run_op(text, [values], ["f4"] * 5)
    table = [
        [1, 1, 2, inf, 0, nan, 0.5],
        [-inf, -inf, 0, inf, nan, nan, nan],
        [inf, -inf, 1, 0, -0.0, nan, -1],
        [inf, -inf, 1, 0, nan, nan, nan],
        [0, -0.0, np.tanh(1), 1, -1, nan, -np.tanh(1)],
    ]
    for result, wanted in zip(found, table, strict=True):
        expected = np.array(wanted, np.float32)
        np.testing.assert_array_equal(result, expected)
        real = ~np.isnan(expected)
        assert np.array_equal(np.signbit(result[real]), np.signbit(expected[real]))


def test_packed_functions() -> None:
    values = np.linspace(-4, 4, 400).astype(np.float16)
    text = "ex2.approx.f16x2 {o0}, {i0}; tanh.approx.f16x2 {o1}, {i0};"
    power, tanh = run_op(text, [values.view(np.uint32)], ["u4", "u4"])
    wide = values.astype(np.float64)
    assert np.array_equal(power.view(np.float16), np.exp2(wide).astype(np.float16))
    assert np.array_equal(tanh.view(np.float16), np.tanh(wide).astype(np.float16))


def test_sign_operations() -> None:
    a, b = codes(F32, 27), codes(F32, 28)
    text = "neg.f32 {o0}, {i0}; abs.f32 {o1}, {i0}; copysign.f32 {o2}, {i0}, {i1};"
    neg, absolute, signed = run_op(text, [a, b], ["u4"] * 3)
    top = np.uint32(1 << 31)
    assert np.array_equal(neg, without_nan(F32, a, a ^ top))
    assert np.array_equal(absolute, without_nan(F32, a, a & ~top))
    assert np.array_equal(signed, (a & top) | (b & ~top))


def test_literals_of_packed_functions() -> None:
    values = np.linspace(-4, 4, 400).astype(np.float16)
    text = (
        "sub.f16x2 {o0}, {i0}, 0x40003c00; fma.rn.f16x2 {o1}, {i0}, 0x40003c00, {i0};"
        "max.f16x2 {o2}, {i0}, 0x40003c00; add.f16x2 {o3}, 0x40003c00, 0x40003c00;"
    )
    found = run_op(text, [values.view(np.uint32)], ["u4"] * 4)
    pair = np.tile(np.array([1, 2], np.float16), 200)
    wanted = [values - pair, values * pair + values, np.maximum(values, pair), pair + pair]
    for result, expected in zip(found, wanted, strict=True):
        assert np.array_equal(result.view(np.float16), expected)
