"""Floats of at most 8 bits to f16, bf16 and f32.

A float's sign goes to the sign bit and its exponent and mantissa to the bottom of the exponent and
the top of the mantissa; what is wrong then is the exponent's bias, which a product with a power of
two corrects, subnormals included. Exponents too wide for f16 go through bf16 and f32.

That makes finite numbers of codes which stand for infinities and NaNs. Decodes may; casts of e4m3
and e5m2, which have such codes, go through the f16 that keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from tileloom.vm.decode import decode_form, needs_halving
from tileloom.vm.dtypes import Dtype
from tileloom.vm.packing import CONTIGUOUS, PAIRED, Packing

from ..targets import Target
from . import upper_bytes
from .elements import Run, element_runs, field_moves
from .gather import gather, new_shifts
from .halves import BF16, F16, HalfType
from .plan import Half, PlanBuilder, Word


def cast_halves(
    plan: PlanBuilder, source: Dtype, half: HalfType, packing: Packing, count: int, target: Target
) -> list[Word]:
    """The true values, rounded and saturated where f16 has no room for them."""
    if source.specials == "none":
        return _finite_halves(plan, source, half, packing, count, target)
    if half is F16:
        return _special_halves(plan, source, packing, count, target)
    wide = _special_f32(plan, source, packing, count, target)
    return [
        plan.op("cvt.rn.bf16x2.f32", high, low)
        for low, high in zip(wide[::2], wide[1::2], strict=True)
    ]


def cast_f32(
    plan: PlanBuilder, source: Dtype, packing: Packing, count: int, target: Target
) -> list[Word]:
    """The true values in f32."""
    if source.specials == "none":
        words = _placed(plan, source, BF16, packing, count, 1.0)
        return _widened(plan, words)[:count]
    return _special_f32(plan, source, packing, count, target)[:count]


def _finite_halves(
    plan: PlanBuilder, source: Dtype, half: HalfType, packing: Packing, count: int, target: Target
) -> list[Word]:
    """The true values of the codes that have finite ones."""
    if half is BF16:
        return _placed(plan, source, BF16, packing, count, 1.0)
    if needs_halving(source) and target.has("min.xorsign"):
        return _saturated(plan, _placed(plan, source, F16, packing, count, 1.0))
    if source.exponent_bits > 5 or needs_halving(source):
        ways = [
            partial(_placed, source=source, half=BF16, packing=packing, count=count, factor=1.0)
        ]
        if source.exponent_bits == 7:
            ways.append(partial(_raised, source=source, packing=packing, count=count))
        return _through_f32(plan, plan.cheapest(ways), ".satfinite")
    if source.name == "e4m3" and target.has("cvt.fp8"):
        return _converted(plan, packing, count)
    if source.name == "e5m2":
        return _upper_bytes(plan, packing, count)
    return _placed(plan, source, F16, packing, count, 1.0)


def _saturated(plan: PlanBuilder, words: list[Word]) -> list[Word]:
    """f16 without infinities and NaNs: those are the largest numbers, with their signs."""
    largest = plan.constant(0x7BFF7BFF)
    return [plan.op("min.xorsign.abs.f16x2", word, largest) for word in words]


def _raised(plan: PlanBuilder, source: Dtype, packing: Packing, count: int) -> list[Word]:
    """e7m0 as bf16 without a product, but for zeros, which become 2**-63.

    The exponent e is to become e + 64: its top bit, and below it that bit once more, flipped.
    """
    words = []
    runs = element_runs(packing, source.bits, count)
    top = source.bits - 2
    for low in range(0, count, 2):
        moves = [
            move
            for h, own in enumerate(runs[low : low + 2])
            for start, stop, to in ((0, top + 1, BF16.mantissa_bits), (top, source.bits, 14))
            for move in field_moves(plan, own, start, stop, to + 16 * h)
        ]
        words.append(gather(plan, moves, 0x20002000))
    return words


def _special_halves(
    plan: PlanBuilder, source: Dtype, packing: Packing, count: int, target: Target
) -> list[Word]:
    """e4m3 or e5m2 in f16, infinities and NaNs included."""
    if source.name == "e5m2" or target.has("cvt.fp8"):
        return _finite_halves(plan, source, F16, packing, count, target)
    return _placed(plan, source, F16, packing, count, 1.0, _nan_on_top)


def _nan_on_top(plan: PlanBuilder, word: Word) -> Word:
    """The fields of two e4m3 in f16: 0x7f becomes a NaN, the one code that 1 carries beyond."""
    raised = plan.op("add.s32", word, 0x00800080)
    return plan.op("lop3.b32", word, raised, 0x40004000, 0xF8)  # a | (b & c)


def _special_f32(
    plan: PlanBuilder, source: Dtype, packing: Packing, count: int, target: Target
) -> list[Word]:
    """e4m3 or e5m2 in f32, an even number of them."""
    if source.name == "e4m3" and target.has("cvt.fp8"):
        halves = _converted_bytes(plan, packing)[: count + count % 2]
    else:
        words = _special_halves(plan, source, packing, count, target)
        halves = [Half(word.number, high) for word in words for high in (False, True)]
    return [plan.op("cvt.f32.f16", half) for half in halves]


def decode_halves(
    plan: PlanBuilder,
    source: Dtype,
    half: HalfType,
    packing: Packing,
    count: int,
    target: Target,
    form: str = "",
) -> list[Word]:
    """The values times the factor that `decode_form` states, the same for every place."""
    exponent = decode_form(source, half.dtype, packing, form).exponents[0]
    if exponent == 0:
        return _finite_halves(plan, source, half, packing, count, target)
    if half is F16 and needs_halving(source):
        return _through_f32(plan, _placed(plan, source, BF16, packing, count, 2.0**exponent))
    return _placed(plan, source, half, packing, count, 2.0**exponent)


def _widened(plan: PlanBuilder, words: list[Word]) -> list[Word]:
    """bf16 pairs as f32: bf16 is the upper half of f32."""
    return [
        wide
        for word in words
        for wide in (plan.op("shl.b32", word, 16), plan.op("and.b32", word, 0xFFFF0000))
    ]


def _through_f32(plan: PlanBuilder, words: list[Word], saturation: str = "") -> list[Word]:
    wide = _widened(plan, words)
    return [
        plan.op(f"cvt.rn{saturation}.f16x2.f32", high, low)
        for low, high in zip(wide[::2], wide[1::2], strict=True)
    ]


def _placed(
    plan: PlanBuilder,
    source: Dtype,
    half: HalfType,
    packing: Packing,
    count: int,
    factor: float,
    mend: Callable[[PlanBuilder, Word], Word] = lambda _, word: word,
) -> list[Word]:
    """Sign and magnitude in their fields, mended, times what makes `factor` times the values."""
    if packing == CONTIGUOUS and source.bits == 8 and count % 4 == 0:
        plan.replace_inputs(plan.op("prmt.b32", word, 0, 0x3120) for word in plan.inputs())
        packing = PAIRED
    if packing == CONTIGUOUS and source.bits == 4 and count % 8 == 0:
        return _interleaved(plan, _placed(plan, source, half, PAIRED, count, factor))
    runs = element_runs(packing, source.bits, count)
    ways: list[Callable[[PlanBuilder], list[Word]]] = [
        partial(_fields, source=source, half=half, runs=runs, spread=spread)
        for spread in (False, True)
    ]
    if packing == PAIRED and upper_bytes.fits(source, half, count):
        ways.append(partial(upper_bytes.fields, source=source, runs=runs))
        if upper_bytes.has_best_two(source):
            ways.append(
                partial(_fields, source=source, half=half, runs=runs, spread=True, two=True)
            )
    words = plan.cheapest(ways)
    scale = factor * 2.0 ** (half.bias - source.bias)
    return [half.multiplied(plan, mend(plan, word), scale) for word in words]


def _interleaved(plan: PlanBuilder, words: list[Word]) -> list[Word]:
    """Eight neighbours read as a paired unit are the pairs (j, j + 4): makes them (2i, 2i + 1)."""
    return [
        plan.op("prmt.b32", words[unit + first], words[unit + first + 1], selector)
        for unit in range(0, len(words), 4)
        for selector in (0x5410, 0x7632)
        for first in (0, 2)
    ]


def _fields(
    plan: PlanBuilder,
    source: Dtype,
    half: HalfType,
    runs: Sequence[tuple[Run, ...]],
    spread: bool,
    two: bool = False,
) -> list[Word]:
    """The patterns of pairs; `spread` lets permutes spread sign bits where that seems no dearer,
    `two` lets two of the pairs share a word of upper bytes.
    """
    done = upper_bytes.best_two(plan, source, runs) if two else {}
    return [
        done.get(low // 2) or _field(plan, source, half, runs[low : low + 2], spread)
        for low in range(0, len(runs), 2)
    ]


def _field(
    plan: PlanBuilder,
    source: Dtype,
    half: HalfType,
    pair: Sequence[tuple[Run, ...]],
    spread: bool,
) -> Word:
    magnitude = source.bits - 1
    bottom = half.mantissa_bits - source.mantissa_bits
    moves = [
        move
        for h, runs in enumerate(pair)
        for move in (
            *field_moves(plan, runs, 0, magnitude, bottom + 16 * h),
            *field_moves(plan, runs, magnitude, source.bits, 15 + 16 * h),
        )
    ]
    byte = _byte_top(pair, source.bits) if spread else None
    if byte is None or sum(new_shifts(plan, moves)) < 3 + bool(byte.shift):
        return gather(plan, moves)
    return _spread_sign(
        plan, byte, bottom - (8 - source.bits), 0x8000 | (1 << magnitude) - 1 << bottom
    )


class _ByteTop(NamedTuple):
    """A pair at the top of a byte of both halves, once the word is shifted left."""

    word: int
    shift: int
    byte: int


def _byte_top(pair: Sequence[tuple[Run, ...]], bits: int) -> _ByteTop | None:
    if len(pair) < 2 or len(pair[0]) > 1 or len(pair[1]) > 1:
        return None
    low, high = pair[0][0], pair[1][0]
    if low.word != high.word or high.bit != low.bit + 16:
        return None
    shift = -(low.bit + bits) % 8
    return _ByteTop(low.word, shift, (low.bit + bits + shift) // 8 - 1)


def _spread_sign(plan: PlanBuilder, top: _ByteTop, shift: int, mask: int) -> Word:
    """A byte and above it eight copies of its sign, shifted to its place: both in one mask."""
    word = plan.shifted(plan.input(top.word), top.shift)
    low, high = top.byte, top.byte + 2
    selector = low | (8 | low) << 4 | high << 8 | (8 | high) << 12
    extended = plan.op("prmt.b32", word, 0, selector)
    return plan.masked(plan.shifted(extended, shift), mask * 0x10001)


def _converted(plan: PlanBuilder, packing: Packing, count: int) -> list[Word]:
    """e4m3 by the hardware's conversion, which takes neighbouring bytes."""
    words = []
    for word in plan.inputs():
        ordered = plan.op("prmt.b32", word, 0, 0x3120) if packing == PAIRED else word
        words += [
            plan.op("cvt.rn.f16x2.e4m3x2", Half(ordered.number, high)) for high in (False, True)
        ]
    return words[: -(-count // 2)]


def _converted_bytes(plan: PlanBuilder, packing: Packing) -> list[Half]:
    """The same, where single halves are wanted: the order of the bytes costs nothing then."""
    order = (0, 2, 1, 3) if packing == PAIRED else (0, 1, 2, 3)
    halves = []
    for word in plan.inputs():
        pairs = [plan.op("cvt.rn.f16x2.e4m3x2", Half(word.number, high)) for high in (False, True)]
        halves += [Half(pairs[byte // 2].number, byte % 2 == 1) for byte in order]
    return halves


def _upper_bytes(plan: PlanBuilder, packing: Packing, count: int) -> list[Word]:
    """e5m2 is the upper byte of f16."""
    words = []
    for word in plan.inputs():
        if packing == PAIRED:
            words.append(plan.op("prmt.b32", word, 0, 0x2404))
            words.append(plan.masked(word, 0xFF00FF00))
        else:
            words.append(plan.op("prmt.b32", word, 0, 0x1404))
            words.append(plan.op("prmt.b32", word, 0, 0x3424))
    return words[: -(-count // 2)]
