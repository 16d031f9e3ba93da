"""Integer codes of the paired packing, brought to their places in the halves of a word.

A pair lies at the same bits of both halves, so one mask reads it (`field_places` says where it
ends up). Pairs that are split over words are merged; where their pieces can be had for nothing
only at higher bits, they are merged there and rotated down (`split_bases`). Where there are several
of them the left-over bits are collected in a word first (`collection`).
"""

from __future__ import annotations

from collections.abc import Sequence

from tileloom.vm.packing import Piece, pieces
from tileloom.vm.places import Collection, Stage, collection, split_bases

from .gather import Move, gather, merged
from .plan import PlanBuilder, Word


def raw_field(
    plan: PlanBuilder,
    words: Sequence[Word],
    bits: int,
    pair: int,
    place: int,
    window: int,
    flip: int = 0,
    raised: bool = False,
) -> Word:
    """The codes of a pair at bit `place` of both halves, xor `flip`, which fills the other bits."""
    parts = pieces(bits)[pair]
    if bits == 8:
        return _byte_field(plan, words[0], pair, flip)
    if len(parts) == 1:
        return gather(plan, _moves(words, parts, place), flip)
    number = [number for number, field in enumerate(pieces(bits)) if len(field) > 1].index(pair)
    collected = collection(bits, window)
    if collected is not None:
        word, start = _collected(plan, words, 16 % bits, collected), collected.starts[number]
        return gather(plan, [Move(word, start + h, bits, place + h) for h in (0, 16)], flip)
    bases = split_bases(bits, window, raised)[number]
    return _split_field(plan, words, parts, bases, place, flip)


def _collected(
    plan: PlanBuilder, words: Sequence[Word], left_over: int, collected: Collection
) -> Word:
    """The top `left_over` bits of all words together; the bits beside them are anything."""
    result: Word | None = None
    for stage in collected.stages:
        found, mask = _stage(plan, words, left_over, stage)
        result = found if result is None else plan.selected(found, result, mask)
        result = plan.rotated(result, stage.turn)
    assert result is not None
    return result


def _stage(
    plan: PlanBuilder, words: Sequence[Word], left_over: int, stage: Stage
) -> tuple[Word, int]:
    """A word with what a stage takes, and the mask of it."""
    found: Word | None = None
    mask = 0
    permuted = [taken for taken in stage.taken if taken.byte is not None]
    if permuted:
        low, high = (plan.shifted(words[taken.word], -taken.shift) for taken in permuted)
        found = plan.op("prmt.b32", low, high, 0x7351)  # the upper bytes of both, interleaved
    for taken in stage.taken:
        bit = 16 - left_over - taken.shift - (8 if taken.byte == 0 else 0)
        own = ((1 << left_over) - 1 << bit) * 0x10001
        if taken.byte is None:
            view = plan.shifted(words[taken.word], -taken.shift)
            found = view if found is None else plan.selected(view, found, own)
        mask |= own
    assert found is not None
    return found, mask


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
    parts: Sequence[Piece],
    bases: Sequence[int],
    place: int,
    flip: int,
) -> Word:
    turn = max(bases) - place
    result: Word | None = None
    here = max(bases)
    for base in sorted(set(bases), reverse=True):
        moves = [
            move
            for part, own in zip(parts, bases, strict=True)
            if own == base
            for move in _moves(words, [part], base)
        ]
        if result is None:
            # All that is set besides the code turns with it.
            result = gather(plan, moves, (flip << turn | flip >> 32 - turn) & 0xFFFFFFFF)
            continue
        result = merged(plan, moves, plan.rotated(result, here - base))
        here = base
    assert result is not None
    return plan.rotated(result, here - place)
