"""Atomic updates of memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..instructions.atomics import Atomic, AtomicScalar
from ..interpreter.boxes import Box, place
from ..interpreter.memory import GlobalTensor
from ..interpreter.scalars import normalize
from ..interpreter.shared import SharedTile
from ..ir import Value
from ..types import RegType
from .registry import semantics
from .sync import one_element
from .values import Array, Mask, Tile, from_numbers, python_number, storage, to_numbers

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup

Combine = Callable[[Any, Any], Any]

_OPERATIONS: Final[dict[str, Combine]] = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "exchange": lambda old, new: new,
}


@semantics(Atomic)
def atomic(group: ThreadGroup, instruction: Atomic) -> Tile | None:
    target, value = group.memory(instruction.target), group.tile(instruction.value)
    box = place(group.indices(instruction.offsets), target.shape, value.shape, instruction.dims)
    if box.empty:
        old: Array = np.zeros(value.shape, storage(value.dtype))
        return Tile(value.dtype, old) if instruction.result is not None else None
    poison = None if value.poison is None else box.cut(value.poison)
    group.refuse_poison(instruction, instruction.value, poison, "is combined into memory")
    if isinstance(target, GlobalTensor):
        old, mask = _update_global(group, instruction, target, box, value), None
    else:
        old, mask = _update_shared(group, instruction, target, box, value)
    if instruction.result is None:
        return None
    where = None if mask is None else box.expand(mask, value.shape, False)
    return Tile(value.dtype, box.expand(old, value.shape), where)


def _combine(instruction: Atomic, value: Tile, old: Array, data: Array) -> Array:
    dtype = value.dtype
    numbers = _OPERATIONS[instruction.op](to_numbers(dtype, old), to_numbers(dtype, data))
    return from_numbers(dtype, np.asarray(numbers))


def _update_global(
    group: ThreadGroup, instruction: Atomic, target: GlobalTensor, box: Box, value: Tile
) -> Array:
    group.world.writes += 1
    data = box.cut(value.data)
    places = target.positions(box).reshape(-1)
    if np.unique(places).size == places.size:
        old = target.read(box)
        target.write(box, _combine(instruction, value, old, data))
        return old
    # Several elements update one place: one after the other, in index order.
    old = np.empty(box.size, data.dtype)
    for at in np.ndindex(*box.size):
        start = list(box.start)
        for dim, step in zip(box.dims, at, strict=True):
            start[dim] += step
        one = Box(tuple(start), (), (), (), True)
        old[at] = target.read(one)
        target.write(one, _combine(instruction, value, old[at], data[at]))
    return old


def _update_shared(
    group: ThreadGroup, instruction: Atomic, target: SharedTile, box: Box, value: Tile
) -> tuple[Array, Mask | None]:
    if group.checks:
        target.note_atomic(box, instruction.location)
    window, poison = box.select(target.data), box.select(target.poison)
    old, mask = window.copy(), poison.copy()
    window[...] = _combine(instruction, value, old, box.cut(value.data))
    if instruction.op == "exchange":
        poison[...] = False
    assert isinstance(instruction.value, Value)
    assert isinstance(instruction.value.type, RegType)
    return old, mask if group.checks else None


@semantics(AtomicScalar)
def atomic_scalar(group: ThreadGroup, instruction: AtomicScalar) -> Any:
    tensor, box = one_element(group, instruction.target, instruction.offsets)
    dtype = tensor.dtype
    value = normalize(dtype, group.scalar(instruction.value))
    group.meet()
    old = python_number(dtype, tensor.read(box)[()])
    new = normalize(dtype, int(_OPERATIONS[instruction.op](old, value)))
    tensor.write(box, from_numbers(dtype, np.asarray(new)))
    group.world.writes += 1
    return old
