"""Exhaustive search for e4m3 and e5m2 to bf16, infinities and NaNs included: a word, four elements.

Products with a power of two make numbers of the codes that stand for infinities and NaNs, so that
bf16 comes

* from bf16 patterns (`floats.search`), times a power of two, and at least an operation more where
  such codes have to be mended, which is left out here;
* or from f32, rounded and packed two at a time; and f32 from f16, a conversion each, which reads
  either half of a word;
* or f32 from a pattern of its own, times a power of two: at least two operations an element.

f16 is what the target's conversion makes of the two bytes of a half (e4m3), or what the word itself
(no operation), one permute (any two bytes, their signs, zeros) or one mask (any) makes of a pair
(e5m2). All of these are tried on all codes.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import floats
import numpy as np
from numpy.typing import NDArray

from tileloom.vm.dtypes import Dtype, f16

Table = NDArray[Any]
ELEMENTS = 4
OTHERS = np.arange(0, 256, 5, np.uint16)
PIECES = ("low", "high", "low sign", "high sign", "zero")


def search(source: Dtype) -> int:
    """The fewest slots of four elements."""
    patterns = floats.search(source, 7).best + ELEMENTS // 2
    packing, widening = ELEMENTS // 2, ELEMENTS
    converted = 2 if source.name == "e4m3" else ELEMENTS  # of a half each: the f16 of two pairs
    pairs = sum(_of_pair(source, pair) for pair in range(2))
    own_patterns = 2 * ELEMENTS
    return min(patterns, min(converted, pairs, own_patterns - widening) + widening + packing)


def _of_pair(source: Dtype, pair: int) -> int:
    """Operations that bring a pair to f16: 0 or 1, or more than it would ever pay."""
    own = np.repeat(np.arange(256, dtype=np.uint16), len(OTHERS))
    other = np.tile(OTHERS, 256)
    low, high = (own, other) if pair == 0 else (other, own)
    wanted = np.repeat(source.decode(np.arange(256)), len(OTHERS))
    word = low | high << 8
    if _is(word, wanted):
        return 0
    masks = any(_is(word & mask, wanted) for mask in _masks())
    moves = any(_is(_moved(low, high, *move), wanted) for move in product(PIECES, repeat=2))
    return 1 if masks or moves else ELEMENTS


def _is(halves: Table, wanted: Table) -> bool:
    return np.array_equal(f16.decode(halves), wanted, equal_nan=True)


def _masks() -> list[int]:
    """A mask keeps the sign, exponent and mantissa of an upper byte or a lower one, or drops it."""
    fields = (0x03, 0x7C, 0x80, 0x300, 0x7C00, 0x8000)
    chosen = product((0, 1), repeat=len(fields))
    return [sum(f for f, kept in zip(fields, each, strict=True) if kept) for each in chosen]


def _moved(low: Table, high: Table, upper: str, lower: str) -> Table:
    def byte(name: str) -> Table:
        if name == "zero":
            return np.zeros_like(low)
        source = low if name.startswith("low") else high
        return np.where(source & 0x80, 0xFF, 0).astype(np.uint16) if "sign" in name else source

    return byte(upper) << 8 | byte(lower)
