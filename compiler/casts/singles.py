"""Integer codes to elements of 32 bits: f32 by a magic exponent, integers by extraction."""

from __future__ import annotations

from tileloom.vm.dtypes import Dtype, f32
from tileloom.vm.packing import Packing

from .elements import Run, element_runs, field_moves
from .gather import gather, new_shifts
from .halves import exact_code
from .plan import PlanBuilder, Word

_WINDOW = 23
_MAGIC_BITS = 0x4B000000  # 2**23, whose last bit is worth 1


def cast_f32(plan: PlanBuilder, source: Dtype, packing: Packing, count: int) -> list[Word]:
    """The values of integers and bipolar integers in f32."""
    runs = element_runs(packing, source.bits, count)
    return [_to_f32(plan, source, element) for element in runs]


def _to_f32(plan: PlanBuilder, source: Dtype, runs: tuple[Run, ...]) -> Word:
    bits, bipolar = source.bits, source.kind == "bipolar"
    place = _best_place(plan, bits, runs, 1 if bipolar else 0)
    flip = _MAGIC_BITS
    if bipolar:
        # The bit below the code is set: 2**23 + (2 * code + 1) * 2**(place - 1).
        flip |= 1 << place - 1
    if source.kind == "int":
        flip |= 1 << place + bits - 1
    word = gather(plan, field_moves(plan, runs, 0, bits, place), flip)
    factor = 2.0 ** (1 - place if bipolar else -place)
    zero = 2.0**bits if bipolar else 2.0 ** (bits - 1) if source.kind == "int" else 0.0
    return _scaled(plan, word, factor, -(2.0**_WINDOW * factor + zero))


def _best_place(plan: PlanBuilder, bits: int, runs: tuple[Run, ...], least: int) -> int:
    """The place that costs fewest operations; among equals, that of the word shifted by 16."""

    def cost(place: int) -> tuple[int, bool, int]:
        moves = field_moves(plan, runs, 0, bits, place)
        return sum(new_shifts(plan, moves)), moves[0].bit - place != 16, place

    return min(range(least, _WINDOW - bits + 1), key=cost)


def _scaled(plan: PlanBuilder, word: Word, factor: float, offset: float) -> Word:
    if factor == 1.0:
        return plan.op("sub.f32", word, plan.constant(exact_code(f32, -offset)))
    constants = (plan.constant(exact_code(f32, factor)), plan.constant(exact_code(f32, offset)))
    return plan.op("fma.rn.f32", word, *constants)


def integers(plan: PlanBuilder, source: Dtype, packing: Packing, count: int) -> list[Word]:
    """The values of integers and bipolar integers as 32-bit integers."""
    runs = element_runs(packing, source.bits, count)
    return [_to_integer(plan, source, element) for element in runs]


def _to_integer(plan: PlanBuilder, source: Dtype, runs: tuple[Run, ...]) -> Word:
    bits, signed = source.bits, source.kind == "int"
    if len(runs) == 1 and source.kind != "bipolar":
        word, bit = plan.input(runs[0].word), runs[0].bit
        if bits == 32:
            return word
        if not signed:
            shifted = plan.shifted(word, -bit)
            return shifted if bit + bits == 32 else plan.masked(shifted, (1 << bits) - 1)
        top = plan.shifted(word, 32 - bits - bit)
        return plan.op("shr.s32", top, 32 - bits)
    if source.kind == "bipolar":
        doubled = gather(plan, field_moves(plan, runs, 0, bits, 1))
        return plan.op("sub.s32", doubled, (1 << bits) - 1)
    code = gather(plan, field_moves(plan, runs, 0, bits, 0), 1 << bits - 1 if signed else 0)
    return plan.op("sub.s32", code, 1 << bits - 1) if signed else code
