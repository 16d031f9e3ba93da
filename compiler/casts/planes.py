"""Codes of 1, 2 and 4 bits to bytes: planes of a field of every byte, and their transposition."""

from __future__ import annotations

from collections.abc import Sequence

from tileloom.vm.dtypes import Dtype
from tileloom.vm.packing import PAIRED, Packing

from .plan import PlanBuilder, Word


def byte_flip(source: Dtype) -> int:
    """What to xor four codes in bytes with, so that `extended` gives their values."""
    if source.kind == "uint" or source.bits == 8:
        return 0
    return (0x80 | 1 << source.bits - 1) * 0x01010101


def extended(plan: PlanBuilder, source: Dtype, word: Word) -> Word:
    """Sign-extends four codes in bytes that were xored with `byte_flip`.

    They are value + 2**(b-1) + 128 then, and can't borrow from each other.
    """
    if byte_flip(source) == 0:
        return word
    word = plan.op("sub.s32", word, (1 << source.bits - 1) * 0x01010101)
    return plan.op("xor.b32", word, 0x80808080)


def bytes_of_planes(plan: PlanBuilder, source: Dtype, packing: Packing) -> list[Word]:
    """All codes of the inputs as bytes in order."""
    ordered = _paired if packing == PAIRED else _contiguous
    return [out for word in plan.inputs() for out in ordered(plan, _planes(plan, source, word))]


def _planes(plan: PlanBuilder, source: Dtype, word: Word) -> list[Word]:
    """Word k holds in each byte the k-th field of that byte."""
    mask = ((1 << source.bits) - 1) * 0x01010101
    flip = byte_flip(source)
    constant = plan.constant(flip) if flip else 0
    return [
        extended(plan, source, plan.masked(plan.shifted(word, -bit), mask, constant))
        for bit in range(0, 8, source.bits)
    ]


def _paired(plan: PlanBuilder, planes: Sequence[Word]) -> list[Word]:
    """Pairs j and j + 1 are in two neighbouring planes, in the same bytes of both halves."""
    return [
        plan.op("prmt.b32", planes[k], planes[k + 1], 0x6420 if byte == 0 else 0x7531)
        for byte in (0, 1)
        for k in range(0, len(planes), 2)
    ]


def _contiguous(plan: PlanBuilder, planes: Sequence[Word]) -> list[Word]:
    """The k-th element of a byte is in plane k: transposes four planes by four bytes."""
    pairs = [
        [plan.op("prmt.b32", planes[k], planes[k + 1], selector) for selector in (0x5140, 0x7362)]
        for k in range(0, len(planes), 2)
    ]
    if len(pairs) == 1:
        return pairs[0]
    return [
        plan.op("prmt.b32", pairs[k][byte // 2], pairs[k + 1][byte // 2], selector)
        for byte, selector in enumerate((0x5410, 0x7632) * 2)
        for k in range(0, len(pairs), 2)
    ]
