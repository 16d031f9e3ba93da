"""Reading and writing memory at places that a tile of indices gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..diagnostics import ExecutionError
from ..instructions.gather import Gather, Scatter
from ..interpreter.memory import GlobalTensor
from ..interpreter.owners import owners
from ..interpreter.points import Points, points
from ..interpreter.shared import SharedTile
from ..ir import Value
from ..types import RegType
from .create import result_type
from .registry import semantics
from .values import Array, Tile, storage, to_codes

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


@semantics(Gather)
def gather(group: ThreadGroup, instruction: Gather) -> Tile:
    source, type_ = group.memory(instruction.source), result_type(instruction)
    found = _places(group, instruction, source, type_.shape)
    data = np.zeros(type_.shape, storage(type_.dtype))
    if found.empty:
        return Tile(type_.dtype, data)
    if isinstance(source, GlobalTensor):
        data[found.inside] = source.read_points(found)
        return Tile(type_.dtype, data)
    threads = owners(type_)[found.inside]
    part, missing = source.read(found, threads, instruction.location, group.checks)
    data[found.inside] = part
    if missing is None:
        return Tile(type_.dtype, data)
    poison = np.zeros(type_.shape, np.bool_)
    poison[found.inside] = missing
    return Tile(type_.dtype, data, poison)


@semantics(Scatter)
def scatter(group: ThreadGroup, instruction: Scatter) -> None:
    target, value = group.memory(instruction.target), group.tile(instruction.value)
    assert isinstance(instruction.value, Value)
    type_ = instruction.value.type
    assert isinstance(type_, RegType)
    found = _places(group, instruction, target, value.shape)
    if found.empty:
        return
    data, poison = value.data[found.inside], value.poison
    poison = None if poison is None else poison[found.inside]
    if group.checks:
        _check_distinct(instruction, target, found, to_codes(type_.dtype, data))
    if isinstance(target, GlobalTensor):
        group.refuse_poison(instruction, instruction.value, poison, "is stored to global memory")
        target.write_points(found, data)
        group.world.writes += 1
        return
    threads = owners(type_)[found.inside]
    target.write(found, data, poison, threads, instruction.location, group.checks)


def _places(
    group: ThreadGroup,
    instruction: Gather | Scatter,
    memory: GlobalTensor | SharedTile,
    shape: tuple[int, ...],
) -> Points:
    index, rank = group.tile(instruction.index), len(memory.shape)
    group.refuse_poison(instruction, instruction.index, index.poison, "is used as an index")
    dims = instruction.dims or tuple(range(rank - len(shape), rank))
    grid = np.indices(shape, np.int64, sparse=True)
    coordinates: list[Any] = [np.int64(offset) for offset in group.indices(instruction.offsets)]
    for tile_dim, memory_dim in enumerate(dims):
        if memory_dim != instruction.dim:
            coordinates[memory_dim] = coordinates[memory_dim] + grid[tile_dim]
    number = index.numbers
    if number.dtype == np.uint64:  # beyond int64: no memory is that large
        number = np.minimum(number, np.uint64(1 << 62))
    number = number.astype(np.int64)
    coordinates[instruction.dim] = coordinates[instruction.dim] + number
    found = points(tuple(map(np.asarray, coordinates)), memory.shape, shape)
    if instruction.in_bounds and not found.whole and group.checks:
        raise ExecutionError(
            f"an index leaves `%{memory.name}` of shape {list(memory.shape)}, "
            "but `in_bounds` promises that none does",
            hint="drop `in_bounds`",
        )
    return found


def _check_distinct(
    instruction: Scatter, target: GlobalTensor | SharedTile, found: Points, codes: Array
) -> None:
    """No place may get two values: which of them stays would be chance."""
    flat = np.ravel_multi_index(found.at, target.shape)
    order = np.argsort(flat, kind="stable")
    flat, codes = flat[order], codes[order]
    clash = np.flatnonzero((flat[1:] == flat[:-1]) & (codes[1:] != codes[:-1]))
    if clash.size:
        place = found.index_of((int(order[clash[0]]),))
        raise ExecutionError(
            f"different values are scattered to element {place} of `%{target.name}`",
            hint="make the indices distinct, or combine the values with `atomic`",
        )
