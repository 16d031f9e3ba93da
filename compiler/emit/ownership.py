"""Whether every byte that a tile's elements lie in has one thread that stores to it.

Elements smaller than a byte share bytes with their neighbours, and a store rewrites whole bytes:
two threads at one byte would race. The proof enumerates the tile, for every bit of a byte at which
its first element may start. Along a dimension whose stride is a run-time number of whole bytes rows
are taken to lie apart.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tileloom.layouts import MemoryLayout, RegisterLayout
from tileloom.vm.expr import Expr
from tileloom.vm.types import RegType

from .addresses import contribution
from .context import Context, GlobalBinding, SharedBinding
from .linear import Linear

IntTable = npt.NDArray[np.int64]


def one_owner_a_byte(
    context: Context,
    binding: GlobalBinding | SharedBinding,
    offsets: tuple[Expr, ...],
    dims: tuple[int, ...] | None,
    type_: RegType,
) -> bool:
    """True if no two threads of a tile at `offsets` along `dims` share a byte, provably."""
    bits, rank = type_.dtype.bits, len(offsets)
    if bits % 8 == 0:
        return True
    dims = tuple(range(rank - type_.rank, rank)) if dims is None else dims
    starts = [context.scalars.integer(offset) for offset in offsets]
    strides = _strides(context, binding, dims, bits)
    if isinstance(binding, SharedBinding) and strides is None:
        if not all(start.is_const for start in starts):
            return False
        index = tuple(start.const for start in starts)
        return _exact(type_.placed, binding.layout, index, dims, bits)
    if strides is None:
        return len(np.unique(type_.placed.spatial_table, axis=0)) == 1
    base = Linear({}, binding.layout.start if isinstance(binding, SharedBinding) else 0)
    for memory_dim, start in enumerate(starts):
        base = base + contribution(context, binding, memory_dim, start, 0)
    step = context.facts.divisor(base.without_const()) * bits % 8
    first = base.const * bits
    residues = {(first + step * number) % 8 for number in range(8)}
    return all(_separate(type_.placed, strides, residue, bits) for residue in residues)


def _strides(
    context: Context, binding: GlobalBinding | SharedBinding, dims: tuple[int, ...], bits: int
) -> tuple[int | None, ...] | None:
    """Constant strides of the tile's dimensions; None for one of whole bytes that only the run
    knows. None if a stride may be no whole number of bytes, or there is no single one."""
    found: list[int | None] = []
    for memory_dim in dims:
        if isinstance(binding, SharedBinding):
            digits = binding.layout.digits_of(memory_dim)
            if len(digits) > 1:
                return None
            found.append(digits[0][2] if digits else 0)
            continue
        stride = binding.strides[memory_dim]
        if stride.is_const:
            found.append(stride.const)
        elif context.facts.divisor(stride) * bits % 8:
            return None
        else:
            found.append(None)
    return tuple(found)


@lru_cache(maxsize=256)
def _separate(
    layout: RegisterLayout, strides: tuple[int | None, ...], residue: int, bits: int
) -> bool:
    table = layout.table()
    known = np.array([stride or 0 for stride in strides], np.int64)
    row = np.zeros(table.shape[:2], np.int64)
    for dim, stride in enumerate(strides):
        if stride is None:
            row = row * layout.shape[dim] + table[..., dim]
    return _distinct(layout, row, (table @ known) * bits + residue, bits)


@lru_cache(maxsize=256)
def _exact(
    layout: RegisterLayout,
    memory: MemoryLayout,
    start: tuple[int, ...],
    dims: tuple[int, ...],
    bits: int,
) -> bool:
    table = layout.table()
    index = np.broadcast_to(np.array(start, np.int64), (*table.shape[:2], len(start))).copy()
    for tile_dim, memory_dim in enumerate(dims):
        index[..., memory_dim] += table[..., tile_dim]
    positions = memory.offsets(index) * bits
    return _distinct(layout, np.zeros_like(positions), positions, bits)


def _distinct(layout: RegisterLayout, row: IntTable, place: IntTable, bits: int) -> bool:
    """Whether threads that hold different elements [thread, local] touch different bytes."""
    _, owner = np.unique(layout.spatial_table, axis=0, return_inverse=True)
    owners = np.broadcast_to(owner.reshape(-1, 1), place.shape)
    last = (place + bits - 1) >> 3
    steps = range(int((last - (place >> 3)).max()) + 1)
    touched = [np.minimum((place >> 3) + step, last) for step in steps]
    keys = np.stack([row * (int(last.max()) + 1) + byte for byte in touched]).reshape(-1)
    pairs = np.unique(np.stack([keys, np.tile(owners.reshape(-1), len(steps))]), axis=1)
    return bool(len(np.unique(pairs[0])) == pairs.shape[1])
