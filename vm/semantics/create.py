"""Making register tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..instruction import Instruction
from ..instructions.create import AllocRegisters, Arange, Full
from ..types import RegType
from .registry import semantics
from .values import Tile, storage, tile_of_numbers

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


def result_type(instruction: Instruction) -> RegType:
    """The type of an instruction's result, a register tile."""
    assert instruction.result is not None
    assert isinstance(instruction.result.type, RegType)
    return instruction.result.type


@semantics(AllocRegisters)
def alloc_registers(group: ThreadGroup, instruction: AllocRegisters) -> Tile:
    type_ = result_type(instruction)
    data = np.zeros(type_.shape, storage(type_.dtype))
    return Tile(type_.dtype, data, np.ones(type_.shape, np.bool_))


@semantics(Full)
def full(group: ThreadGroup, instruction: Full) -> Tile:
    type_ = result_type(instruction)
    one = tile_of_numbers(type_.dtype, np.asarray(instruction.fill))
    return Tile(type_.dtype, np.full(type_.shape, one.data))


@semantics(Arange)
def arange(group: ThreadGroup, instruction: Arange) -> Tile:
    type_ = result_type(instruction)
    along = [1] * type_.rank
    along[instruction.dim] = type_.shape[instruction.dim]
    steps = np.arange(type_.shape[instruction.dim], dtype=np.int64).reshape(along)
    numbers = instruction.start + instruction.step * steps
    return tile_of_numbers(type_.dtype, np.broadcast_to(numbers, type_.shape).copy())
