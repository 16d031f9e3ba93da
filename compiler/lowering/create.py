"""Lowering of the instructions that make register tiles."""

from __future__ import annotations

from tileloom.vm.dtypes import Dtype
from tileloom.vm.instructions.create import AllocRegisters, Arange, Full
from tileloom.vm.types import RegType

from ..emit.context import Context
from ..emit.elements import pack_elements
from ..emit.linear import Linear
from ..emit.tiles import register_count, register_kind, tile_type
from ..ptx import Operand, Register, RegisterKind
from .registry import lowering


@lowering(AllocRegisters)
def lower_alloc_registers(context: Context, instruction: AllocRegisters) -> None:
    # No code: registers have no value until they are written, in PTX as here.
    assert instruction.result is not None
    context.define(instruction.result)


@lowering(Full)
def lower_full(context: Context, instruction: Full) -> None:
    result = instruction.result
    assert result is not None and isinstance(result.type, RegType)
    _fill(context, instruction, code_of(result.type.dtype, instruction.fill))


def _fill(context: Context, instruction: Full, code: int) -> None:
    result = instruction.result
    assert result is not None
    type_ = tile_type(result)
    kind = register_kind(type_)
    if kind is RegisterKind.PRED:
        _fill_predicates(context, instruction, bool(code))
        return
    words = repeated_words(code, type_.dtype.bits, register_count(type_))
    tile = context.define(result)
    for register, word in zip(tile.registers, words, strict=True):
        context.builder.emit(f"mov.{kind.ptx_type}", (register,), (word,))


def _fill_predicates(context: Context, instruction: Full, value: bool) -> None:
    assert instruction.result is not None
    for register in context.define(instruction.result).registers:
        context.builder.emit("setp.ne.s32", (register,), (int(value), 0))


def code_of(dtype: Dtype, value: float | int | bool) -> int:
    """The code of a value in a dtype."""
    return int(dtype.encode(value))


def repeated_words(code: int, bits: int, count: int) -> list[int]:
    """A code repeated through `count` words (or registers of 64 bits)."""
    if bits >= 32:
        return [code] * count
    stream = sum(code << (bits * i) for i in range(-(-32 * count // bits)))
    return [stream >> (32 * i) & 0xFFFFFFFF for i in range(count)]


@lowering(Arange)
def lower_arange(context: Context, instruction: Arange) -> None:
    result = instruction.result
    assert result is not None and isinstance(result.type, RegType)
    layout, dim = result.type.placed, instruction.dim
    base = context.spatial_index(layout, dim) * instruction.step + instruction.start
    by_value: dict[int, Operand] = {}
    last = instruction.start + instruction.step * (result.type.shape[dim] - 1)
    ends = (min(instruction.start, last), max(instruction.start, last))
    for value in sorted(set(layout.local_table[:, dim].tolist())):
        form = base + value * instruction.step
        by_value[value] = _element(context, result.type.dtype, form, ends)
    elements = [by_value[value] for value in layout.local_table[:, dim].tolist()]
    context.bind(result, pack_elements(context, result.type, elements))


def _element(context: Context, dtype: Dtype, form: Linear, ends: tuple[int, int]) -> Register:
    """An index, between `ends`, as an element in the representation that `pack_elements` takes.

    What an integer type can't hold becomes its least or largest value.
    """
    pure, wide = context.builder.pure, dtype.bits == 64
    register = context.scalars.in_register(form, wide)
    if dtype.is_float:
        if wide:
            return pure("cvt.rn.f64.s64", RegisterKind.B64, register)
        return pure("cvt.rn.f32.s32", RegisterKind.B32, register)
    suffix, kind = ("s64", RegisterKind.B64) if wide else ("s32", RegisterKind.B32)
    if ends[0] < dtype.min_finite:
        register = pure(f"max.{suffix}", kind, register, int(dtype.min_finite))
    if ends[1] > dtype.max_finite:
        register = pure(f"min.{suffix}", kind, register, int(dtype.max_finite))
    return register
