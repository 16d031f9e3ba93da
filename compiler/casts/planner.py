"""The planner: from dtypes, packing and target to the cheapest sequence known.

| source | f16, bf16 | f32 | integers |
|---|---|---|---|
| integers, bipolar | magic exponents | magic exponents | extraction |
| floats | shift and mask, or the target's conversion | bf16 or f16, widened | f32, rounded |
| e8m0 | f32, rounded | the exponent in its place | f32, rounded |
| code books | byte permutes in tables | the same | the same |

Wide types become narrow ones by rounding and packing (encode.py).
"""

from __future__ import annotations

from functools import lru_cache

from tileloom.vm.decode import decode_form
from tileloom.vm.diagnostics import VMTypeError
from tileloom.vm.dtypes import Dtype, bf16, f16, f32
from tileloom.vm.packing import CONTIGUOUS, PAIRED, Packing, pairs, unit_words

from ..targets import TARGETS, Target
from . import codebooks, contiguous, encode, floats, narrow, scales, singles
from .halves import HalfType, half_type
from .integers import cast_unit, decode_unit
from .plan import Plan, PlanBuilder, Word

_INTEGERS = ("uint", "int", "bipolar")


def can_cast(source: Dtype, dest: Dtype) -> bool:
    """Whether `plan_cast` has a plan (from the contiguous packing)."""
    if source.bits > 8:
        return encode.can_narrow(source, dest)
    if source.kind == "bool":
        return False
    small_float = dest.kind == "float" and dest.bits <= 8 and dest.specials != "scale"
    integer = dest.kind in ("uint", "int") and dest.bits <= 32
    return dest in (f16, bf16, f32) or integer or small_float


@lru_cache(maxsize=1024)
def plan_cast(
    source: Dtype, dest: Dtype, packing: Packing, count: int, target: Target | str
) -> Plan:
    """The true values of `count` codes of `source`, as contiguous elements of `dest`.

    Codes of at most 8 bits become f16, bf16, f32, integers of at most 32 bits or other small
    floats; contiguous f16, bf16, f32 and integers of at most 32 bits become integers and floats of
    at most 8 bits. Values that `dest` hasn't got are rounded to nearest even, and saturate at its
    largest. Infinities and NaNs stay what they are where `dest` has them; elsewhere infinities
    saturate, and NaNs become zero in integers and the largest value in floats.

    Raises VMTypeError for types without a plan, PackingError for counts that `packing` can't hold.
    """
    if not can_cast(source, dest) or (source.bits > 8 and packing != CONTIGUOUS):
        raise VMTypeError(f"no plan to cast `{source}` to `{dest}`")
    plan = PlanBuilder(packing.words(source.bits, count))
    chosen = _target(target)
    if source.bits > 8:
        words = encode.narrowed(plan, source, dest, count, chosen)
    elif dest in (f16, bf16):
        words = _cast_halves(plan, source, half_type(dest), packing, count, chosen)
    elif dest == f32:
        words = _cast_f32(plan, source, packing, count, chosen)
    elif dest.kind in ("uint", "int") and source.kind != "codebook":
        words = _cast_integers(plan, source, dest, packing, count, chosen)
    elif source.kind == "codebook":
        words = narrow.joined(plan, dest, codebooks.codes(plan, source, dest, packing, count))
    else:
        wide = _cast_f32(plan, source, packing, count, chosen)
        words = encode.packed_floats(
            plan, dest, wide, chosen, few_bits=True, nans=source.specials != "none"
        )
    return plan.plan(words, count)


@lru_cache(maxsize=1024)
def plan_decode(
    source: Dtype, dest: Dtype, packing: Packing, count: int, target: Target | str, form: str = ""
) -> Plan:
    """The decode of `count` codes in a form of `decode_form`, as contiguous f16 or bf16.

    Raises VMTypeError for types without that form, PackingError for counts that don't fit.
    """
    decode_form(source, dest, packing, form)
    half, chosen = half_type(dest), _target(target)
    plan = PlanBuilder(packing.words(source.bits, count))
    if source.kind == "float":
        words = floats.decode_halves(plan, source, half, packing, count, chosen, form)
    elif packing != PAIRED or source.kind not in _INTEGERS:
        words = _cast_halves(plan, source, half, packing, count, chosen)
    else:
        words = [
            word
            for unit in _units(plan, source, count)
            for word in decode_unit(plan, source, half, unit, form)
        ]
    return plan.plan(words, count)


def _target(target: Target | str) -> Target:
    return target if isinstance(target, Target) else TARGETS[target]


def _units(plan: PlanBuilder, source: Dtype, count: int) -> list[list[Word]]:
    size = unit_words(source.bits)
    units = count // (2 * pairs(source.bits))
    return [[plan.input(size * unit + word) for word in range(size)] for unit in range(units)]


def _cast_halves(
    plan: PlanBuilder, source: Dtype, half: HalfType, packing: Packing, count: int, target: Target
) -> list[Word]:
    if source.specials == "scale":
        return scales.cast_halves(plan, source, half, packing, count)
    if source.kind == "float":
        return floats.cast_halves(plan, source, half, packing, count, target)
    if source.kind == "codebook":
        return codebooks.cast(plan, source, half.dtype, packing, count)
    if packing != PAIRED:
        return contiguous.cast_halves(plan, source, half, count)
    return [
        word for unit in _units(plan, source, count) for word in cast_unit(plan, source, half, unit)
    ]


def _cast_f32(
    plan: PlanBuilder, source: Dtype, packing: Packing, count: int, target: Target
) -> list[Word]:
    if source.specials == "scale":
        return scales.cast_f32(plan, source, packing, count)
    if source.kind == "float":
        return floats.cast_f32(plan, source, packing, count, target)
    if source.kind == "codebook":
        return codebooks.cast(plan, source, f32, packing, count)
    return singles.cast_f32(plan, source, packing, count)


def _cast_integers(
    plan: PlanBuilder,
    source: Dtype,
    dest: Dtype,
    packing: Packing,
    count: int,
    target: Target,
) -> list[Word]:
    if source.kind not in _INTEGERS:
        wide = _cast_f32(plan, source, packing, count, target)
        return narrow.from_f32(plan, source, dest, wide)
    if narrow.fits_bytes(source, dest):
        return narrow.to_bytes(plan, source, packing, count)
    return narrow.packed(plan, source, dest, singles.integers(plan, source, packing, count))
