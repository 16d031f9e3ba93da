"""Operands of the recorded cases: numbers made by a hash, the edges of their type among them."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
COUNT = 10240
FORMATS = {"f16": (5, 10), "bf16": (8, 7), "f32": (8, 23), "f64": (11, 52)}


def hashed(seed: int, stream: int, count: int = COUNT) -> Array:
    """Uniform 64-bit numbers (splitmix64), the same in every version of everything."""
    with np.errstate(over="ignore"):
        start = ((seed * 1000003 + stream) << 20) % (1 << 64)
        state = np.arange(count, dtype=np.uint64) + np.uint64(start)
        state = state * np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))


def operand(kind: str, seed: int) -> Array:
    """A kind is u8 .. u64, `small:N` (below N), `pred`, or a float format or packed pair of one,
    with the style of `floats` before it, as in `near:f16x2`."""
    name, _, rest = kind.partition(":")
    if name == "pred":
        odd: Array = hashed(seed, 1) % np.uint64(2) == 1
        return odd
    if name == "small":
        return (hashed(seed, 1) % np.uint64(int(rest))).astype(np.uint32)
    style, kind = (name, rest) if rest else ("any", kind)
    if kind.endswith("x2"):
        pairs = [floats(kind[:-2], seed + part, style).astype(np.uint32) for part in (0, 1)]
        return pairs[0] | pairs[1] << np.uint32(16)
    if kind in FORMATS:
        return floats(kind, seed, style)
    return integers(int(kind[1:]), seed)


def integers(bits: int, seed: int) -> Array:
    """All lengths alike, with edges in a tenth of the places."""
    raw = hashed(seed, 1) >> np.uint64(64 - bits)
    raw >>= hashed(seed, 2) % np.uint64(bits)
    top = 1 << (bits - 1)
    edges = np.array(
        [0, 1, 2, 31, 32, 33, bits - 1, bits, top - 1, top, top + 1, 2 * top - 1, 2 * top - 2],
        np.uint64,
    )
    chosen = edges[(hashed(seed, 3) % np.uint64(len(edges))).astype(np.int64)]
    return np.where(hashed(seed, 4) % np.uint64(10) == 0, chosen, raw).astype(f"u{bits // 8}")


def floats(name: str, seed: int, style: str) -> Array:
    """Raw codes. `near`: magnitudes around one; `wide`: any finite code; `subnormal`: the lowest
    two exponents; `zero`: zeros and ones; `angle`: -pi to pi; `rare`: near, with an edge in 200;
    `any`: any code and near ones, many edges."""
    exponent, mantissa = FORMATS[name]
    bits = 1 + exponent + mantissa
    bias, sign = (1 << (exponent - 1)) - 1, 1 << (bits - 1)
    raw = hashed(seed, 1) >> np.uint64(64 - bits)
    choice = hashed(seed, 2)
    if style == "angle":
        turns = (hashed(seed, 1) >> np.uint64(11)).astype(np.float64) * 2.0**-53 - 0.5
        return (turns * 2 * np.pi).astype(np.float32).view(np.uint32)
    if style == "zero":
        few = np.array([0, 0, 0, sign, sign, sign, bias << mantissa, bias << mantissa | sign])
        return few[(choice % np.uint64(8)).astype(np.int64)].astype(f"u{bits // 8}")
    fields = {"near": (bias - 6, 13), "rare": (bias - 6, 13), "any": (bias - 6, 13)}
    fields |= {"wide": (0, (1 << exponent) - 1), "subnormal": (0, 2)}
    first, count = fields[style]
    field = np.uint64(first) + choice % np.uint64(count)
    chosen = field << np.uint64(mantissa) | raw & np.uint64(sign | (1 << mantissa) - 1)
    if style == "any":
        chosen = np.where(hashed(seed, 3) % np.uint64(2) == 0, chosen, raw)
    if style in ("any", "rare"):
        edge = hashed(seed, 5) % np.uint64(12 if style == "any" else 200) == 0
        chosen = np.where(edge, _edges(exponent, mantissa, seed), chosen)
    return chosen.astype(f"u{bits // 8}")


def _edges(exponent: int, mantissa: int, seed: int) -> Array:
    bias, sign = (1 << (exponent - 1)) - 1, 1 << (exponent + mantissa)
    infinity = ((1 << exponent) - 1) << mantissa
    edges = [0, 1, 2, (1 << mantissa) - 1, 1 << mantissa, infinity - 1, infinity, infinity + 1]
    edges += [bias << mantissa, sign - 1]
    table = np.array([*edges, *(edge | sign for edge in edges)], np.uint64)
    return table[(hashed(seed, 4) % np.uint64(len(table))).astype(np.int64)]
