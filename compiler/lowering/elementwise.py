"""Lowering of elementwise operations.

f16 and bf16 use packed instructions, two elements each, where the target has them; all other
operations on them go through f32, which gives the correctly rounded result (f32 has more than twice
their precision). Multiplications carry `.rn` so that the assembler never fuses them with additions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tileloom.layouts import auto
from tileloom.vm.dtypes import Dtype
from tileloom.vm.expr import Expr
from tileloom.vm.instruction import Instruction, Role, roles
from tileloom.vm.instructions import elementwise as vm
from tileloom.vm.ir import Value
from tileloom.vm.packing import CONTIGUOUS
from tileloom.vm.types import RegType

from ..emit.context import Context
from ..emit.elements import (
    is_half,
    pack_elements,
    scalar_element,
    scalar_word,
    unpack_elements,
)
from ..emit.locals import broadcast_source, matching_locals, select_locals
from ..emit.tiles import Tile, tile_type
from ..ptx import Operand, Register, RegisterKind
from . import operations
from .registry import Demand, layout_default, layout_demand, layout_rule, lowering

if TYPE_CHECKING:
    from ..passes.inference import Inference

B32 = RegisterKind.B32


def _operation_classes() -> list[type[Instruction]]:
    found: list[type[Instruction]] = []
    pending: list[type[Instruction]] = [vm.Elementwise]
    while pending:
        cls = pending.pop(0)
        pending.extend(cls.__subclasses__())
        if cls.name:
            found.append(cls)
    return found


@lowering(*_operation_classes())
def lower_elementwise(context: Context, instruction: vm.Elementwise) -> None:
    result = instruction.result
    assert result is not None and isinstance(result.type, RegType)
    operands = tuple(instruction.operands())
    dtype = next(tile_type(o).dtype for o in reversed(operands) if isinstance(o, Value))
    if is_half(dtype):
        packed = operations.packed_operation(type(instruction), dtype, context.target)
        if packed is not None and all(_contiguous(o) for o in operands):
            context.bind(result, _lower_packed(context, operands, result.type, dtype, packed))
            return
    if isinstance(instruction, vm.Where) and dtype.bits < 32 and dtype.kind != "bool":
        context.bind(result, _lower_packed_where(context, instruction, result.type))
        return
    columns = [elements_of(context, operand, result.type, dtype) for operand in operands]
    emit = operations.element_operation(type(instruction), dtype)
    elements = [emit(context, *row) for row in zip(*columns, strict=True)]
    context.bind(result, pack_elements(context, result.type, elements))


def _contiguous(operand: Value | Expr) -> bool:
    if isinstance(operand, Expr):
        return True
    return isinstance(operand.type, RegType) and operand.type.packing == CONTIGUOUS


def _numbers(context: Context, tile: Tile, type_: RegType) -> tuple[int, ...]:
    numbers = matching_locals(type_.placed, tile.type.placed, context.num_threads)
    assert numbers is not None, "inference left an operand in other threads"
    return numbers


def elements_of(
    context: Context, operand: Value | Expr, type_: RegType, dtype: Dtype
) -> Sequence[Operand]:
    """The operand's element for each local of a result of `type_`."""
    if isinstance(operand, Expr):
        return [scalar_element(context, operand, dtype)] * type_.placed.num_locals
    tile = context.tile(operand)
    return unpack_elements(context, tile, _numbers(context, tile, type_))


def words_of(
    context: Context, operand: Value | Expr, type_: RegType, dtype: Dtype
) -> Sequence[Operand]:
    """The operand's words, in the order of the words of a result of `type_`."""
    if isinstance(operand, Expr):
        count = -(-type_.placed.num_locals * dtype.bits // 32)
        return [scalar_word(context, operand, dtype)] * count
    tile = context.tile(operand)
    numbers = _numbers(context, tile, type_)
    if numbers == tuple(range(tile.num_locals)):
        return tile.registers
    return select_locals(context, tile, numbers)


def _lower_packed(
    context: Context,
    operands: Sequence[Value | Expr],
    type_: RegType,
    dtype: Dtype,
    packed: Callable[..., Register],
) -> list[Register]:
    columns = [words_of(context, operand, type_, dtype) for operand in operands]
    return [packed(context, *row) for row in zip(*columns, strict=True)]


def _lower_packed_where(context: Context, instruction: vm.Where, type_: RegType) -> list[Register]:
    """Selection never computes: whole words are chosen, then their elements put together."""
    dtype = type_.dtype
    bits, count = dtype.bits, type_.placed.num_locals
    conditions = elements_of(context, instruction.condition, type_, _BOOL)
    sides = []
    for operand in (instruction.then, instruction.otherwise):
        if isinstance(operand, Expr):
            element = scalar_element(context, operand, dtype)
            sides.append(pack_elements(context, type_, [element] * count))
        else:
            tile = context.tile(operand)
            sides.append(select_locals(context, tile, _numbers(context, tile, type_)))
    from ..emit.bits import Piece, assemble, split_at_words

    pieces: list[list[Piece]] = [[] for _ in range(-(-count * bits // 32))]
    for number, condition in enumerate(conditions):
        for _, bit, width, word, _ in split_at_words(number * bits, bits, number * bits):
            then, otherwise = sides[0][word], sides[1][word]
            chosen = context.builder.compute("selp.b32", B32, then, otherwise, condition)
            pieces[word].append(Piece(chosen, bit, width, bit))
    return [assemble(context.builder, parts) for parts in pieces]


def _bool() -> Dtype:
    from tileloom.vm.dtypes import dtype

    return dtype("bool")


_BOOL = _bool()


@layout_rule(*_operation_classes())
def infer_elementwise(inference: Inference, instruction: vm.Elementwise) -> None:
    result = instruction.result
    assert result is not None and isinstance(result.type, RegType)
    tiles = [o for o in instruction.operands() if isinstance(o, Value)]
    for tile in tiles:
        if tile_type(tile).shape == result.type.shape:
            inference.propose(result, inference.known(tile))
    layout = inference.known(result)
    if layout is None:
        return
    for tile in tiles:
        inference.propose(tile, broadcast_source(layout, tile_type(tile).shape))


@layout_default(*_operation_classes(), phase=3)
def default_elementwise(inference: Inference, instruction: vm.Elementwise) -> None:
    """No operand has the result's shape: repeat one of them."""
    result = instruction.result
    assert result is not None and isinstance(result.type, RegType)
    inference.propose(result, auto(inference.num_threads, result.type.shape))


@layout_demand(*_operation_classes())
def elementwise_demand(instruction: vm.Elementwise, num_threads: int) -> Demand:
    result = instruction.result
    assert result is not None and isinstance(result.type, RegType)
    demands: Demand = []
    for name, role in roles(type(instruction)).items():
        tile = getattr(instruction, name)
        if role is not Role.OPERAND or not isinstance(tile, Value):
            continue
        assert isinstance(tile.type, RegType)
        if matching_locals(result.type.placed, tile.type.placed, num_threads) is None:
            demands.append((name, broadcast_source(result.type.placed, tile.type.shape)))
    return demands
