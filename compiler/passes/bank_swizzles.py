"""Layouts of shared tiles that make their accesses wait for banks, where the program states none.

A tile lies row by row. Where that makes a warp's lanes meet at one bank (the eight rows of an
`ldmatrix` of 64-byte rows lie at two of the eight places that a pass serves), an xor swizzle of
its 16-byte chunks is chosen that makes all accesses together take the fewest wavefronts, those in
loops counted more. A tile that something else than loads, stores and copies sees stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

import numpy as np
import numpy.typing as npt

from tileloom.layouts import MemoryLayout, RegisterLayout, Swizzle, row_major, wavefronts
from tileloom.vm.instruction import Instruction
from tileloom.vm.instructions.matrices import LoadMatrix, StoreMatrix
from tileloom.vm.instructions.memory import AllocShared, CopyAsync, FreeShared, Load, Store
from tileloom.vm.ir import Block, For, Function, Value, While, blocks_of, map_values
from tileloom.vm.packing import CONTIGUOUS
from tileloom.vm.types import RegType, SharedType

from ..emit.chunks import Element, plan_chunks
from ..emit.matrices import plan_matrices
from ..emit.tiles import vector_layout
from ..targets import Target

IntTable = npt.NDArray[np.int64]

_LOOP_WEIGHT = 16  # how often a loop is taken to turn
_SAMPLES = 4  # accesses of one instruction that are looked at
_ROW_BYTES = 16


@dataclass(frozen=True)
class _Access:
    """One instruction's access of a shared tile: who holds what of the box at its start."""

    layout: RegisterLayout
    dims: tuple[int, ...]
    weight: int
    by_matrices: bool


def swizzle_shared(function: Function, target: Target) -> Function:
    """The function with a swizzle for each shared tile that is faster with one."""
    found: dict[Value, list[_Access] | None] = {}
    for instruction, weight in _weighted(function.body, 1):
        _collect(instruction, weight, function.num_threads, target, found)
    renamed: dict[Value, Value] = {}
    for value, accesses in found.items():
        assert isinstance(value.type, SharedType)
        layout = _chosen(value.type, accesses) if accesses else None
        if layout is not None:
            type_ = replace(value.type, layout=layout)
            renamed[value] = Value(value.name, type_, value.location)
    if not renamed:
        return function
    return replace(function, body=map_values(function.body, lambda v: renamed.get(v, v)))


def _weighted(block: Block, weight: int) -> Iterator[tuple[Instruction, int]]:
    for statement in block:
        if isinstance(statement, Instruction):
            yield statement, weight
        inner = weight * (_LOOP_WEIGHT if isinstance(statement, For | While) else 1)
        for body in blocks_of(statement):
            yield from _weighted(body, inner)


def _collect(
    instruction: Instruction,
    weight: int,
    num_threads: int,
    target: Target,
    found: dict[Value, list[_Access] | None],
) -> None:
    """Adds an instruction's accesses; a tile that something else sees gets None."""
    result = instruction.result
    if isinstance(instruction, AllocShared) and result is not None:
        assert isinstance(result.type, SharedType)
        bits = result.type.dtype.bits
        plain = result.type.layout is None and bits in (8, 16, 32, 64)
        found[result] = [] if plain and result.type.dtype.kind != "bool" else None
        return
    for operand in instruction.operands():
        if not isinstance(operand, Value) or found.get(operand) is None:
            continue
        access = _access(instruction, operand, weight, num_threads, target)
        accesses = found[operand]
        if access is not None and accesses is not None:
            accesses.append(access)
        elif not isinstance(instruction, FreeShared):
            found[operand] = None


def _access(
    instruction: Instruction, operand: Value, weight: int, num_threads: int, target: Target
) -> _Access | None:
    assert isinstance(operand.type, SharedType)
    rank, bits = len(operand.type.shape), operand.type.dtype.bits
    tile: object = None
    match instruction:
        case Load() | LoadMatrix():
            tile = instruction.result
        case Store() | StoreMatrix():
            tile = instruction.value
        case CopyAsync() if instruction.target is operand:
            layout = vector_layout(num_threads, instruction.shape, bits)
            return _Access(layout, tuple(range(rank - layout.rank, rank)), weight, False)
    if not isinstance(tile, Value) or not isinstance(tile.type, RegType):
        return None
    assert isinstance(instruction, Load | LoadMatrix | Store | StoreMatrix)
    layout = tile.type.placed
    dims = instruction.dims or tuple(range(rank - layout.rank, rank))
    matrices = not isinstance(instruction, Store) and tile.type.packing == CONTIGUOUS
    return _Access(layout, dims, weight, matrices and target.has("ldmatrix"))


