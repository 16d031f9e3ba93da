"""Where a thread's elements lie in the bits of its words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Packing:
    """A bijection (local element, bit) -> bit of the thread's words, by its name."""

    name: str

    def positions(self, bits: int, count: int) -> NDArray[np.int64]:
        """Bit positions [count, bits]."""
        if self.name == "contiguous":
            return np.arange(count * bits, dtype=np.int64).reshape(count, bits)
        unit = _paired_unit(bits)
        size = len(unit)
        assert count % size == 0
        starts = np.arange(count // size)[:, None, None] * (size * bits)
        return (starts + unit).reshape(count, bits)


CONTIGUOUS = Packing("contiguous")
PAIRED = Packing("paired")


def pairs(bits: int) -> int:
    """P: pairs in a unit of the paired packing."""
    return 16 // gcd(bits, 16)


def unit_words(bits: int) -> int:
    """U: words in a unit of the paired packing."""
    return bits * pairs(bits) // 16


@cache
def _paired_unit(bits: int) -> NDArray[np.int64]:
    count = pairs(bits)
    unit = np.empty((2 * count, bits), np.int64)
    low = word = 0
    for width in (8, 4, 2, 1):
        if not bits & width:
            continue
        per_word = 16 // width
        for j in range(count):
            for h in range(2):
                start = 32 * (word + j // per_word) + 16 * h + (j % per_word) * width
                unit[2 * j + h, low : low + width] = start + np.arange(width)
        word += count // per_word
        low += width
    return unit


def pack_words(codes: NDArray[Any], bits: int, packing: Packing) -> NDArray[np.uint32]:
    """Codes [..., count] as words [..., count * bits / 32]."""
    count = codes.shape[-1]
    positions = packing.positions(bits, count)
    words = np.zeros((*codes.shape[:-1], -(-count * bits // 32)), np.uint32)
    for e in range(count):
        for i in range(bits):
            word, bit = divmod(int(positions[e, i]), 32)
            words[..., word] |= ((codes[..., e].astype(np.uint32) >> i) & 1) << bit
    return words


def unpack_words(words: NDArray[np.uint32], bits: int, packing: Packing) -> NDArray[np.uint8]:
    """Words [..., count * bits / 32] as codes [..., count]."""
    count = words.shape[-1] * 32 // bits
    positions = packing.positions(bits, count)
    codes = np.zeros((*words.shape[:-1], count), np.uint8)
    for e in range(count):
        for i in range(bits):
            word, bit = divmod(int(positions[e, i]), 32)
            codes[..., e] |= (((words[..., word] >> bit) & 1) << i).astype(np.uint8)
    return codes
