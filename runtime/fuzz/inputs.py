"""Parameters: arrays of drawn values with views of them, and scalars."""

from __future__ import annotations

from math import prod
from random import Random
from typing import Any

import numpy as np

from tileloom.vm.dtypes import Dtype, dtype, pack_bits
from tileloom.vm.expr import Const, Expr, Ref
from tileloom.vm.instructions.memory import GlobalView
from tileloom.vm.ir import Value
from tileloom.vm.types import GlobalType, row_major_strides

from .draft import Bytes, Draft, Scalar
from .known import Known, anything, digits, least_exponent, of_integers

_WORDS = ("u8", "i8", "u16", "i16", "u32", "i32", "i64", "u64")
_FLOATS = ("f16", "bf16", "f32", "f16", "f32", "tf32", "f64")
_CODES = tuple(f"u{b}" for b in range(1, 8)) + tuple(f"i{b}" for b in range(2, 8))
_SMALL = (
    "e4m3", "e5m2", "e2m1", "e3m2", "e2m3", "e3m0", "e1m2", "e4m0", "e5m1", "e6m1", "e3m4",
    "b1", "b2", "b3", "b4", "b8", "nf4", "e7m0", "e2m0",
)  # fmt: skip
_ODD = ("u12", "i11", "u20", "i24", "u33", "i48", "u9")


FAMILIES = ("float", "word", "code", "small", "bool", "odd")
_BY_FAMILY = {
    "float": _FLOATS, "word": _WORDS, "code": _CODES, "small": _SMALL, "bool": ("bool",),
    "odd": _ODD,
}  # fmt: skip
USUAL = (36, 32, 14, 14, 2, 2)


def draw_dtype(draft: Draft) -> Dtype:
    """Any dtype, those of the program's theme more often."""
    family = draft.random.choices(FAMILIES, draft.families)[0]
    return dtype(draft.random.choice(_BY_FAMILY[family]))


def draw_codes(draft: Draft, element: Dtype, count: int, style: str = "") -> tuple[Any, Known]:
    """Codes of `count` elements, and what is known of them.

    `style`: "grid" (few digits, exact sums), "free" (normally distributed), "codes" (any, with
    infinities and NaNs), "ties" (where narrower types round), or "" for a drawn one.
    """
    random = draft.random
    source = np.random.default_rng(random.getrandbits(32))
    if element.kind in ("uint", "int", "bipolar", "bool", "codebook"):
        return _draw_integers(random, source, element, count)
    small = element.bits <= 8
    if not style:
        weights = (2, 6, 1, 1) if draft.free else (6, 2, 2, 1)
        style = random.choices(("grid", "free", "codes", "ties"), weights)[0]
    if style == "codes" or (small and style != "grid"):
        codes = source.integers(0, 1 << element.bits, count, np.uint64, endpoint=False)
        if element.name == "tf32":
            codes &= np.uint64(0xFFFFE000)
        if small and element.specials != "none":
            values = element.decode(codes.astype(element.code_dtype))
            codes = np.where(np.isfinite(values), codes, np.uint64(1))
        return codes, _known_codes(element, codes)
    if style == "ties":
        return _draw_ties(source, element, count)
    if style == "free":
        scale = random.choice((0.25, 1.0, 1.0, 4.0))
        values = np.clip(source.normal(0, scale, count), -8, 8)
        return element.encode(values), Known(-8.25, 8.25, None)
    return _draw_grid(random, source, element, count)


def _draw_ties(source: np.random.Generator, element: Dtype, count: int) -> tuple[Any, Known]:
    """Values at, just above and just below the middle between two neighbours of a narrower type."""
    digits_kept = source.integers(1, 11, count)
    steps = 2.0 ** (source.integers(-8, 10, count) - digits_kept)
    values = (source.integers(-(2 << 10), 2 << 10, count) + 0.5) * steps
    nudges = source.choice([0.0, 1.0, -1.0], count) * 2.0 ** -(element.mantissa_bits - 1)
    values = np.clip(values * (1 + nudges), -60000, 60000)
    return element.encode(values), Known(-61000, 61000, None)


