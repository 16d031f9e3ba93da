"""Decode forms: what the fast decode of a code gives, as a factor and a constant by its place.

`decode` turns codes of at most 8 bits into f16 or bf16 without spending an instruction on the
factor and the offset that the cheapest bit pattern comes with. A form states them, for pair j of a
packing unit (elements 2j and 2j + 1):

    decoded = codec value * 2**exponents[j] + constants[j]        exactly, in the destination

so that the consumer removes both: sum(value x) = 2**-f * (sum(decoded x) - c sum(x)).

* Integers in the paired packing. f16: a code left in the eleven low bits of a half *is* the
  number code * 2**-24 (a subnormal, or the first binade, which has the same spacing); no constant.
  bf16 has only seven such bits to use, under the exponent of 128: 128 + code * 2**place. (bf16
  subnormals would have eight, but products of them fall into the subnormals of f32.) The eight
  bits of a byte are taken as a bf16 subnormal and multiplied by 2**127: code * 2**-6.
  The sign bit of two's complement is flipped on the way, at no cost: code + 2**(b-1).
* Floats, f16: sign, exponent and mantissa go to their fields; the difference of the biases is
  left as the factor. bf16: true values, since the bare fields would be near 2**-120; and e4m3 to
  f16, which newer targets convert by themselves.
* Code books: the table's values, rounded to the destination.
* In the contiguous packing a decode is a cast: no factor, no constant.

Codes that stand for infinities and NaNs decode to anything: a form says nothing about them, and
the interpreter takes what they give for uninitialised. (`cast` keeps them.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from .diagnostics import VMTypeError
from .dtypes import Dtype
from .packing import PAIRED, Packing, pairs, pieces

_F16_UNIT = -24  # exponent of an f16's last subnormal bit
_BF16_BYTE_UNIT = -133 + 127
BF16_MAGIC = 128.0


@dataclass(frozen=True, slots=True)
class DecodeForm:
    """Per pair of a packing unit, decoded = value * 2**exponent + constant.

    `code_xor` is what codes are xored with before they are packed: nothing, for every dtype now.
    """

    exponents: tuple[int, ...]
    constants: tuple[float, ...]
    code_xor: int = 0


@cache
def decode_form(source: Dtype, dest: Dtype, packing: Packing) -> DecodeForm:
    """The form of `decode` from `source` to `dest` ("f16" or "bf16").

    Raises VMTypeError for dtypes that have none: sources of more than 8 bits, bool, e8m0 (a scale,
    not an element), and exponents wider than those of f16.
    """
    _check(source, dest)
    packed = packing == PAIRED
    count = pairs(source.bits) if packed else 1
    if packed and source.kind in ("uint", "int", "bipolar"):
        return _integer_form(source, dest)
    exponent = 0
    if source.kind == "float" and dest.name == "f16":
        exponent = float_exponent(source) if packed else -int(needs_halving(source))
    return DecodeForm((exponent,) * count, (0.0,) * count)


def _check(source: Dtype, dest: Dtype) -> None:
    if dest.name not in ("f16", "bf16"):
        raise VMTypeError(f"`decode` gives `f16` or `bf16`, not `{dest}`", hint="use `cast`")
    if source.bits > 8 or source.kind == "bool" or source.specials == "scale":
        raise VMTypeError(
            f"`{source}` can't be decoded",
            hint="integers, bipolar integers, floats and code books of at most 8 bits can",
        )
    if source.kind == "float" and dest.name == "f16" and source.exponent_bits > 5:
        raise VMTypeError(
            f"`{source}` has a wider exponent than `f16`",
            hint="decode it to `bf16`, or `cast` it, which rounds",
        )


def needs_halving(source: Dtype) -> bool:
    """Whether a float has finite values in the binade where f16 has its infinities."""
    return source.exponent_bits == 5 and source.specials == "none"


def float_exponent(source: Dtype) -> int:
    """f in decoded = value * 2**f of a float in the paired packing decoded to f16.

    None for e4m3, which the hardware converts where it can.
    """
    if source.name == "e4m3":
        return 0
    return -1 if needs_halving(source) else source.bias - 15


def _integer_form(source: Dtype, dest: Dtype) -> DecodeForm:
    """From raw = code * 2**e + magic: value = code - zero, or 2 * code - (2**b - 1) if bipolar."""
    half, byte = dest.name == "f16", source.bits == 8
    unit = _F16_UNIT if half else _BF16_BYTE_UNIT if byte else 0
    magic = 0.0 if half or byte else BF16_MAGIC
    raw = [place + unit for place in field_places(source.bits, 11 if half else 7)]
    if source.kind == "bipolar":
        ones = 2**source.bits - 1
        constants = [magic + ones * 2.0 ** (e - 1) for e in raw]
        return DecodeForm(tuple(e - 1 for e in raw), tuple(constants))
    zero = 2 ** (source.bits - 1) if source.kind == "int" else 0
    return DecodeForm(tuple(raw), tuple(magic + zero * 2.0**e for e in raw))


# By window (the low bits of a half that count linearly: 7, 10 or 11) and width, for every word of
# a unit: from which bit on the word is shifted right by how much to read its whole fields.
Shifts = tuple[tuple[int, int], ...]

_SHIFTS: dict[tuple[int, int], tuple[Shifts, ...]] = {
    (11, 1): (((0, 0), (11, 11)),),
    (10, 1): (((0, 0), (10, 10)),),
    (10, 2): (((0, 0), (10, 10)),),
    (10, 3): tuple(((0, 0), (9, 9 - word)) for word in range(3)),
    (10, 4): (((0, 0), (8, 8)),),
    (10, 5): tuple(((0, 0), (10, 10 - word)) for word in range(5)),
    (10, 6): (((0, 0), (6, 6)), ((0, 0), (6, 4)), ((0, 0), (6, 4))),
    (10, 7): tuple(((0, 0), (7, shift)) for shift in (7, 5, 6, 8, 7, 5, 6)),
    (10, 8): (((0, 0), (8, 8)),),
    # Where there is a choice the field goes as high as it can: the constant weighs less.
    (7, 1): (((0, 0), (7, 7), (14, 9)),),
    (7, 2): (((0, 0), (6, 5), (12, 9)),),
    (7, 3): tuple(((0, 0), (6, 5), (12, 11 - word)) for word in range(3)),
    (7, 4): (((0, 0), (4, 1), (8, 5), (12, 9)),),
    (7, 5): (
        ((0, 0), (5, 5), (10, 8)),
        ((0, 0), (5, 4), (10, 8)),
        ((0, 0), (5, 3), (10, 8)),
        ((0, 0), (5, 3), (10, 10)),
        ((0, 0), (5, 3), (10, 9)),
    ),
    (7, 6): (((0, 0), (6, 5)),) * 3,
    (7, 7): tuple(((0, 0), (7, 8 if word == 3 else 7)) for word in range(7)),
    (7, 8): (((0, 0), (8, 8)),),
}

# Where the pairs that are split over several words end up, by window and width.
_SPLIT_PLACES: dict[tuple[int, int], int] = {
    (10, 3): 6, (10, 5): 5, (10, 6): 0, (10, 7): 3,
    (7, 3): 4, (7, 5): 2, (7, 6): 1, (7, 7): 0,
}  # fmt: skip


@cache
def field_places(bits: int, window: int) -> tuple[int, ...]:
    """The bit of a half at which each pair of a paired unit has its code once it is decoded.

    `window` is the number of low bits that count: 7 (bf16), 10 (f16 with a constant) or 11 (f16
    without). All places + bits are within it, but for bytes.
    """
    window = window if (window, bits) in _SHIFTS else 10
    shifts = _SHIFTS[window, bits]
    return tuple(
        _SPLIT_PLACES[window, bits]
        if len(parts) > 1
        else parts[0].bit - _shift(shifts[parts[0].word], parts[0].bit)
        for parts in pieces(bits)
    )


def _shift(shifts: Iterable[tuple[int, int]], bit: int) -> int:
    return max(pair for pair in shifts if pair[0] <= bit)[1]
