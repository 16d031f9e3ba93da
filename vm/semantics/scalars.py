"""Mutable scalars, and scalars taken from memory and tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..instructions.scalars import Assign, Item, LoadScalar, Var
from ..interpreter.boxes import place
from ..interpreter.memory import GlobalTensor
from ..interpreter.owners import MANY
from ..interpreter.scalars import Poison, normalize
from ..types import RegType, ScalarType
from .registry import semantics
from .values import python_number, to_numbers

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


@semantics(Var)
def var(group: ThreadGroup, instruction: Var) -> Any:
    assert instruction.result is not None
    assert isinstance(instruction.result.type, ScalarType)
    value = group.maybe_scalar(instruction.value)
    return normalize(instruction.result.type.dtype, value)


@semantics(Assign)
def assign(group: ThreadGroup, instruction: Assign) -> None:
    target = instruction.target
    if isinstance(target.type, RegType):
        group.mutate(target, group.tile(instruction.value))
        return
    assert isinstance(target.type, ScalarType)
    group.assign(target, target.type.dtype, group.maybe_scalar(instruction.value))


@semantics(LoadScalar)
def load_scalar(group: ThreadGroup, instruction: LoadScalar) -> Any:
    source = group.memory(instruction.source)
    dtype = source.dtype if isinstance(source, GlobalTensor) else source.type.dtype
    box = place(group.indices(instruction.offsets), source.shape, (), None)
    if box.empty:
        return python_number(dtype, 0)
    if isinstance(source, GlobalTensor):
        return python_number(dtype, to_numbers(dtype, source.read(box))[()])
    where = instruction.location
    data, poison = source.read(box, np.asarray(MANY, np.int32), where, group.checks)
    if poison is not None:
        return Poison(f"`%{source.name}` in shared memory", where)
    return python_number(dtype, to_numbers(dtype, data)[()])


@semantics(Item)
def item(group: ThreadGroup, instruction: Item) -> Any:
    tile = group.tile(instruction.value)
    if tile.poison is not None and tile.poison.any() and group.checks:
        return Poison(f"a tile without a value, `{_name(instruction)}`", instruction.location)
    return python_number(tile.dtype, tile.numbers.reshape(-1)[0])


def _name(instruction: Item) -> str:
    return f"%{getattr(instruction.value, 'name', '')}"