def _chosen(type_: SharedType, accesses: list[_Access]) -> MemoryLayout | None:
    """The swizzled layout that takes the fewest wavefronts; None if rows as they are take no
    more."""
    plain = row_major(*type_.shape)
    bits = type_.dtype.bits
    best, least = None, _wavefronts(plain, accesses, bits)
    fewest = _wavefronts(None, accesses, bits, type_.shape)
    if least <= fewest:
        return None
    for swizzle in _swizzles(prod(type_.shape) * bits // 8):
        layout = MemoryLayout(plain.shape, plain.digits, swizzle)
        taken = _wavefronts(layout, accesses, bits)
        if taken < least:
            best, least = layout, taken
        if least <= fewest:
            break
    return best


def _swizzles(num_bytes: int) -> Iterator[Swizzle]:
    for bits in (3, 2, 1):
        for shift in range(bits, 8):
            swizzle = Swizzle(bits, 4, shift)
            if num_bytes % swizzle.block == 0 and swizzle.period // 2 < num_bytes:
                yield swizzle


def _wavefronts(
    memory: MemoryLayout | None,
    accesses: list[_Access],
    bits: int,
    shape: tuple[int, ...] = (),
) -> float:
    """Of the first warp, weighted; without a memory layout, what no bank makes slower."""
    layout = memory or row_major(*shape)
    costs = (
        access.weight * _mean(layout, memory is None, replace(access, weight=1), bits)
        for access in accesses
    )
    return sum(costs)


@lru_cache(maxsize=4096)  # most instructions of a program access a tile alike
def _mean(layout: MemoryLayout, free: bool, access: _Access, bits: int) -> float:
    """Of one instruction; `free` of what makes banks slower."""
    samples, count = _sampled(_places(layout, access, bits), access, layout, bits)
    taken = [
        -(-len(lanes) // {8: 16, 16: 8}.get(width, 32))
        if free
        else wavefronts(_swizzled(lanes, layout.swizzle), width)
        for lanes, width in samples
    ]
    return count * sum(taken) / max(1, len(taken))


def _swizzled(addresses: IntTable, swizzle: Swizzle | None) -> IntTable:
    return addresses if swizzle is None else swizzle(addresses)


def _places(layout: MemoryLayout, access: _Access, bits: int) -> IntTable:
    """Bytes of the first warp's elements before the swizzle: [lanes, locals]."""
    table = access.layout.table()[:32]
    index = np.zeros((*table.shape[:2], layout.rank), np.int64)
    for tile_dim, memory_dim in enumerate(access.dims):
        index[..., memory_dim] = table[..., tile_dim]
    return layout.offsets(index) * (bits // 8)


def _sampled(
    places: IntTable, access: _Access, memory: MemoryLayout, bits: int
) -> tuple[list[tuple[IntTable, int]], int]:
    """Some of the accesses of the first warp, (addresses, bytes a lane) each, and how many there
    are."""
    threads, own = places[:, 0] - places[0, 0], places[0]
    if access.by_matrices:
        strides = [memory.digits_of(dim) for dim in access.dims]
        steps = tuple(digits[0][2] if digits else 0 for digits in strides)
        plan = plan_matrices(access.layout, steps, bits)
        if plan is not None:
            row = np.arange(8)
            held = threads[row // 2] + row % 2 * plan.row_step
            rows = held if plan.transposed else threads[4 * row]
            return [(rows + word, _ROW_BYTES) for word in plan.words[:_SAMPLES]], len(plan.words)
    divisor = int(np.gcd.reduce(threads)) | 16
    elements = [Element((), None, 8 * o, bits * i) for i, o in enumerate(own.tolist())]
    chunks = plan_chunks(elements, bits, {(): divisor & -divisor})
    return [(threads + chunk.byte, chunk.width) for chunk in chunks[:_SAMPLES]], len(chunks)
