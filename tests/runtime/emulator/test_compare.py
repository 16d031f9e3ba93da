"""setp, set, selp, slct, testp and mov."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from .exact import F16, F32, NAN, Kind
from .harness import run_op, sample_floats, sample_integers

N = 300
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
}


def values(kind: Kind, codes: np.ndarray[Any, Any]) -> list[float]:
    table = {"inf": math.inf, "-inf": -math.inf, NAN: math.nan}
    decoded = (kind.decode(code) for code in codes.tolist())
    return [table[v] if isinstance(v, str) else float(v) for v in decoded]


@pytest.mark.parametrize("kind", ["u16", "s16", "u32", "s32", "u64", "s64"])
def test_integers(kind: str) -> None:
    bits = int(kind[1:])
    a, b = sample_integers(bits, N, 1), sample_integers(bits, N, 2)
    b[::3] = a[::3]
    text = "".join(f"setp.{n}.{kind} {{o{i}}}, {{i0}}, {{i1}};" for i, n in enumerate(ORDER))
    found = run_op(text, [a, b], [np.bool_] * 6)
    view = np.dtype(f"{'i' if kind[0] == 's' else 'u'}{bits // 8}")
    for result, compare in zip(found, ORDER.values(), strict=True):
        wanted = [
            compare(x, y) for x, y in zip(a.view(view).tolist(), b.view(view).tolist(), strict=True)
        ]
        assert result.tolist() == wanted


def test_unsigned_names() -> None:
    a, b = sample_integers(32, N, 3), sample_integers(32, N, 4)
    b[::3] = a[::3]
    text = "".join(
        f"setp.{n}.u32 {{o{i}}}, {{i0}}, {{i1}};" for i, n in enumerate(("lo", "ls", "hi", "hs"))
    )
    found = run_op(text, [a, b], [np.bool_] * 4)
    for result, wanted in zip(found, (a < b, a <= b, a > b, a >= b), strict=True):
        assert np.array_equal(result, wanted)


@pytest.mark.parametrize(("name", "kind"), [("f32", F32), ("f16", F16)])
def test_floats(name: str, kind: Kind) -> None:
    a = sample_floats(kind.exponent, kind.mantissa, N, 5)
    b = sample_floats(kind.exponent, kind.mantissa, N, 6)
    b[::3] = a[::3]
    names = [*ORDER, "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"]
    text = "".join(f"setp.{n}.{name} {{o{i}}}, {{i0}}, {{i1}};" for i, n in enumerate(names))
    found = run_op(text, [a, b], [np.bool_] * len(names))
    for compare, result in zip(names, found, strict=True):
        for x, y, r in zip(values(kind, a), values(kind, b), result.tolist(), strict=True):
            unordered = math.isnan(x) or math.isnan(y)
            if compare in ("num", "nan"):
                wanted = unordered == (compare == "nan")
            elif compare in ORDER:
                wanted = not unordered and ORDER[compare](x, y)
            else:
                wanted = unordered or ORDER[compare[:2]](x, y)
            assert r == wanted, (compare, x, y)


def test_boolean_operators_and_pairs() -> None:
    a, b = sample_integers(32, N, 7), sample_integers(32, N, 8)
    p = sample_integers(16, N, 9) % 2 == 1
    text = "setp.lt.and.u32 {o0}|{o1}, {i0}, {i1}, {i2}; setp.lt.or.u32 {o2}, {i0}, {i1}, !{i2};"
    text += "setp.lt.xor.u32 {o3}|{o4}, {i0}, {i1}, {i2};"
    found = run_op(text, [a, b, p], [np.bool_] * 5)
    less = a < b
    wanted = (less & p, ~less & p, less | ~p, less ^ p, ~less ^ p)
    for result, expected in zip(found, wanted, strict=True):
        assert np.array_equal(result, expected)


def test_packed_comparison() -> None:
    a, b = sample_floats(5, 10, 2 * N, 10), sample_floats(5, 10, 2 * N, 11)
    low, high = run_op(
        "setp.lt.f16x2 {o0}|{o1}, {i0}, {i1};",
        [a.view(np.uint32), b.view(np.uint32)],
        [np.bool_] * 2,
    )
    with np.errstate(invalid="ignore"):
        wanted = a.view(np.float16) < b.view(np.float16)
    assert np.array_equal(low, wanted[0::2])
    assert np.array_equal(high, wanted[1::2])


def test_predicate_logic() -> None:
    p, q = (sample_integers(16, N, seed) % 2 == 1 for seed in (12, 13))
    text = "and.pred {o0}, {i0}, {i1}; or.pred {o1}, {i0}, {i1}; xor.pred {o2}, {i0}, {i1};"
    text += "not.pred {o3}, {i0}; mov.pred {o4}, {i0};"
    found = run_op(text, [p, q], [np.bool_] * 5)
    for result, wanted in zip(found, (p & q, p | q, p ^ q, ~p, p), strict=True):
        assert np.array_equal(result, wanted)


def test_selection() -> None:
    a, b = sample_integers(32, N, 14), sample_integers(32, N, 15)
    c, p = sample_floats(8, 23, N, 16), sample_integers(16, N, 17) % 2 == 1
    text = "selp.b32 {o0}, {i0}, {i1}, {i3}; slct.u32.s32 {o1}, {i0}, {i1}, {i2};"
    text += "slct.u32.f32 {o2}, {i0}, {i1}, {i2}; selp.b32 {o3}, 7, {i1}, {i3};"
    found = run_op(text, [a, b, c, p], ["u4"] * 4)
    at_least = np.array([v >= 0 for v in values(F32, c)])
    wanted = (
        np.where(p, a, b),
        np.where(c.view(np.int32) >= 0, a, b),
        np.where(at_least, a, b),
        np.where(p, 7, b),
    )
    for result, expected in zip(found, wanted, strict=True):
        assert np.array_equal(result, expected)


def test_set() -> None:
    a, b = sample_integers(32, N, 18), sample_integers(32, N, 19)
    text = "set.lt.u32.s32 {o0}, {i0}, {i1}; set.gt.f32.u32 {o1}, {i0}, {i1};"
    words, reals = run_op(text, [a, b], ["u4", "f4"])
    assert np.array_equal(words, np.where(a.view("i4") < b.view("i4"), 0xFFFFFFFF, 0))
    assert np.array_equal(reals, (a > b).astype("f4"))


def test_testp() -> None:
    a = sample_floats(8, 23, N, 20)
    names = ["finite", "infinite", "number", "notanumber", "normal", "subnormal"]
    text = "".join(f"testp.{n}.f32 {{o{i}}}, {{i0}};" for i, n in enumerate(names))
    found = run_op(text, [a], [np.bool_] * 6)
    exponent, mantissa = a >> 23 & 255, a & 0x7FFFFF
    top = exponent == 255
    wanted = (
        ~top,
        top & (mantissa == 0),
        ~(top & (mantissa != 0)),
        top & (mantissa != 0),
        ~top & ((exponent != 0) | (mantissa == 0)),
        (exponent == 0) & (mantissa != 0),
    )
    for result, expected in zip(found, wanted, strict=True):
        assert np.array_equal(result, expected)


def test_packing_and_unpacking() -> None:
    a, b = sample_integers(32, N, 21), sample_integers(32, N, 22)
    text = """mov.b64 %rd10, {{{i0}, {i1}}}; mov.b64 {{{o0}, {o1}}}, %rd10;
      mov.b32 {{%h1, %h2}}, {i0}; mov.b32 {o2}, {{%h2, %h1}}; mov.b64 {{_, {o3}}}, %rd10;
      mov.b64 %rd11, {{%h1, %h2, %h2, %h1}}; mov.b64 {{{o4}, _}}, %rd11;"""
    found = run_op(text, [a, b], ["u4"] * 5)
    swapped = (a >> np.uint32(16)) | (a << np.uint32(16))
    for result, wanted in zip(found, (a, b, swapped, b, a), strict=True):
        assert np.array_equal(result, wanted)


def test_literals() -> None:
    one = np.zeros(1, np.uint32)
    text = """mov.b32 {o0}, 0f3FC00000; mov.f32 {o1}, 1.5; mov.u32 {o2}, 0x10; mov.s32 {o3}, -1;
      mov.u32 {o4}, 010; mov.u32 {o5}, 0b101; mov.u32 {o6}, 7U; mov.f64 {o7}, 0d3FF8000000000000;
      mov.b32 {o8}, {i0};"""
    found = run_op(text, [one], ["u4"] * 7 + ["u8", "u4"])
    wanted = [0x3FC00000, 0x3FC00000, 16, 2**32 - 1, 8, 5, 7, 0x3FF8000000000000, 0]
    assert [int(r[0]) for r in found] == wanted
