"""Register tiles as virtual registers.

A thread's elements are packed in 32-bit words, least significant bit first (`Packing`); `bool`
tiles keep one predicate an element, elements of 64 bits one 64-bit register each.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd, prod

from tileloom.layouts import RegisterLayout, auto, local, replicate
from tileloom.vm.expr import Expr
from tileloom.vm.ir import Value
from tileloom.vm.types import RegType

from ..ptx import Register, RegisterKind


@dataclass(frozen=True, eq=False)
class Tile:
    """The registers that hold one thread's part of a tile."""

    type: RegType
    registers: list[Register]

    @property
    def num_locals(self) -> int:
        return self.type.placed.num_locals

    @property
    def bits(self) -> int:
        return self.type.dtype.bits


def tile_type(value: Value | Expr | None) -> RegType:
    """The type of a value that is a register tile."""
    assert isinstance(value, Value) and isinstance(value.type, RegType), f"{value} is no tile"
    return value.type


def register_kind(type_: RegType) -> RegisterKind:
    """The kind of the registers a tile lives in."""
    if type_.dtype.kind == "bool":
        return RegisterKind.PRED
    return RegisterKind.B64 if type_.dtype.bits == 64 else RegisterKind.B32


def register_count(type_: RegType) -> int:
    """How many registers a thread's part of a tile takes."""
    num_locals = type_.placed.num_locals
    if register_kind(type_) is not RegisterKind.B32:
        return num_locals
    return -(-num_locals * type_.dtype.bits // 32)


@lru_cache(maxsize=4096)
def local_indices(layout: RegisterLayout) -> tuple[tuple[int, ...], ...]:
    """What each local number adds to the index: the layout's `local_table` as numbers."""
    return tuple(map(tuple, layout.local_table.tolist()))


@lru_cache(maxsize=4096)
def local_values(layout: RegisterLayout, dim: int) -> tuple[int, ...]:
    """The numbers that local numbers add to index[dim], each once, rising."""
    return tuple(sorted({index[dim] for index in local_indices(layout)}))


def vector_layout(num_threads: int, shape: tuple[int, ...], bits: int) -> RegisterLayout:
    """Neighbouring threads read neighbouring runs of up to 16 bytes along the last dimension.

    Runs are shorter where that keeps more threads busy, but never less than whole bytes (a whole
    row where that is none): each byte has one thread.
    """
    if not shape:
        return replicate(num_threads)
    elements, run = prod(shape), 8 // gcd(bits, 8)
    if shape[-1] % run:
        run = shape[-1]
    while (
        2 * run * bits <= 128 and shape[-1] % (2 * run) == 0 and elements >= 2 * run * num_threads
    ):
        run *= 2
    outer = (*shape[:-1], shape[-1] // run)
    return auto(num_threads, outer) * local(*(1,) * (len(shape) - 1), run)
