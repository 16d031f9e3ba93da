"""Plans memory accesses: which bytes one thread moves at once, and where their bits belong.

Each of a thread's elements has a place in memory, `base(key) + bits`, where `base` is a run-time
address shared by all elements of one key. Elements of one key and one mask class that lie side by
side are covered by naturally aligned chunks of 16, 8, 4, 2 or 1 bytes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import NamedTuple


class Field(NamedTuple):
    """`width` bits at `chunk_bit` of a chunk are bits from `tile_bit` of the thread's words."""

    chunk_bit: int
    width: int
    tile_bit: int


class Chunk(NamedTuple):
    """One access of `width` bytes at `base(key) + byte`."""

    key: Hashable
    mask: Hashable
    byte: int
    width: int
    fields: tuple[Field, ...]


class Element(NamedTuple):
    """An element's place: memory bits from `bit` of base(key), word bits from `tile_bit`."""

    key: Hashable
    mask: Hashable
    bit: int
    tile_bit: int


def plan_chunks(
    elements: Sequence[Element], bits: int, alignment: dict[Hashable, int], max_bytes: int = 16
) -> list[Chunk]:
    """Chunks that cover the elements of `bits` bits; `alignment` of each base(key) in bytes.

    Bytes that hold only part of an element are covered too. Order: by key, mask and address, as
    the first element of each comes.
    """
    return list(_planned(tuple(elements), bits, tuple(alignment.items()), max_bytes))


# Kept, since the tiles of a loop that is unrolled differ in their bases only.
@lru_cache(maxsize=1024)
def _planned(
    elements: tuple[Element, ...],
    bits: int,
    alignments: tuple[tuple[Hashable, int], ...],
    max_bytes: int,
) -> tuple[Chunk, ...]:
    alignment = dict(alignments)
    groups: dict[tuple[Hashable, Hashable], list[Element]] = {}
    for element in elements:
        groups.setdefault((element.key, element.mask), []).append(element)
    chunks: list[Chunk] = []
    for (key, _), group in groups.items():
        group.sort(key=lambda e: e.bit)
        widest = min(alignment[key], max_bytes)
        for run in _runs(group, bits):
            chunks.extend(_cover(run, bits, widest))
    return tuple(chunks)


def whole_bytes(elements: Sequence[Element], bits: int) -> bool:
    """True if every run of neighbours starts and ends at bytes: a store needs no merging."""
    if bits % 8 == 0:
        return all(element.bit % 8 == 0 for element in elements)
    groups: dict[tuple[Hashable, Hashable], list[Element]] = {}
    for element in elements:
        groups.setdefault((element.key, element.mask), []).append(element)
    for group in groups.values():
        group.sort(key=lambda e: e.bit)
        for run in _runs(group, bits):
            if run[0].bit % 8 or (run[-1].bit + bits) % 8:
                return False
    return True


def _runs(group: list[Element], bits: int) -> list[list[Element]]:
    """Cuts sorted elements where memory leaves a gap (repeats of one place start a new run)."""
    runs = [[group[0]]]
    for element in group[1:]:
        if element.bit == runs[-1][-1].bit + bits:
            runs[-1].append(element)
        else:
            runs.append([element])
    return runs


def _cover(run: list[Element], bits: int, widest: int) -> list[Chunk]:
    first, end = run[0].bit, run[-1].bit + bits
    place, stop = first // 8, -(-end // 8)
    chunks = []
    while place < stop:
        width = widest & -widest
        while place % width or place + width > stop:
            width //= 2
        low, high = max(place * 8, first), min((place + width) * 8, end)
        fields = _fields(run, bits, low, high, place * 8)
        chunks.append(Chunk(run[0].key, run[0].mask, place, width, fields))
        place += width
    return chunks


def _fields(run: list[Element], bits: int, low: int, high: int, start: int) -> tuple[Field, ...]:
    fields: list[Field] = []
    for index in range((low - run[0].bit) // bits, -(-(high - run[0].bit) // bits)):
        element = run[index]
        begin, end = max(element.bit, low), min(element.bit + bits, high)
        tile_bit = element.tile_bit + begin - element.bit
        last = fields[-1] if fields else None
        if last is not None and last.tile_bit + last.width == tile_bit:
            fields[-1] = last._replace(width=last.width + end - begin)
        else:
            fields.append(Field(begin - start, end - begin, tile_bit))
    return tuple(fields)
