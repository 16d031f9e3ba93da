"""Integer opcodes against Python's integers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from .harness import run_op, sample_integers

N = 300


def signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def truncated(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def both(fn: Callable[[int, int], int]) -> Callable[[int, int, int], int]:
    return lambda a, b, bits: fn(a, b)


BINARY: dict[str, Callable[[int, int, int], int]] = {
    "add": both(lambda a, b: a + b),
    "sub": both(lambda a, b: a - b),
    "mul.lo": both(lambda a, b: a * b),
    "mul.hi": lambda a, b, bits: (a * b) >> bits,
    "min": both(min),
    "max": both(max),
    "div": lambda a, b, bits: truncated(a, b) if b else -1,
    "rem": lambda a, b, bits: a - b * truncated(a, b) if b else a,
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("kind", ["u16", "s16", "u32", "s32", "u64", "s64"])
def test_binary(name: str, kind: str) -> None:
    bits = int(kind[1:])
    a, b = sample_integers(bits, N, 1), sample_integers(bits, N, 2)
    if name in ("div", "rem"):
        b[b == 0] = 3
    (result,) = run_op(f"{name}.{kind} {{o0}}, {{i0}}, {{i1}};", [a, b], [a.dtype])
    for x, y, z in zip(a.tolist(), b.tolist(), result.tolist(), strict=True):
        p, q = (signed(x, bits), signed(y, bits)) if kind[0] == "s" else (x, y)
        assert z == BINARY[name](p, q, bits) % (1 << bits), (x, y)


@pytest.mark.parametrize("kind", ["u16", "s16", "u32", "s32"])
def test_wide_products(kind: str) -> None:
    bits = int(kind[1:])
    a, b = sample_integers(bits, N, 3), sample_integers(bits, N, 4)
    c = sample_integers(2 * bits, N, 5)
    (product,) = run_op(f"mul.wide.{kind} {{o0}}, {{i0}}, {{i1}};", [a, b], [c.dtype])
    (total,) = run_op(f"mad.wide.{kind} {{o0}}, {{i0}}, {{i1}}, {{i2}};", [a, b, c], [c.dtype])
    for x, y, z, p, t in zip(*(v.tolist() for v in (a, b, c, product, total)), strict=True):
        exact = signed(x, bits) * signed(y, bits) if kind[0] == "s" else x * y
        assert p == exact % (1 << 2 * bits)
        assert t == (exact + z) % (1 << 2 * bits)


def test_unary() -> None:
    a = sample_integers(32, N, 6)
    text = "neg.s32 {o0}, {i0}; abs.s32 {o1}, {i0}; not.b32 {o2}, {i0}; cnot.b32 {o3}, {i0};"
    neg, absolute, inverted, zero = run_op(text, [a], ["u4"] * 4)
    for row in zip(*(v.tolist() for v in (a, neg, absolute, inverted, zero)), strict=True):
        x = row[0]
        assert row[1] == -x % 2**32
        assert row[2] == abs(signed(x, 32)) % 2**32
        assert row[3] == x ^ 0xFFFFFFFF
        assert row[4] == (x == 0)


@pytest.mark.parametrize("bits", [32, 64])
def test_counting(bits: int) -> None:
    a = sample_integers(bits, N, 7)
    text = f"popc.b{bits} {{o0}}, {{i0}}; clz.b{bits} {{o1}}, {{i0}}; brev.b{bits} {{o2}}, {{i0}};"
    text += f"bfind.u{bits} {{o3}}, {{i0}}; bfind.s{bits} {{o4}}, {{i0}};"
    text += f"bfind.shiftamt.u{bits} {{o5}}, {{i0}};"
    results = run_op(text, [a], ["u4", "u4", a.dtype, "u4", "u4", "u4"])
    for x, *found in zip(a.tolist(), *(r.tolist() for r in results), strict=True):
        positive = x ^ ((1 << bits) - 1) if x >> (bits - 1) else x
        assert found[0] == bin(x).count("1")
        assert found[1] == bits - x.bit_length()
        assert found[2] == int(f"{x:0{bits}b}"[::-1], 2)
        assert found[3] == (x.bit_length() - 1) % 2**32
        assert found[4] == (positive.bit_length() - 1) % 2**32
        assert found[5] == (bits - x.bit_length() if x else 2**32 - 1)


@pytest.mark.parametrize("kind", ["b16", "b32", "b64"])
def test_logic(kind: str) -> None:
    bits = int(kind[1:])
    a, b = sample_integers(bits, N, 8), sample_integers(bits, N, 9)
    text = "".join(
        f"{n}.{kind} {{o{i}}}, {{i0}}, {{i1}};" for i, n in enumerate(("and", "or", "xor"))
    )
    found = run_op(text, [a, b], [a.dtype] * 3)
    for result, expected in zip(found, (a & b, a | b, a ^ b), strict=True):
        assert np.array_equal(result, expected)


@pytest.mark.parametrize("kind", ["b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64"])
def test_shifts(kind: str) -> None:
    bits = int(kind[1:])
    a, amount = sample_integers(bits, N, 10), sample_integers(32, N, 11) % np.uint32(bits + 9)
    amount[:5] = [2**31, 2**32 - 1, 64, 32, 16]
    name = "shl" if kind[0] == "b" else "shr"
    (result,) = run_op(f"{name}.{kind} {{o0}}, {{i0}}, {{i1}};", [a, amount], [a.dtype])
    fixed = {
        n: run_op(f"{name}.{kind} {{o0}}, {{i0}}, {n};", [a], [a.dtype])[0] for n in (0, 3, 15, 70)
    }
    for i, (x, n, z) in enumerate(zip(a.tolist(), amount.tolist(), result.tolist(), strict=True)):
        for count, found in ((n, z), *((k, int(v[i])) for k, v in fixed.items())):
            count = min(count, 1000)
            value = signed(x, bits) if kind[0] == "s" else x
            expected = value << count if name == "shl" else value >> count
            assert found == expected % (1 << bits), (x, count)


@pytest.mark.parametrize("mode", ["wrap", "clamp"])
def test_funnel_shifts(mode: str) -> None:
    a, b, n = sample_integers(32, N, 12), sample_integers(32, N, 13), sample_integers(32, N, 14)
    text = f"shf.l.{mode}.b32 {{o0}}, {{i0}}, {{i1}}, {{i2}};"
    text += f"shf.r.{mode}.b32 {{o1}}, {{i0}}, {{i1}}, {{i2}};"
    left, right = run_op(text, [a, b, n], ["u4", "u4"])
    for x, y, k, p, q in zip(*(v.tolist() for v in (a, b, n, left, right)), strict=True):
        count = k & 31 if mode == "wrap" else min(k, 32)
        wide = y << 32 | x
        assert p == (wide << count) >> 32 & 0xFFFFFFFF
        assert q == wide >> count & 0xFFFFFFFF


def test_every_lop3_table() -> None:
    a, b, c = (np.array([v], np.uint32) for v in (0xF0, 0xCC, 0xAA))
    for first in range(0, 256, 32):
        text = "".join(
            f"lop3.b32 {{o{i}}}, {{i0}}, {{i1}}, {{i2}}, {first + i};" for i in range(32)
        )
        for table, result in enumerate(run_op(text, [a, b, c], ["u4"] * 32), first):
            assert int(result[0]) & 0xFF == table


def test_lop3_on_words() -> None:
    a, b, c = (sample_integers(32, N, seed) for seed in (15, 16, 17))
    and_or, mixed = run_op(
        "lop3.b32 {o0}, {i0}, {i1}, {i2}, 0xEA; lop3.b32 {o1}, {i0}, {i1}, {i2}, 0x1D;",
        [a, b, c],
        ["u4", "u4"],
    )
    assert np.array_equal(and_or, (a & b) | c)
    expected = np.zeros_like(a)
    for index in range(8):
        if 0x1D >> index & 1:
            terms = [x if index >> s & 1 else ~x for x, s in ((a, 2), (b, 1), (c, 0))]
            expected |= terms[0] & terms[1] & terms[2]
    assert np.array_equal(mixed, expected)


def permuted(a: int, b: int, selector: int) -> int:
    octets = [(b << 32 | a) >> (8 * i) & 255 for i in range(8)]
    result = 0
    for i in range(4):
        nibble = selector >> (4 * i) & 15
        value = octets[nibble & 7]
        if nibble & 8:
            value = 255 if value & 128 else 0
        result |= value << (8 * i)
    return result


def test_prmt() -> None:
    a, b, s = sample_integers(32, N, 18), sample_integers(32, N, 19), sample_integers(32, N, 20)
    text = "prmt.b32 {o0}, {i0}, {i1}, {i2}; prmt.b32 {o1}, {i0}, {i1}, 0x5410;"
    text += "prmt.b32 {o2}, {i0}, {i1}, 0xBA98; prmt.b32 {o3}, {i0}, 0, 0x4341;"
    found = run_op(text, [a, b, s], ["u4"] * 4)
    for x, y, z, *row in zip(*(v.tolist() for v in (a, b, s, *found)), strict=True):
        assert row[0] == permuted(x, y, z)
        assert row[1] == permuted(x, y, 0x5410)
        assert row[2] == permuted(x, y, 0xBA98)
        assert row[3] == permuted(x, 0, 0x4341)


MODES: dict[str, Callable[[int], list[int]]] = {
    "f4e": lambda n: [n, n + 1, n + 2, n + 3],
    "b4e": lambda n: [n, (n - 1) % 8, (n - 2) % 8, (n - 3) % 8],
    "rc8": lambda n: [n] * 4,
    "ecl": lambda n: [max(n, i) for i in range(4)],
    "ecr": lambda n: [min(n, i) for i in range(4)],
    "rc16": lambda n: [0, 1, 0, 1] if n % 2 == 0 else [2, 3, 2, 3],
}


@pytest.mark.parametrize("mode", MODES)
def test_prmt_modes(mode: str) -> None:
    a, b, s = sample_integers(32, N, 21), sample_integers(32, N, 22), sample_integers(32, N, 23)
    (result,) = run_op(f"prmt.b32.{mode} {{o0}}, {{i0}}, {{i1}}, {{i2}};", [a, b, s], ["u4"])
    for x, y, z, found in zip(*(v.tolist() for v in (a, b, s, result)), strict=True):
        selector = sum(place << (4 * i) for i, place in enumerate(MODES[mode](z & 3)))
        assert found == permuted(x, y, selector)


@pytest.mark.parametrize("kind", ["u32", "s32", "u64", "s64"])
def test_bit_field_extract(kind: str) -> None:
    bits = int(kind[1:])
    a = sample_integers(bits, N, 24)
    start, length = (
        sample_integers(32, N, 25) % np.uint32(80),
        sample_integers(32, N, 26) % np.uint32(80),
    )
    start[:3], length[:3] = [256 + 4, 8, 255], [8, 256 + 5, 255]
    (result,) = run_op(f"bfe.{kind} {{o0}}, {{i0}}, {{i1}}, {{i2}};", [a, start, length], [a.dtype])
    for x, p, n, found in zip(*(v.tolist() for v in (a, start, length, result)), strict=True):
        assert found == manual_bfe(x, p & 255, n & 255, bits, kind[0] == "s"), (x, p, n)


def manual_bfe(a: int, start: int, length: int, bits: int, is_signed: bool) -> int:
    """The loop of the manual."""
    msb = bits - 1
    sign = 0 if not is_signed or length == 0 else a >> min(start + length - 1, msb) & 1
    result = 0
    for i in range(bits):
        inside = i < length and start + i <= msb
        result |= (a >> (start + i) & 1 if inside else sign) << i
    return result


@pytest.mark.parametrize("bits", [32, 64])
def test_bit_field_insert(bits: int) -> None:
    a, b = sample_integers(bits, N, 27), sample_integers(bits, N, 28)
    start, length = (
        sample_integers(32, N, 29) % np.uint32(80),
        sample_integers(32, N, 30) % np.uint32(80),
    )
    (result,) = run_op(
        f"bfi.b{bits} {{o0}}, {{i0}}, {{i1}}, {{i2}}, {{i3}};", [a, b, start, length], [a.dtype]
    )
    for x, y, p, n, found in zip(*(v.tolist() for v in (a, b, start, length, result)), strict=True):
        expected = y
        for i in range(n):
            if p + i < bits:
                expected = expected & ~(1 << (p + i)) | (x >> i & 1) << (p + i)
        assert found == expected


def test_dot_products_and_sad() -> None:
    a, b, c = (sample_integers(32, N, seed) for seed in (31, 32, 33))
    text = "dp4a.s32.s32 {o0}, {i0}, {i1}, {i2}; dp4a.u32.s32 {o1}, {i0}, {i1}, {i2};"
    text += "dp2a.lo.s32.u32 {o2}, {i0}, {i1}, {i2}; dp2a.hi.u32.u32 {o3}, {i0}, {i1}, {i2};"
    text += "sad.s32 {o4}, {i0}, {i1}, {i2};"
    found = run_op(text, [a, b, c], ["u4"] * 5)
    for x, y, z, *row in zip(*(v.tolist() for v in (a, b, c, *found)), strict=True):
        p, q = ([v >> (8 * i) & 255 for i in range(4)] for v in (x, y))
        half = [x & 0xFFFF, x >> 16]
        assert (
            row[0]
            == (z + sum(signed(i, 8) * signed(j, 8) for i, j in zip(p, q, strict=True))) % 2**32
        )
        assert row[1] == (z + sum(i * signed(j, 8) for i, j in zip(p, q, strict=True))) % 2**32
        assert row[2] == (z + signed(half[0], 16) * q[0] + signed(half[1], 16) * q[1]) % 2**32
        assert row[3] == (z + half[0] * q[2] + half[1] * q[3]) % 2**32
        assert row[4] == (z + abs(signed(x, 32) - signed(y, 32))) % 2**32


def test_saturating_and_packed_adds() -> None:
    a, b = sample_integers(32, N, 34), sample_integers(32, N, 35)
    text = "add.sat.s32 {o0}, {i0}, {i1}; sub.sat.s32 {o1}, {i0}, {i1}; add.u16x2 {o2}, {i0}, {i1};"
    text += "min.s16x2 {o3}, {i0}, {i1}; max.u16x2 {o4}, {i0}, {i1};"
    found = run_op(text, [a, b], ["u4"] * 5)
    for x, y, *row in zip(*(v.tolist() for v in (a, b, *found)), strict=True):
        p, q = signed(x, 32), signed(y, 32)
        assert signed(row[0], 32) == max(min(p + q, 2**31 - 1), -(2**31))
        assert signed(row[1], 32) == max(min(p - q, 2**31 - 1), -(2**31))
        low, high = (x + y) & 0xFFFF, ((x >> 16) + (y >> 16)) & 0xFFFF
        assert row[2] == high << 16 | low
        halves = [(x & 0xFFFF, y & 0xFFFF), (x >> 16, y >> 16)]
        least = [min(u, v, key=lambda h: signed(h, 16)) for u, v in halves]
        assert row[3] == least[1] << 16 | least[0]
        assert row[4] == max(halves[1]) << 16 | max(halves[0])
