"""Integer codes of the paired packing, brought to their places in the halves of a word.

A pair lies at the same bits of both halves, so one mask reads it (`field_places` says where it
ends up). Pairs that are split over words are merged; where their pieces can be had for nothing
only at higher bits, they are merged there and rotated down.
"""

from __future__ import annotations

from collections.abc import Sequence

from tileloom.vm.packing import Piece, pieces

from .gather import Move, gather
from .plan import PlanBuilder, Word

# By window and width, for each split pair: rotate right by how much, after how many pieces.
_ROTATIONS: dict[tuple[int, int], tuple[tuple[int, int], ...]] = {
    (7, 5): ((8, 3),),
    (10, 6): ((6, 2), (8, 2)),
    (7, 6): ((6, 2), (6, 2)),
    (10, 7): ((4, 2), (4, 2)),
}


def raw_field(
    plan: PlanBuilder,
    words: Sequence[Word],
    bits: int,
    pair: int,
    place: int,
    window: int,
    flip: int = 0,
) -> Word:
    """The codes of a pair at bit `place` of both halves, xor `flip`, which fills the other bits."""
    parts = pieces(bits)[pair]
    if bits == 8:
        return _byte_field(plan, words[0], pair, flip)
    if len(parts) == 1:
        return gather(plan, _moves(words, parts, place), flip)
    return _split_field(plan, words, bits, pair, place, window, flip)


def _moves(words: Sequence[Word], parts: Sequence[Piece], place: int) -> list[Move]:
    return [
        Move(words[part.word], part.bit + half, part.length, place + part.code_bit + half)
        for part in parts
        for half in (0, 16)
    ]


def _byte_field(plan: PlanBuilder, word: Word, pair: int, flip: int) -> Word:
    if pair == 0:
        return plan.masked(word, 0x00FF00FF, plan.constant(flip) if flip else 0)
    if flip & 0x00FF00FF:
        return gather(plan, [Move(word, 8, 8, 0), Move(word, 24, 8, 16)], flip)
    # One byte permute moves the bytes and fills in the upper ones.
    return plan.op("prmt.b32", word, plan.constant(flip >> 8 & 0xFF) if flip else 0, 0x4341)


def _split_field(
    plan: PlanBuilder,
    words: Sequence[Word],
    bits: int,
    pair: int,
    place: int,
    window: int,
    flip: int,
) -> Word:
    fields = pieces(bits)
    parts = fields[pair]
    split = [number for number, field in enumerate(fields) if len(field) > 1]
    rotation, before = _ROTATIONS.get((min(window, 10), bits), ((0, 0),) * len(split))[
        split.index(pair)
    ]
    first = flip << rotation | flip >> 32 - rotation if rotation else flip
    if not before:
        return gather(plan, _moves(words, parts, place), flip)
    high = gather(plan, _moves(words, parts[:before], place + rotation), first & 0xFFFFFFFF)
    result = plan.rotated(high, rotation)
    for part in parts[before:]:
        (low, _) = _moves(words, [part], place)
        view = plan.shifted(low.word, low.to - low.bit)
        result = plan.masked(view, low.mask * 0x10001, result)
    return result
