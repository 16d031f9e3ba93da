"""Integer codes of the contiguous packing, two neighbours to the halves of a word.

One byte permute brings the bytes with two neighbouring elements to two halves, wherever they start
in a byte as long as they end inside the bits that count; the places then differ between the halves,
and so do the factors of the multiply-add. A shift of the words serves the elements for which this
fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tileloom.vm.dtypes import Dtype
from tileloom.vm.packing import CONTIGUOUS

from .elements import Run, element_runs, field_moves
from .gather import Move, gather, new_shifts
from .halves import BF16, HalfType
from .integers import cast_unit, magic_flip, sign_flip, true_value
from .plan import PlanBuilder, Word


def cast_halves(plan: PlanBuilder, source: Dtype, half: HalfType, count: int) -> list[Word]:
    """The true values of `count` elements."""
    if source.bits == 8 and count % 4 == 0:
        return _bytes(plan, source, half)
    runs = element_runs(CONTIGUOUS, source.bits, count)
    if source.bits == 8 and half is BF16:
        return [_spread_byte(plan, source, runs[i : i + 2]) for i in range(0, count, 2)]
    return [_pair(plan, source, half, runs[i : i + 2]) for i in range(0, count, 2)]


def _bytes(plan: PlanBuilder, source: Dtype, half: HalfType) -> list[Word]:
    """Four bytes a word: bring the second and the third together, then as in a paired unit."""
    words: list[Word] = []
    for word in plan.inputs():
        flip = sign_flip(source, 0) * 0x01010101
        if half is BF16:
            paired = plan.op("prmt.b32", word, 0, 0x3120)
            words += cast_unit(plan, source, half, [paired])
            continue
        flipped = plan.op("xor.b32", word, flip) if flip else word
        magic = plan.constant(half.magic_bits >> 8)
        for selector in (0x4140, 0x4342):
            spread = plan.op("prmt.b32", flipped, magic, selector)
            words.append(true_value(plan, source, half, spread, (0, 0)))
    return words


def _spread_byte(plan: PlanBuilder, source: Dtype, pair: Sequence[tuple[Run, ...]]) -> Word:
    moves = _moves(plan, pair, (0, 0))
    small = gather(plan, moves, BF16.both(sign_flip(source, 0)))
    small = BF16.multiplied(plan, small, 2.0**127)
    if source.kind == "bipolar":
        return BF16.scaled(plan, small, 128.0, -255.0)
    return BF16.scaled(plan, small, 64.0, -128.0 if source.kind == "int" else 0.0)


def _pair(
    plan: PlanBuilder, source: Dtype, half: HalfType, pair: Sequence[tuple[Run, ...]]
) -> Word:
    spread = _spread(plan, source, half, pair)
    if spread is None:
        place = _best_place(plan, source, half, pair)
        flip = half.both(magic_flip(source, half, place))
        word = gather(plan, _moves(plan, pair, (place, place)), flip)
        return true_value(plan, source, half, word, (place, place))
    view, places = spread
    flip = magic_flip(source, half, places[0]) | magic_flip(source, half, places[1]) << 16
    ones = 2**source.bits - 1
    word = plan.masked(view, ones << places[0] | ones << places[1] + 16, plan.constant(flip))
    return true_value(plan, source, half, word, places)


class _View(NamedTuple):
    """An element in a shifted word: the byte it starts in, and the bit there."""

    word: Word
    byte: int
    place: int


def _spread(
    plan: PlanBuilder, source: Dtype, half: HalfType, pair: Sequence[tuple[Run, ...]]
) -> tuple[Word, tuple[int, int]] | None:
    """A word with both elements in the linear bits of their halves, and where they are there.

    None where one permute of two words, shifted or not, can't do it.
    """
    if len(pair) < 2:
        return None
    least = 1 if source.kind == "bipolar" else 0
    options = [_views(plan, source.bits, half.window, runs, least) for runs in pair]
    for low in options[0]:
        for high in options[1]:
            if source.kind == "bipolar" and 0 in (low.place, high.place):
                continue
            return _permuted(plan, low, high), (low.place, high.place)
    return None


def _views(
    plan: PlanBuilder, bits: int, window: int, runs: tuple[Run, ...], least: int
) -> list[_View]:
    """The element in its word as it is, and in the word shifted right, where it fits a window."""
    if len(runs) > 1:
        return []
    (run,) = runs
    word, found = plan.input(run.word), []
    for shift in range(8):
        start = run.bit - shift
        if start >= 0 and least <= start % 8 <= window - bits:
            known = plan.has_shifted(word, -shift)
            found.append((not known, shift, start))
    return [
        _View(plan.shifted(word, -shift), start // 8, start % 8)
        for _, shift, start in sorted(found)[:1]
    ]


def _permuted(plan: PlanBuilder, low: _View, high: _View) -> Word:
    second = 4 if high.word != low.word else 0
    selector = [low.byte, min(low.byte + 1, 3), second + high.byte, second + min(high.byte + 1, 3)]
    code = sum(byte << 4 * number for number, byte in enumerate(selector))
    return plan.op("prmt.b32", low.word, high.word if second else 0, code)


def _best_place(
    plan: PlanBuilder, source: Dtype, half: HalfType, pair: Sequence[tuple[Run, ...]]
) -> int:
    least = 1 if source.kind == "bipolar" and source.bits < half.window else 0
    places = range(least, half.window - source.bits + 1)
    return min(places, key=lambda p: (sum(new_shifts(plan, _moves(plan, pair, (p, p)))), p))


def _moves(
    plan: PlanBuilder, pair: Sequence[tuple[Run, ...]], places: tuple[int, int]
) -> list[Move]:
    return [
        move
        for half, (runs, place) in enumerate(zip(pair, places, strict=False))
        for move in field_moves(plan, runs, 0, 8, place + 16 * half)
    ]
