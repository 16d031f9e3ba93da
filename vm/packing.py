"""Packings: where the bits of a thread's local elements lie in the thread's 32-bit words.

A packing maps (local element, code bit) to a bit of the thread's words one to one. There are two.

``contiguous`` puts element ``e`` of ``b`` bits at bits ``[e*b, e*b + b)``, least significant first.

``paired`` is made for decoding two elements by one 32-bit operation. Units of ``U`` words hold
``P`` pairs; the elements ``2j`` and ``2j + 1`` of a unit lie in the low and the high half of the
words, at the same places of the half, so that one mask picks both:

* 1, 2, 4, 8 bits: one word, pair ``j`` at bits ``[j*b, j*b + b)`` of each half.
* 3, 5, 6, 7 bits: a 16-bit half has room for ``16 // b`` whole fields; the bits left over in the
  words of a unit, its top bits, make up the remaining pairs, one word after the other. `pieces`
  says which bits go where. Few operations bring the left-over bits together, both in the ten bits
  that an f16 mantissa offers and in the seven of bf16: one packed tensor serves both.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[Any]
Words = npt.NDArray[np.uint32]


class PackingError(ValueError):
    """A packing that does not exist, or a number of elements that it cannot hold."""


@dataclass(frozen=True, slots=True)
class Piece:
    """`length` bits of a code, from `code_bit` on, at bit `bit` of both halves of `word`."""

    word: int
    bit: int
    length: int
    code_bit: int


def pairs(bits: int) -> int:
    """Pairs of elements in a unit of the paired packing."""
    return 16 // gcd(bits, 16)


def unit_words(bits: int) -> int:
    """32-bit words in a unit of the paired packing."""
    return bits * pairs(bits) // 16


@cache
def pieces(bits: int) -> tuple[tuple[Piece, ...], ...]:
    """The pieces of every pair of a paired unit; raises PackingError outside 1..8 bits."""
    if not 1 <= bits <= 8:
        raise PackingError(f"the paired packing holds elements of 1 to 8 bits, not {bits}")
    places = range(0, 16 - bits + 1, bits)
    fields = [(Piece(word, bit, bits, 0),) for word in range(unit_words(bits)) for bit in places]
    return (*fields, *_SPLIT_FIELDS.get(bits, ()))


# The pairs made of left-over bits. A word's left-over bits are its top bits, which a shift that
# is needed anyway, for the word's last whole field, also brings down.
_SPLIT_FIELDS: dict[int, tuple[tuple[Piece, ...], ...]] = {
    3: (tuple(Piece(word, 15, 1, word) for word in range(3)),),
    5: (tuple(Piece(word, 15, 1, word) for word in range(5)),),
    6: (
        (Piece(0, 12, 4, 0), Piece(1, 12, 2, 4)),
        (Piece(1, 14, 2, 0), Piece(2, 12, 4, 2)),
    ),
    7: (
        (Piece(0, 14, 2, 0), Piece(1, 14, 2, 2), Piece(2, 14, 2, 4), Piece(3, 14, 1, 6)),
        (Piece(3, 15, 1, 0), Piece(4, 14, 2, 1), Piece(5, 14, 2, 3), Piece(6, 14, 2, 5)),
    ),
}


@dataclass(frozen=True, slots=True)
class Packing:
    """A named packing; raises PackingError for an unknown name."""

    name: str = "contiguous"

    def __post_init__(self) -> None:
        if self.name not in ("contiguous", "paired"):
            raise PackingError(f"no packing is called `{self.name}`: contiguous, paired")

    def __str__(self) -> str:
        return self.name

    def granule(self, bits: int) -> int:
        """The number of elements that a thread's count must be a multiple of."""
        return 1 if self.name == "contiguous" else 2 * pairs(bits)

    def words(self, bits: int, count: int) -> int:
        """32-bit words that `count` elements of `bits` bits take."""
        self._check(bits, count)
        return -(-count * bits // 32)

    def positions(self, bits: int, count: int) -> npt.NDArray[np.int64]:
        """Bit numbers in the thread's words, [count, bits], of every element's code bits."""
        self._check(bits, count)
        if self.name == "contiguous":
            return np.arange(count * bits, dtype=np.int64).reshape(count, bits)
        return _paired_positions(bits, count)

    def _check(self, bits: int, count: int) -> None:
        granule = self.granule(bits)
        if self.name == "paired" and not 1 <= bits <= 8:
            raise PackingError(f"the paired packing holds elements of 1 to 8 bits, not {bits}")
        if count % granule:
            raise PackingError(
                f"the paired packing of {bits}-bit elements comes in units of {granule} elements:"
                f" {count} is not a multiple"
            )


CONTIGUOUS = Packing("contiguous")
PAIRED = Packing("paired")


def _paired_positions(bits: int, count: int) -> npt.NDArray[np.int64]:
    unit = np.empty((pairs(bits), 2, bits), dtype=np.int64)
    for pair, parts in enumerate(pieces(bits)):
        for part in parts:
            bit = np.arange(part.length)
            low = 32 * part.word + part.bit + bit
            unit[pair, 0, part.code_bit + bit] = low
            unit[pair, 1, part.code_bit + bit] = low + 16
    units = count // (2 * pairs(bits))
    starts = 32 * unit_words(bits) * np.arange(units, dtype=np.int64)
    return (starts[:, None, None] + unit.reshape(1, -1, bits)).reshape(count, bits)


def pack_words(codes: Codes, bits: int, packing: Packing) -> Words:
    """Pack unsigned codes [..., count] of at most 32 bits into uint32 words [..., words].

    Bits of a code above `bits` are ignored; bits of the last word beyond the last element are 0.
    """
    count = codes.shape[-1]
    num_words = packing.words(bits, count)
    lead = codes.shape[:-1]
    if codes.size == 0:
        return np.zeros((*lead, num_words), dtype=np.uint32)
    flat = codes.reshape(-1, count).astype(np.uint32, copy=False)
    words = _pack_paired if packing == PAIRED else _pack_contiguous
    return words(flat, bits, num_words).reshape(*lead, num_words)


def unpack_words(words: Words, bits: int, packing: Packing, count: int | None = None) -> Codes:
    """The inverse of `pack_words`: codes [..., count] of words [..., words].

    Codes are uint8 for at most 8 bits, uint32 above. Without a count, as many as the words hold.
    """
    if count is None:
        count = words.shape[-1] * 32 // bits
    num_words = packing.words(bits, count)
    if words.shape[-1] != num_words:
        raise PackingError(
            f"{count} elements of {bits} bits take {num_words} words, not {words.shape[-1]}"
        )
    if words.size == 0:
        return np.zeros((*words.shape[:-1], count), dtype=_code_type(bits))
    flat = words.reshape(-1, num_words).astype(np.uint32, copy=False)
    codes = _unpack_paired if packing == PAIRED else _unpack_contiguous
    return codes(flat, bits, count).reshape(*words.shape[:-1], count)


def _code_type(bits: int) -> type[np.uint8] | type[np.uint32]:
    return np.uint8 if bits <= 8 else np.uint32


def _pack_paired(codes: Words, bits: int, num_words: int) -> Words:
    rows = codes.shape[0]
    size, per_unit = unit_words(bits), pairs(bits)
    units = codes.reshape(rows, -1, per_unit, 2)
    words = np.zeros((rows, units.shape[1], size), dtype=np.uint32)
    for pair, parts in enumerate(pieces(bits)):
        both = (units[:, :, pair, 0] & np.uint32(2**bits - 1)) | (
            (units[:, :, pair, 1] & np.uint32(2**bits - 1)) << np.uint32(16)
        )
        for part in parts:
            mask = np.uint32(0x10001 * ((2**part.length - 1) << part.code_bit))
            words[:, :, part.word] |= _shifted(both & mask, part.bit - part.code_bit)
    return words.reshape(rows, num_words)


def _unpack_paired(words: Words, bits: int, count: int) -> Codes:
    rows = words.shape[0]
    size, per_unit = unit_words(bits), pairs(bits)
    units = words.reshape(rows, -1, size)
    codes = np.empty((rows, units.shape[1], per_unit, 2), dtype=np.uint8)
    for pair, parts in enumerate(pieces(bits)):
        both = np.zeros(units.shape[:2], dtype=np.uint32)
        for part in parts:
            mask = np.uint32(0x10001 * ((2**part.length - 1) << part.bit))
            both |= _shifted(units[:, :, part.word] & mask, part.code_bit - part.bit)
        codes[:, :, pair, 0] = both & np.uint32(0xFFFF)
        codes[:, :, pair, 1] = both >> np.uint32(16)
    return codes.reshape(rows, count)


def _shifted(values: Words, left: int) -> Words:
    return values << np.uint32(left) if left >= 0 else values >> np.uint32(-left)


def _pack_contiguous(codes: Words, bits: int, num_words: int) -> Words:
    """Element by element of a period: b/gcd words hold a whole number of elements."""
    rows, count = codes.shape
    size = bits // gcd(bits, 32)
    period = 32 * size // bits
    padded = np.zeros((rows, -(-count // period), period), dtype=np.uint32)
    padded.reshape(rows, -1)[:, :count] = codes
    padded &= np.uint32(2**bits - 1)
    words = np.zeros((rows, padded.shape[1], size), dtype=np.uint32)
    for element in range(period):
        word, bit = divmod(element * bits, 32)
        words[:, :, word] |= padded[:, :, element] << np.uint32(bit)
        if bit + bits > 32:
            words[:, :, word + 1] |= padded[:, :, element] >> np.uint32(32 - bit)
    return words.reshape(rows, -1)[:, :num_words]


def _unpack_contiguous(words: Words, bits: int, count: int) -> Codes:
    rows, num_words = words.shape
    size = bits // gcd(bits, 32)
    period = 32 * size // bits
    padded = np.zeros((rows, -(-num_words // size), size), dtype=np.uint32)
    padded.reshape(rows, -1)[:, :num_words] = words
    codes = np.empty((rows, padded.shape[1], period), dtype=_code_type(bits))
    for element in range(period):
        word, bit = divmod(element * bits, 32)
        field = padded[:, :, word] >> np.uint32(bit)
        if bit + bits > 32:
            field |= padded[:, :, word + 1] << np.uint32(32 - bit)
        codes[:, :, element] = field & np.uint32(2**bits - 1)
    return codes.reshape(rows, -1)[:, :count]
