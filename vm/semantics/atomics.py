"""Atomic updates of memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..dtypes import Dtype
from ..instructions.atomics import Atomic, AtomicScalar
from ..interpreter.boxes import Box, place
from ..interpreter.memory import GlobalTensor
from ..interpreter.scalars import normalize
from ..interpreter.shared import SharedTile
from .registry import semantics
from .sync import one_element
from .values import Array, Mask, Tile, from_numbers, python_number, storage, to_codes, to_numbers

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
    update = _Update(instruction.op, value.dtype, _cut(group, instruction, value, box))
    if instruction.compare is not None:
        update.compare = _cut(group, instruction, group.tile(instruction.compare), box)
    if isinstance(target, GlobalTensor):
        old, mask = _update_global(group, target, box, update), None
    else:
        old, mask = _update_shared(group, instruction, target, box, update)
    if instruction.result is None:
        return None
    where = None if mask is None else box.expand(mask, value.shape, False)
    return Tile(value.dtype, box.expand(old, value.shape), where)


def _cut(group: ThreadGroup, instruction: Atomic, tile: Tile, box: Box) -> Array:
    poison = None if tile.poison is None else box.cut(tile.poison)
    group.refuse_poison(instruction, instruction.value, poison, "is combined into memory")
    return box.cut(tile.data)


@dataclass(eq=False)
class _Update:
    """The operation, and its operands for the elements inside the memory."""

    op: str
    dtype: Dtype
    data: Array
    compare: Array | None = None

    def apply(self, old: Array, at: Any = ...) -> Array:
        """What replaces the old elements at these places."""
        data, dtype = self.data[at], self.dtype
        if self.compare is not None:
            same = to_codes(dtype, np.asarray(old)) == to_codes(dtype, self.compare[at])
            return np.where(same, data, old)
        numbers = _OPERATIONS[self.op](to_numbers(dtype, old), to_numbers(dtype, data))
        return from_numbers(dtype, np.asarray(numbers))


def _update_global(group: ThreadGroup, target: GlobalTensor, box: Box, update: _Update) -> Array:
    group.world.writes += 1
    places = target.positions(box).reshape(-1)
    if np.unique(places).size == places.size:
        old = target.read(box)
        target.write(box, update.apply(old))
        return old
    # Several elements update one place: one after the other, in index order.
    old = np.empty(box.size, update.data.dtype)
    for at in np.ndindex(*box.size):
        start = list(box.start)
        for dim, step in zip(box.dims, at, strict=True):
            start[dim] += step
        one = Box(tuple(start), (), (), (), True)
        old[at] = target.read(one)
        target.write(one, update.apply(np.asarray(old[at]), at))
    return old


def _update_shared(
    group: ThreadGroup, instruction: Atomic, target: SharedTile, box: Box, update: _Update
) -> tuple[Array, Mask | None]:
    if group.checks:
        target.note_atomic(box, instruction.location)
    window, poison = box.select(target.data), box.select(target.poison)
    old, mask = window.copy(), poison.copy()
    window[...] = update.apply(old)
    if instruction.op == "exchange":
        poison[...] = False
    return old, mask if group.checks else None


@semantics(AtomicScalar)
def atomic_scalar(group: ThreadGroup, instruction: AtomicScalar) -> Any:
    tensor, box = one_element(group, instruction.target, instruction.offsets)
    dtype = tensor.dtype
    value = normalize(dtype, group.scalar(instruction.value))
    group.meet()
    old = python_number(dtype, tensor.read(box)[()])
    if instruction.compare is not None:
        new = value if old == normalize(dtype, group.scalar(instruction.compare)) else old
    else:
        new = normalize(dtype, int(_OPERATIONS[instruction.op](old, value)))
    tensor.write(box, from_numbers(dtype, np.asarray(new)))
    group.world.writes += 1
    return old