def _draw_grid(
    random: Random, source: np.random.Generator, element: Dtype, count: int
) -> tuple[Any, Known]:
    most = min(2 ** digits(element) - 1, random.choice((1, 2, 3, 7, 15, 63, 255, 2000)))
    grain = random.choice((0, 0, -1, -2, -3, 1))
    limit = float(element.max_finite)
    while most * 2.0**grain > limit or grain < least_exponent(element):
        most, grain = max(1, most // 2), max(min(grain, 0), least_exponent(element))
        if most == 1:
            grain = max(least_exponent(element), int(np.floor(np.log2(limit))) if limit < 1 else 0)
            break
    values = source.integers(-most, most, count, endpoint=True) * 2.0**grain
    top = most * 2.0**grain
    return element.encode(values), Known(-top, top, grain)


def _draw_integers(
    random: Random, source: np.random.Generator, element: Dtype, count: int
) -> tuple[Any, Known]:
    codes = source.integers(0, (1 << element.bits) - 1, count, np.uint64, endpoint=True)
    if element.kind == "codebook":
        return codes, anything(element)
    if element.kind in ("uint", "int") and element.bits > 4 and random.random() < 0.5:
        low = 0 if element.kind == "uint" else -9
        numbers = source.integers(low, 9, count, endpoint=True)
        return element.encode(numbers), Known(low, 9, 0)
    return codes, of_integers(element)


def _known_codes(element: Dtype, codes: Any) -> Known:
    known = anything(element)
    if element.bits > 8:
        return known
    low, high = float(element.min_finite), float(element.max_finite)
    return Known(low, high, least_exponent(element))


def extent_of(draft: Draft, number: int, runtime: float = 0.6) -> Expr:
    """An extent of that value: a constant, or a run-time scalar."""
    if draft.random.random() >= runtime:
        return Const(number)
    given = {parameter.value for parameter in draft.parameters}
    for scalar in draft.scopes[0].scalars:
        is_given = isinstance(scalar.expr, Ref) and scalar.expr.value in given
        if is_given and scalar.low == scalar.high == number and scalar.dtype.name in ("i32", "i64"):
            return scalar.expr
    kind = "i64" if draft.random.random() < 0.15 else "i32"
    return draft.scalar_parameter(draft.name("n"), dtype(kind), number).expr


def packed(element: Dtype, codes: Any) -> Bytes:
    """Codes as packed bytes, as pointers to them take."""
    return pack_bits(np.asarray(codes), element.bits)


def draw_view(
    draft: Draft, element: Dtype, extents: tuple[int, ...], style: str = ""
) -> tuple[Value, Known]:
    """A view of an input of these extents: dense, padded or transposed, made at the function's
    head."""
    random = draft.random
    shape = tuple(extent_of(draft, n) for n in extents)
    strides = row_major_strides(shape)
    numbers = [prod(extents[d + 1 :]) for d in range(len(extents))]
    kind = random.random()
    if kind < 0.15 and len(extents) > 1:
        pad = random.choice((1, 2, 3, 8))
        numbers = [n * (extents[-1] + pad) // extents[-1] for n in numbers[:-1]] + [1]
        strides = (*(extent_of(draft, n) for n in numbers[:-1]), Const(1))
    elif kind < 0.25 and len(extents) > 1:
        numbers = [prod(extents[:d]) for d in range(len(extents))]
        strides = tuple(extent_of(draft, n) for n in numbers)
    count = 1 + sum((e - 1) * s for e, s in zip(extents, numbers, strict=True))
    codes, known = draw_codes(draft, element, count, style)
    pointer = draft.pointer("x", element, packed(element, codes))
    annotation = GlobalType(element, shape, strides)
    alignment = random.choice((16, 16, 16, 16, 8, 4, 2, 1))
    return at_head(draft, pointer, annotation, alignment), known


def at_head(draft: Draft, pointer: Value, type_: GlobalType, alignment: int = 16) -> Value:
    """A view that is visible everywhere: it is made before the program's first statement."""
    value = Value(draft.name("g"), type_)
    view = GlobalView(pointer, alignment, result=value)
    draft.head(view)
    return value


def draw_scalars(draft: Draft) -> list[Scalar]:
    """Scalar parameters of several types."""
    random = draft.random
    made = []
    for _ in range(random.randint(1, 3)):
        kind = random.choices(
            ("i32", "i64", "u32", "i16", "u8", "i8", "u64", "f32", "f16", "bf16", "bool"),
            (8, 3, 2, 1, 1, 1, 1, 2, 1, 1, 1),
        )[0]
        element = dtype(kind)
        number: Any = random.choice((0, 1, 2, 3, 5, 7, 8, 13, 16, 31))
        if kind in ("i32", "i64", "i16", "i8") and random.random() < 0.3:
            number = -number
        if kind in ("i64", "u64") and random.random() < 0.4:
            number += random.choice((2**32, 3 * 2**33, 2**35 + 5))
        if element.is_float:
            number = random.choice((0.0, 1.0, -1.5, 2.0, 0.25, 3.0))
        if kind == "bool":
            number = random.random() < 0.5
        made.append(draft.scalar_parameter(draft.name("s"), element, number))
    return made
