"""Brings a thread's elements from one packing to another."""

from __future__ import annotations

from tileloom.vm.ir import Value
from tileloom.vm.packing import CONTIGUOUS, Packing

from ..ptx import Register
from .bits import Piece, assemble
from .context import Context
from .tiles import Tile, tile_type


def repacked(
    context: Context, words: list[Register], like: Tile, before: Packing, after: Packing
) -> list[Register]:
    """The words of as many elements as a tile has, brought from one packing to another."""
    if before == after:
        return words
    old, new = (p.positions(like.bits, like.num_locals).reshape(-1) for p in (before, after))
    pieces: list[list[Piece]] = [[] for _ in words]
    for b, a in zip(old.tolist(), new.tolist(), strict=True):
        pieces[a // 32].append(Piece(words[b // 32], b % 32, 1, a % 32))
    return [assemble(context.builder, parts) for parts in pieces]


def bind_repacked(context: Context, result: Value, registers: list[Register]) -> None:
    """Binds a result to its elements in the contiguous packing."""
    tile = Tile(tile_type(result), registers)
    words = repacked(context, registers, tile, CONTIGUOUS, tile.type.packing)
    context.bind(result, words)
