"""How weights of 1 to 8 bits become the bytes that tensor cores multiply by 8-bit activations.

Packing puts four codes into the four bytes of each word, at the same bits: a *quad*, four
neighbours along k, becomes one 32-bit register of the operand by shifts and masks of whole words.
What the bits of a code mean is free until then, and chosen so that they only have to be moved:

    i8      integers in the top bits of a byte: two's complement * 2^(8-b), read as `i8`; codes that
            are all positive as `u8`. Bipolar integers are odd: their last bit is a constant.
    e4m3    floats: sign, exponent and mantissa where e4m3 has them, value * 2^(bias-7); e4m3 and
            e5m2 are what they are
            integers up to 4 bits: magnitudes in e4m3's four linear bits (three of mantissa and the
            last of the exponent, whose first binade shares the subnormals' step), * 2^-9

Two's complement has one more negative number than signs and magnitudes of as many bits: so codes
hold -1 - value for negative ones, and the sign is also added to the last bit (`carries`).

A *unit* is U words of P = 8 / gcd(b, 8) quads. Words hold 8 // b quads each, from the top of their
bytes down; bits left over at the bottom make up the last quads, from the top bit down.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import gcd

import numpy as np
from numpy.typing import NDArray

from tileloom.vm.diagnostics import VMTypeError
from tileloom.vm.dtypes import Dtype

ACTIVATIONS = ("i8", "e4m3")
_BIAS, _LINEAR_UNIT = 7, -9  # of e4m3


@dataclass(frozen=True)
class Piece:
    """`length` bits of a code from `code_bit` on, at bit `bit` of the bytes of a word."""

    word: int
    bit: int
    length: int
    code_bit: int


@dataclass(frozen=True)
class ByteForm:
    """What codes are packed as, and how they become bytes whose value is weight * 2^exponent.

    `table` gives the packed code of each code, `places` the bit of a byte for each bit of it.
    """

    operand: str  # the dtype in which bytes are multiplied
    table: tuple[int, ...]
    places: tuple[int, ...]
    exponent: int = 0
    ones: int = 0  # bits that all bytes have
    carries: bool = False  # bit 7 is added to the byte

    @property
    def bits(self) -> int:
        return len(self.places)

    def bytes_of(self, packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the kernel makes of packed codes."""
        moved = np.full_like(packed, self.ones)
        for bit, place in enumerate(self.places):
            moved |= (packed >> bit & 1) << place
        return np.asarray(moved + (moved >> 7) * self.carries, np.uint8)


def quads_of_unit(bits: int) -> int:
    """P: quads of a unit."""
    return 8 // gcd(bits, 8)


def words_of_unit(bits: int) -> int:
    """U: words of a unit."""
    return bits * quads_of_unit(bits) // 8


@cache
def pieces(bits: int) -> tuple[tuple[Piece, ...], ...]:
    """Where the bits of each quad of a unit lie."""
    words, whole = words_of_unit(bits), 8 // bits
    found: list[tuple[Piece, ...]] = [
        (Piece(word, 8 - bits * (i + 1), bits, 0),) for word in range(words) for i in range(whole)
    ]
    left = [(word, bit) for word in range(words) for bit in reversed(range(8 - bits * whole))]
    for first in range(0, len(left), bits):
        found.append(_joined(left[first : first + bits]))
    return tuple(found)


def _joined(places: list[tuple[int, int]]) -> tuple[Piece, ...]:
    """Single bits from the code's top down, neighbours as one piece."""
    runs: list[Piece] = []
    for code_bit, (word, bit) in zip(reversed(range(len(places))), places, strict=True):
        last = runs[-1] if runs else None
        if last is not None and (last.word, last.bit) == (word, bit + 1):
            runs[-1] = Piece(word, bit, last.length + 1, code_bit)
        else:
            runs.append(Piece(word, bit, 1, code_bit))
    return tuple(runs)


@cache
def byte_form(weight: Dtype, zero_point: str, activation: str) -> ByteForm:
    """The form of weights of a dtype for activations of a dtype.

    Raises:
        VMTypeError: tensor cores multiply no such weights by such activations exactly.
    """
    if zero_point not in ("none", "symmetric"):
        raise VMTypeError(
            f'zero point "{zero_point}" needs f16 or bf16 activations',
            hint=f'"none" or "symmetric" go with {activation}',
        )
    form = _as_integers if activation == "i8" else _as_floats
    found = form(weight, zero_point)
    if found is None:
        held = "integers" if activation == "i8" else "floats, and integers of at most 4 bits"
        raise VMTypeError(
            f"no tensor core multiplies `{weight.name}` by {activation} activations exactly",
            hint=f"they take {held}; f16 and bf16 activations take every weight",
        )
    return found


def values_of(weight: Dtype, zero_point: str) -> NDArray[np.float64]:
    """The value of each code before its scale."""
    values = np.asarray(weight.decode(np.arange(1 << weight.bits)), np.float64)
    return values - (2.0 ** (weight.bits - 1) if zero_point == "symmetric" else 0.0)


def _as_integers(weight: Dtype, zero_point: str) -> ByteForm | None:
    bits = weight.bits
    count = 1 << bits
    same, top = tuple(range(count)), tuple(range(8 - bits, 8))
    if weight.kind == "uint" and zero_point == "none":
        return ByteForm("u8", same, top, 8 - bits)
    if weight.kind == "int":
        return ByteForm("i8", same, top, 8 - bits)
    flipped = tuple(code ^ count >> 1 for code in same)
    if weight.kind == "uint":
        return ByteForm("i8", flipped, top, 8 - bits)
    if weight.kind == "bipolar" and bits < 8:
        return ByteForm("i8", flipped, top, 7 - bits, ones=1 << 7 - bits)
    return None


def _as_floats(weight: Dtype, zero_point: str) -> ByteForm | None:
    if weight.kind == "float":
        return _from_float(weight)
    bits = weight.bits
    if bits > 4 or weight.kind not in ("uint", "int", "bipolar"):
        return None
    values = values_of(weight, zero_point).astype(int)
    if weight.kind == "uint" and zero_point == "none":
        return ByteForm("e4m3", tuple(range(1 << bits)), tuple(range(bits)), _LINEAR_UNIT)
    sign = 1 << bits - 1
    if weight.kind == "bipolar":
        table = tuple((sign if v < 0 else 0) | abs(v) >> 1 for v in values)
        return ByteForm("e4m3", table, (*range(1, bits), 7), _LINEAR_UNIT, ones=1)
    table = tuple(sign | -1 - v if v < 0 else v for v in values)
    return ByteForm("e4m3", table, (*range(bits - 1), 7), _LINEAR_UNIT, carries=True)


def _from_float(weight: Dtype) -> ByteForm | None:
    exponent, mantissa = weight.exponent_bits, weight.mantissa_bits
    same = tuple(range(1 << weight.bits))
    if weight.name in ("e4m3", "e5m2"):
        return ByteForm(weight.name, same, tuple(range(8)))
    if exponent > 4 or mantissa > 3 or weight.specials != "none":
        return None
    low = 3 - mantissa
    return ByteForm("e4m3", same, (*range(low, low + weight.bits - 1), 7), weight.bias - _BIAS)
