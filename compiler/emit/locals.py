"""Which of a thread's own elements serve another layout: the tables behind broadcasts and slices.

A tile operation needs no data movement between threads where each thread already holds, under the
source's layout, the elements that it needs under the result's.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tileloom.layouts import RegisterLayout
from tileloom.vm.packing import Packing
from tileloom.vm.types import RegType

from ..ptx import Register, RegisterKind, Vector
from .bits import Piece, assemble, split_at_words
from .context import Context
from .packed import element_positions
from .tiles import Tile, register_count, register_kind


@lru_cache(maxsize=4096)
def matching_locals(
    wanted: RegisterLayout, source: RegisterLayout, num_threads: int
) -> tuple[int, ...] | None:
    """For each local of `wanted` the local of `source` that holds the element it asks for.

    Dimensions of extent 1 of `source` are broadcast; missing leading ones too. None if some
    thread of `wanted` lacks its element. `num_threads` is the block's size.
    """
    if wanted == source:
        return tuple(range(source.num_locals))
    if source.rank > wanted.rank:
        return None
    if source.rank < wanted.rank:
        source = source.unsqueeze(range(wanted.rank - source.rank))
    kept = np.array([extent != 1 for extent in source.shape])
    threads = min(wanted.num_threads, num_threads)
    if source.num_threads < threads:
        return None
    if not np.array_equal(wanted.spatial_table[:threads] * kept, source.spatial_table[:threads]):
        return None
    indices = wanted.local_table * kept
    _, found = source.locate(indices)
    if not np.array_equal(source.local_table[found], indices):
        return None
    return tuple(found.tolist())


def select_locals(context: Context, source: Tile, numbers: tuple[int, ...]) -> list[Register]:
    """Registers that hold the given elements of a tile, packed contiguously in that order."""
    if register_kind(source.type) is not RegisterKind.B32 or source.bits == 32:
        return [source.registers[number] for number in numbers]
    words = _pieces(source.type.packing, source.bits, source.num_locals, numbers)
    registers = source.registers
    return [
        registers[parts]
        if isinstance(parts, int)
        else assemble(context.builder, [Piece(registers[word], *rest) for word, *rest in parts])
        for parts in words
    ]


@lru_cache(maxsize=1024)
def _pieces(
    packing: Packing, bits: int, num_locals: int, numbers: tuple[int, ...]
) -> tuple[int | tuple[tuple[int, int, int, int], ...], ...]:
    """For every word of the result its pieces: (word of the source, bit, width, bit it goes to),
    or the word of the source that has all bits where they shall be."""
    positions = element_positions(packing, bits, num_locals)
    count = -(-len(numbers) * bits // 32)
    pieces: list[list[tuple[int, int, int, int]]] = [[] for _ in range(count)]
    for target, number in enumerate(numbers):
        for word, bit, width, to, to_bit in split_at_words(positions[number], bits, target * bits):
            pieces[to].append((word, bit, width, to_bit))
    return tuple(map(_whole_or_pieces, pieces))


def _whole_or_pieces(
    pieces: list[tuple[int, int, int, int]],
) -> int | tuple[tuple[int, int, int, int], ...]:
    end = 0
    for word, bit, width, to in pieces:
        if word != pieces[0][0] or not bit == to == end:
            return tuple(pieces)
        end += width
    return pieces[0][0]


def as_words(context: Context, tile: Tile) -> list[Register]:
    """The tile's bits in 32-bit words, whatever its registers are."""
    builder = context.builder
    kind = register_kind(tile.type)
    if kind is RegisterKind.B32:
        return tile.registers
    if kind is RegisterKind.B64:
        words: list[Register] = []
        for register in tile.registers:
            low = builder.compute("cvt.u32.u64", RegisterKind.B32, register)
            upper = builder.compute("shr.u64", RegisterKind.B64, register, 32)
            words += [low, builder.compute("cvt.u32.u64", RegisterKind.B32, upper)]
        return words
    return pack_bools(context, tile.registers, tile.bits)


def pack_bools(context: Context, predicates: list[Register], bits: int) -> list[Register]:
    """Predicates as elements of `bits` bits, 0 or 1."""
    builder = context.builder
    pieces: list[list[Piece]] = [[] for _ in range(-(-len(predicates) * bits // 32))]
    for number, predicate in enumerate(predicates):
        word, bit = divmod(number * bits, 32)
        value = builder.compute("selp.b32", RegisterKind.B32, 1, 0, predicate)
        pieces[word].append(Piece(value, 0, bits, bit))
    return [assemble(builder, parts) for parts in pieces]


def from_words(context: Context, type_: RegType, words: list[Register]) -> list[Register]:
    """The registers of a tile type from its bits."""
    builder = context.builder
    kind = register_kind(type_)
    if kind is RegisterKind.B32:
        return words
    count = register_count(type_)
    if kind is RegisterKind.B64:
        return [
            builder.compute("mov.b64", kind, Vector((words[2 * i], words[2 * i + 1])))
            for i in range(count)
        ]
    predicates = []
    bits = type_.dtype.bits
    for number in range(count):
        word, bit = divmod(number * bits, 32)
        masked = builder.compute("and.b32", RegisterKind.B32, words[word], 1 << bit)
        predicates.append(builder.compute("setp.ne.s32", kind, masked, 0))
    return predicates


@lru_cache(maxsize=4096)
def broadcast_source(wanted: RegisterLayout, shape: tuple[int, ...]) -> RegisterLayout:
    """The layout of an operand of `shape` that serves a broadcast result without data movement.

    Dimensions of extent 1, and leading ones that are missing, are replicated over the threads.
    """
    missing = wanted.rank - len(shape)
    dims = [d for d in range(wanted.rank) if d < missing or shape[d - missing] == 1]
    return wanted.reduce(dims, keepdims=True).squeeze(range(missing))
