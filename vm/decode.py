"""Decode forms: what the fast decode of a code gives, as a factor and a constant by its place.

`decode` turns codes of at most 8 bits into f16 or bf16 without spending an instruction on the
factor and the offset that the cheapest bit pattern comes with. A form states them, for pair j of a
packing unit (elements 2j and 2j + 1):

    decoded = codec value * 2**exponents[j] + constants[j]        exactly, in the destination

so that the consumer removes both: sum(value x) = 2**-f * (sum(decoded x) - c sum(x)).

* Integers in the paired packing. f16: a code left in the eleven low bits of a half *is* the
  number code * 2**-24 (a subnormal, or the first binade, which has the same spacing); no constant.
  bf16 has only seven such bits to use, under the exponent of 128: 128 + code * 2**place. (bf16
  subnormals have eight, but products of them fall into the subnormals of f32: see below.) The
  eight bits of a byte are taken as a bf16 subnormal and multiplied by 2**127: code * 2**-6.
  The sign bit of two's complement is flipped on the way, at no cost: code + 2**(b-1).
* Floats, f16: sign, exponent and mantissa go to their fields; the difference of the biases is
  left as the factor. bf16: true values, since the bare fields would be near 2**-120; and e4m3 to
  f16, which newer targets convert by themselves.
* Code books: the table's values, rounded to the destination.
* In the contiguous packing a decode is a cast: no factor, no constant.

The form "subnormal" is another one for bf16, in the paired packing: codes in the eight low bits of
a half, code * 2**-133 without a constant, and floats with their bare fields, value *
2**(bias - 127), without the product that makes true values. Multiply the activations by
SUBNORMAL_SCALE, so that the products stay clear of the subnormals of f32, and undo it with the
factor.

The form "narrow" is one of single bits to f16: they go to the four lowest bits, so that the factor
repeats every four pairs and products of all of them may share a sum. It takes two more shifts a
word.

Codes that stand for infinities and NaNs decode to anything: a form says nothing about them, and
the interpreter takes what they give for uninitialised. (`cast` keeps them.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from .diagnostics import VMTypeError
from .dtypes import Dtype
from .packing import PAIRED, Packing, pairs

_F16_UNIT = -24  # exponent of an f16's last subnormal bit
_BF16_UNIT = -133
_BF16_BYTE_UNIT = _BF16_UNIT + 127
BF16_MAGIC = 128.0
SUBNORMAL_SCALE = 2.0**64
NARROW_WINDOW = 4
FORMS = ("", "subnormal", "narrow")


@dataclass(frozen=True, slots=True)
class DecodeForm:
    """Per pair of a packing unit, decoded = value * 2**exponent + constant.

    `code_xor` is what codes are xored with before they are packed: nothing, for every dtype now.
    """

    exponents: tuple[int, ...]
    constants: tuple[float, ...]
    code_xor: int = 0


@cache
def decode_form(source: Dtype, dest: Dtype, packing: Packing, form: str = "") -> DecodeForm:
    """The form of `decode` from `source` to `dest` ("f16" or "bf16"): the default or one of FORMS.

    Raises VMTypeError for dtypes that have none: sources of more than 8 bits, bool, e8m0 (a scale,
    not an element), and exponents wider than those of f16; for the subnormal form also code books,
    f16 and the contiguous packing; for the narrow form all but single bits to f16.
    """
    _check(source, dest)
    if form:
        _check_form(source, dest, packing, form)
    packed = packing == PAIRED
    count = pairs(source.bits) if packed else 1
    if packed and source.kind in ("uint", "int", "bipolar"):
        return _integer_form(source, dest, form)
    exponent = 0
    if form == "subnormal":
        exponent = source.bias - 127
    elif source.kind == "float" and dest.name == "f16":
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


def _check_form(source: Dtype, dest: Dtype, packing: Packing, form: str) -> None:
    if form not in FORMS:
        raise VMTypeError(f"unknown form `{form}` of `decode`", hint="subnormal, narrow, or none")
    if form == "narrow" and (source.bits, dest.name) != (1, "f16"):
        raise VMTypeError(
            f"`narrow` is a form of single bits to `f16`, not of `{source}` to `{dest}`",
            hint="leave it out",
        )
    if form == "subnormal" and dest.name != "bf16":
        raise VMTypeError(
            f"`{form}` is a form of `bf16`, not of `{dest}`",
            hint="codes become subnormals of `f16` without it",
        )
    if packing != PAIRED:
        raise VMTypeError(
            f"`{form}` is a form of the paired packing, not of `{packing}`",
            hint="`repack` the codes",
        )
    if source.kind == "codebook":
        raise VMTypeError(f"the values of `{source}` have no form `{form}`", hint="leave it out")


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


def window_of(dest: Dtype, form: str = "") -> int:
    """How many low bits of a half a decode counts on, for integers of fewer than 8 bits."""
    if dest.name == "f16":
        return NARROW_WINDOW if form == "narrow" else 11
    return 8 if form == "subnormal" else 7


def _integer_form(source: Dtype, dest: Dtype, form: str) -> DecodeForm:
    """From raw = code * 2**e + magic: value = code - zero, or 2 * code - (2**b - 1) if bipolar."""
    from .places import field_places  # here: an import of the VM decodes nothing yet

    if dest.name == "f16" or form:
        unit, magic = _F16_UNIT if dest.name == "f16" else _BF16_UNIT, 0.0
    elif source.bits == 8:
        unit, magic = _BF16_BYTE_UNIT, 0.0
    else:
        unit, magic = 0, BF16_MAGIC
    raw = [place + unit for place in field_places(source.bits, window_of(dest, form))]
    if source.kind == "bipolar":
        ones = 2**source.bits - 1
        constants = [magic + ones * 2.0 ** (e - 1) for e in raw]
        return DecodeForm(tuple(e - 1 for e in raw), tuple(constants))
    zero = 2 ** (source.bits - 1) if source.kind == "int" else 0
    return DecodeForm(tuple(raw), tuple(magic + zero * 2.0**e for e in raw))
