"""Decodes and casts of integers and bipolar integers of at most 8 bits to f16 and bf16.

A code under a magic exponent is a number: with `window` mantissa bits the float 2**window has a
last bit worth 1, so that magic bits | code << place is the float 2**window + code * 2**place. One
multiply-add then gives the value. The sign bit of two's complement is flipped by the operation
that masks: the code becomes value + 2**(bits - 1).
"""

from __future__ import annotations

from collections.abc import Sequence

from tileloom.vm.decode import window_of
from tileloom.vm.dtypes import Dtype
from tileloom.vm.packing import pairs
from tileloom.vm.places import field_places

from .halves import BF16, HalfType
from .paired import raw_field
from .plan import PlanBuilder, Word


def sign_flip(source: Dtype, place: int) -> int:
    """What turns two's complement at bit `place` into the value + 2**(bits - 1)."""
    return 1 << place + source.bits - 1 if source.kind == "int" else 0


def decode_unit(
    plan: PlanBuilder, source: Dtype, half: HalfType, words: Sequence[Word], form: str = ""
) -> list[Word]:
    """A paired unit in the form that `decode_form` states."""
    window = window_of(half.dtype, form)
    grown = source.bits == 8 and window == 7
    magic = half.magic_bits if window == 7 and not grown else 0
    outputs = []
    for pair, place in enumerate(field_places(source.bits, window)):
        flip = half.both(magic | sign_flip(source, place))
        word = raw_field(plan, words, source.bits, pair, place, window, flip)
        outputs.append(half.multiplied(plan, word, 2.0**127) if grown else word)
    return outputs


def cast_unit(
    plan: PlanBuilder, source: Dtype, half: HalfType, words: Sequence[Word]
) -> list[Word]:
    """The true values of a paired unit."""
    if source.bits == 8 and half is BF16:
        return [_byte_to_bf16(plan, source, words, pair) for pair in range(pairs(8))]
    outputs, raised = [], source.kind == "bipolar"
    for pair, place in enumerate(field_places(source.bits, half.window, raised)):
        flip = half.both(magic_flip(source, half, place))
        word = raw_field(plan, words, source.bits, pair, place, half.window, flip, raised)
        outputs.append(true_value(plan, source, half, word, (place, place)))
    return outputs


def magic_flip(source: Dtype, half: HalfType, place: int) -> int:
    """The pattern of a half around a code at bit `place`: magic exponent, flipped sign bit."""
    below = 1 << place - 1 if source.kind == "bipolar" and place else 0
    return half.magic_bits | sign_flip(source, place) | below


def true_value(
    plan: PlanBuilder, source: Dtype, half: HalfType, word: Word, places: tuple[int, int]
) -> Word:
    """Values from 2**window + code * 2**place, with the places in the low and the high half."""
    if source.kind == "bipolar" and 0 in places:
        assert places == (0, 0), "a bipolar pair at two places"
        return _bipolar_at_zero(plan, source, half, word)
    factors, offsets = [], []
    for place in places:
        if source.kind == "bipolar":
            # The bit below the code is set: 2**window + (2 * code + 1) * 2**(place - 1).
            factors.append(2.0 ** (1 - place))
            offsets.append(-half.magic * factors[-1] - 2.0**source.bits)
        else:
            factors.append(2.0**-place)
            zero = 2.0 ** (source.bits - 1) if source.kind == "int" else 0.0
            offsets.append(-half.magic * factors[-1] - zero)
    return half.scaled_pair(plan, word, (factors[0], factors[1]), (offsets[0], offsets[1]))


def _bipolar_at_zero(plan: PlanBuilder, source: Dtype, half: HalfType, word: Word) -> Word:
    """2 * code - ones = (magic + code) - (magic + ones - code); the latter is a bit pattern."""
    ones = 2**source.bits - 1
    other = plan.op("xor.b32", word, half.both(0x8000 | ones))
    return half.sum(plan, word, other)


def _byte_to_bf16(plan: PlanBuilder, source: Dtype, words: Sequence[Word], pair: int) -> Word:
    """A byte is more than the seven bits under an exponent, but it is a subnormal bf16."""
    flip = BF16.both(sign_flip(source, 0))
    small = raw_field(plan, words, 8, pair, 0, 7, flip)
    small = BF16.multiplied(plan, small, 2.0**127)
    if source.kind == "bipolar":
        return BF16.scaled(plan, small, 128.0, -255.0)
    return BF16.scaled(plan, small, 64.0, -128.0 if source.kind == "int" else 0.0)
