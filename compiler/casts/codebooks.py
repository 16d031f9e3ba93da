"""Code books: tables in registers, read by byte permutes.

A permute picks four bytes out of eight by four selectors of three bits, so it looks up four codes
at once in one byte of the entries of a table of eight. Larger tables take several and choose by the
upper code bits; wider entries take one table for each of their bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from numpy.typing import NDArray

from tileloom.vm.dtypes import Dtype
from tileloom.vm.packing import CONTIGUOUS, PAIRED, Packing

from .elements import Run, element_runs, field_moves
from .gather import Move, gather
from .plan import PlanBuilder, Word

Array: TypeAlias = NDArray[Any]

_GROUP = 4


def cast(plan: PlanBuilder, source: Dtype, dest: Dtype, packing: Packing, count: int) -> list[Word]:
    """The table's values rounded to f16, bf16 (two to a word) or f32."""
    return _elements(plan, source, dest.encode(dest.limit(source.table)), dest.bits, packing, count)


def codes(
    plan: PlanBuilder, source: Dtype, dest: Dtype, packing: Packing, count: int
) -> list[Word]:
    """The codes of the table's values in a dtype of at most 32 bits, one a word."""
    return _elements(plan, source, dest.encode(source.table), 32, packing, count)


def _elements(
    plan: PlanBuilder, source: Dtype, table: Array, width: int, packing: Packing, count: int
) -> list[Word]:
    """Entries of 16 (two to a word) or 32 bits."""
    entries = [int(code) for code in table]
    runs: Sequence[tuple[Run, ...]] = element_runs(packing, source.bits, count)
    order = (0, 1, 2, 3)
    if packing == PAIRED and source.bits == 4:
        # Swapping the middle bytes brings both elements of a pair into the same 16 selectors.
        order = (0, 2, 1, 3)
        plan.replace_inputs(plan.op("prmt.b32", word, 0, 0x3120) for word in plan.inputs())
        runs = element_runs(CONTIGUOUS, 4, count)
        runs = [runs[e - e % 4 + order[e % 4]] for e in range(count)]
    bytes_of: dict[int, tuple[list[Word], int]] = {}
    for first in range(0, count, _GROUP):
        group = [first + e for e in order if first + e < count]
        planes = _lookup(plan, entries, width // 8, source.bits, [runs[e] for e in group])
        bytes_of.update({e: (planes, number) for number, e in enumerate(group)})
    if width == 32:
        return [_single(plan, *bytes_of[e]) for e in range(count)]
    return [_pair(plan, bytes_of, e, min(e + 1, count - 1)) for e in range(0, count, 2)]


def _lookup(
    plan: PlanBuilder,
    entries: Sequence[int],
    num_bytes: int,
    bits: int,
    group: Sequence[tuple[Run, ...]],
) -> list[Word]:
    """One word for each byte of the entries: that byte for each element of the group."""
    selector = _nibbles(plan, group, 0, min(bits, 3))
    masks = [_byte_mask(plan, group, bit) for bit in range(3, bits)]
    return [
        _choose(plan, [entry >> 8 * number & 0xFF for entry in entries], selector, masks)
        for number in range(num_bytes)
    ]


def _choose(plan: PlanBuilder, table: Sequence[int], selector: Word, masks: Sequence[Word]) -> Word:
    if masks:
        middle = len(table) // 2
        low = _choose(plan, table[:middle], selector, masks[:-1])
        high = _choose(plan, table[middle:], selector, masks[:-1])
        return low if low == high else plan.selected(high, low, masks[-1])
    if len(set(table)) == 1:
        return plan.constant(table[0] * 0x01010101)
    padded = (list(table) * 8)[:8]
    halves = [int.from_bytes(bytes(padded[i : i + 4]), "little") for i in (0, 4)]
    return plan.op("prmt.b32", *(plan.constant(word) for word in halves), selector)


def _byte_mask(plan: PlanBuilder, group: Sequence[tuple[Run, ...]], bit: int) -> Word:
    """A byte of ones for each element with this code bit set."""
    selector = _nibbles(plan, group, bit, bit + 1)
    return plan.op("prmt.b32", plan.constant(0x0000FF00), 0, selector)


def _nibbles(plan: PlanBuilder, group: Sequence[tuple[Run, ...]], start: int, stop: int) -> Word:
    moves: list[Move] = []
    for number, runs in enumerate(group):
        moves += field_moves(plan, runs, start, stop, 4 * number)
    return gather(plan, moves)


def _pair(
    plan: PlanBuilder, bytes_of: dict[int, tuple[list[Word], int]], low: int, high: int
) -> Word:
    (planes, first), (_, second) = bytes_of[low], bytes_of[high]
    selector = first | 4 + first << 4 | second << 8 | 4 + second << 12
    return plan.op("prmt.b32", *planes, selector)


def _single(plan: PlanBuilder, planes: list[Word], number: int) -> Word:
    selector = number | 4 + number << 4
    low = plan.op("prmt.b32", planes[0], planes[1], selector)
    high = plan.op("prmt.b32", planes[2], planes[3], selector)
    return plan.op("prmt.b32", low, high, 0x5410)
