"""Moves bit fields between words: the general way from one order of packed elements to another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..ptx import Builder, Register, RegisterKind

B32 = RegisterKind.B32


class Piece(NamedTuple):
    """`width` bits of `source` from `source_bit` go to a word's bits from `target_bit`."""

    source: Register
    source_bit: int
    width: int
    target_bit: int


def merge_pieces(pieces: Iterable[Piece]) -> list[Piece]:
    """The pieces by target bit, neighbours that stay neighbours joined."""
    merged: list[Piece] = []
    for piece in sorted(pieces, key=lambda p: p.target_bit):
        if merged:
            last = merged[-1]
            if (
                last.source is piece.source
                and last.source_bit + last.width == piece.source_bit
                and last.target_bit + last.width == piece.target_bit
            ):
                merged[-1] = last._replace(width=last.width + piece.width)
                continue
        merged.append(piece)
    return merged


def split_at_words(start: int, width: int, target: int) -> Iterable[tuple[int, int, int, int, int]]:
    """Cuts a run of bits at word borders of both sides.

    Yields (source word, bit in it, width, target word, bit in it).
    """
    while width:
        source_word, source_bit = divmod(start, 32)
        target_word, target_bit = divmod(target, 32)
        step = min(width, 32 - source_bit, 32 - target_bit)
        yield source_word, source_bit, step, target_word, target_bit
        start, target, width = start + step, target + step, width - step


def assemble(builder: Builder, pieces: Iterable[Piece]) -> Register:
    """A word made of pieces; bits that no piece covers are unspecified.

    The result may be a piece's own register: callers must not write it.
    """
    merged = merge_pieces(pieces)
    if all(p.source_bit % 8 == p.target_bit % 8 == p.width % 8 == 0 for p in merged):
        return _by_bytes(builder, merged)
    return _by_fields(builder, merged)


def _by_bytes(builder: Builder, pieces: list[Piece]) -> Register:
    """Byte permutes: one `prmt` takes bytes of two registers."""
    selector = [-1] * 4  # per target byte: byte number in the pair (result, other)
    result: Register | None = None
    for piece in pieces:
        first, count = piece.target_bit // 8, piece.width // 8
        if result is None:
            result = piece.source
            for i in range(count):
                selector[first + i] = piece.source_bit // 8 + i
            continue
        mine = [s if s >= 0 else t for t, s in enumerate(selector)]
        for i in range(count):
            mine[first + i] = 4 + piece.source_bit // 8 + i
        result = builder.compute("prmt.b32", B32, result, piece.source, _selector(mine))
        covered = [s >= 0 for s in selector]
        for i in range(count):
            covered[first + i] = True
        selector = [t if covered[t] else -1 for t in range(4)]
    assert result is not None
    if any(s not in (-1, t) for t, s in enumerate(selector)):
        mine = [s if s >= 0 else t for t, s in enumerate(selector)]
        result = builder.compute("prmt.b32", B32, result, 0, _selector(mine))
    return result


def _selector(nibbles: list[int]) -> int:
    return sum(nibble << (4 * t) for t, nibble in enumerate(nibbles))


def _by_fields(builder: Builder, pieces: list[Piece]) -> Register:
    result: Register | None = None
    for piece in pieces:
        value = piece.source
        if result is None:
            shift = piece.target_bit - piece.source_bit
            if shift:
                opcode = "shl.b32" if shift > 0 else "shr.u32"
                value = builder.compute(opcode, B32, value, abs(shift))
            result = value
            continue
        if piece.source_bit:
            value = builder.compute("shr.u32", B32, value, piece.source_bit)
        result = builder.compute("bfi.b32", B32, value, result, piece.target_bit, piece.width)
    assert result is not None
    return result


def extract(builder: Builder, word: Register, bit: int, width: int, signed: bool) -> Register:
    """A field of a word, zero- or sign-extended to 32 bits."""
    if width == 32:
        return word
    if not signed and bit + width == 32:
        return builder.compute("shr.u32", B32, word, bit)
    if not signed and bit == 0:
        return builder.compute("and.b32", B32, word, (1 << width) - 1)
    return builder.compute(f"bfe.{'s' if signed else 'u'}32", B32, word, bit, width)
