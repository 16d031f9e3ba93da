"""Special registers: %tid, %laneid and their kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .types import Array

if TYPE_CHECKING:
    from .machine import Machine


def special_value(machine: Machine, name: str, blocks: Array, threads: Array) -> Array:
    """A special register for `threads` (linear in their block) of linear `blocks`."""
    base, _, axis = name[1:].partition(".")
    place = "xyz".index(axis) if axis else 0
    block, grid, cluster = machine.block, machine.grid, machine.clusters.extents
    whole = np.zeros_like(threads)
    lanes = threads % 32
    ones = np.int64(1)
    values: dict[str, Callable[[], Array]] = {
        "tid": lambda: _component(threads, block, place),
        "ntid": lambda: whole + block[place],
        "ctaid": lambda: _component(blocks, grid, place),
        "nctaid": lambda: whole + grid[place],
        "clusterid": lambda: _component(blocks, grid, place) // cluster[place],
        "nclusterid": lambda: whole + grid[place] // cluster[place],
        "cluster_ctaid": lambda: _component(blocks, grid, place) % cluster[place],
        "cluster_nctaid": lambda: whole + cluster[place],
        "cluster_ctarank": lambda: _rank(blocks, grid, cluster),
        "cluster_nctarank": lambda: whole + machine.clusters.size,
        "is_explicit_cluster": lambda: whole + (machine.clusters.size > 1),
        "laneid": lambda: lanes,
        "warpid": lambda: threads // 32,
        "nwarpid": lambda: whole + machine.warps_per_block,
        "nsmid": lambda: whole + 1,
        "dynamic_smem_size": lambda: whole + machine.memory.shared_size,
        "total_smem_size": lambda: whole + machine.memory.shared_size,
        "lanemask_eq": lambda: ones << lanes,
        "lanemask_lt": lambda: (ones << lanes) - 1,
        "lanemask_le": lambda: (ones << (lanes + 1)) - 1,
        "lanemask_ge": lambda: 0xFFFFFFFF & ~((ones << lanes) - 1),
        "lanemask_gt": lambda: 0xFFFFFFFF & ~((ones << (lanes + 1)) - 1),
    }
    value: Array = values[base]() if base in values else whole
    return value


def _rank(blocks: Array, grid: tuple[int, int, int], cluster: tuple[int, int, int]) -> Array:
    x, y, z = (_component(blocks, grid, axis) % cluster[axis] for axis in range(3))
    ranks: Array = x + cluster[0] * (y + cluster[1] * z)
    return ranks


def _component(linear: Array, extents: tuple[int, int, int], place: int) -> Array:
    before = int(np.prod(extents[:place]))
    result: Array = linear // before % extents[place]
    return result
