"""The turns of a tiled product, for every program that is one: sums of a @ b in registers.

Each turn takes `depth` of what is summed over. The tiles of the turn after are read into registers
while this one's are multiplied out of shared memory, whose rows are swizzled so that neither the
stores nor `ldmatrix` meet a bank twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tileloom import vm
from tileloom.layouts import MemoryLayout, Swizzle, row_major
from tileloom.vm.dsl.values import ScalarLike, Tile
from tileloom.vm.dtypes import Dtype

from .program import Schedule

Load = Callable[[ScalarLike], Tile]


def spread(shape: tuple[int, int], bits: int) -> MemoryLayout:
    """Rows, a power of two of bytes each, whose 16-byte chunks are permuted by the row: the same
    chunk of eight neighbouring rows lies in different banks."""
    width = (shape[1] * bits // 8).bit_length() - 1
    moved = min(3, width - 4)
    if moved < 1:
        return row_major(*shape)
    return replace(row_major(*shape), swizzle=Swizzle(moved, 4, max(3, width - 4)))


def accumulate(
    s: Schedule,
    kind: Dtype,
    start: ScalarLike,
    stop: ScalarLike,
    load_a: Load,
    load_b: Load,
    *,
    turned_a: bool = False,
    turned_b: bool = False,
) -> Tile:
    """The sum over the turns [start, stop) of load_a(turn) @ load_b(turn), in f32.

    The tiles are a [rows, depth] and b [depth, columns]; those that are `turned` come with the
    dimensions swapped. The turn `stop` is read too, and dropped.
    """
    shape_a, shape_b = (s.rows, s.depth), (s.depth, s.columns)
    shape_a = shape_a[::-1] if turned_a else shape_a
    shape_b = shape_b[::-1] if turned_b else shape_b
    shared_a = vm.alloc_shared(kind, shape_a, spread(shape_a, kind.bits))
    shared_b = vm.alloc_shared(kind, shape_b, spread(shape_b, kind.bits))
    total = vm.full(vm.f32, s.c.shape, 0.0, s.c)
    next_a, next_b = load_a(start), load_b(start)
    for turn in vm.range(start, stop):
        vm.store(shared_a, [0, 0], next_a)
        vm.store(shared_b, [0, 0], next_b)
        vm.barrier()
        next_a.set(load_a(turn + 1))
        next_b.set(load_b(turn + 1))
        vm.mma(
            total,
            vm.load(shared_a, [0, 0], s.a.shape, s.a, dims=(1, 0) if turned_a else None),
            vm.load(shared_b, [0, 0], s.b.shape, s.b, dims=(1, 0) if turned_b else None),
        )
        vm.barrier()
    return total
