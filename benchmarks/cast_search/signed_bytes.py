"""Exhaustive search for signed bytes to bf16: two pairs of a word in the paired packing.

A half of an input word has a pair's byte below the other's. The model, in issue slots:

* first words: one `lop3` of the input with constants, which keeps or drops the sign, the upper and
  the lower seven bits of the half and bit 7, and flips them to any pattern (all seven low bits or
  none: values are linear in them); or one permute, which puts a byte, its sign eight times, or a
  constant in either place;
* second words: a `lop3` of a permuted word, as above, and a permute of a `lop3`;
* an end: `fma` of one word with constants, of two words and a constant factor, or of two words and
  a constant term; a factor beyond 2**127 takes an operation more.

Words that depend on the other pair's byte are of no use and left out. Every sequence of the model
that gives a pair its values is found; a unit takes the two whose
operations together are the fewest: what both use is paid for once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Table = NDArray[Any]

OWN = np.array([0, 1, 2, 3, 4, 8, 16, 32, 64, 85, 127], np.uint16)
CODES = np.concatenate([OWN, OWN | 128])
OTHERS = np.array([0, 0x5A, 0x80, 0xFF], np.uint16)
MOST = 6  # slots of a pair: two words of two, and an end
_LARGE = 2.0**40
SUMS = range(-512, 513, 64)  # terms of a product of two words


@dataclass(frozen=True)
class Word:
    """A word of every half, the operations it takes, and the halves by code."""

    ops: frozenset[object]
    table: Table


def inputs(pair: int) -> tuple[Table, Table]:
    """The lower and the upper byte of the half, where `pair` has the codes looked at."""
    own = np.repeat(CODES, len(OTHERS))
    other = np.tile(OTHERS, len(CODES))
    return (own, other) if pair == 0 else (other, own)


def values() -> NDArray[np.float64]:
    """What a pair's codes stand for."""
    return CODES.astype(np.uint8).view(np.int8).astype(np.float64)


def floats(table: Table) -> NDArray[np.float64]:
    """The bf16 numbers of halves; NaN where there is none."""
    single = (table.astype(np.uint32) << 16).view(np.float32)
    return np.where(np.isfinite(single), single, np.float32(np.nan)).astype(np.float64)


def logic() -> Iterator[tuple[int, int]]:
    """(mask, pattern) of a `lop3` with constants."""
    fields = (0x007F, 0x0080, 0x7F00, 0x8000)
    masks = [sum(f for f, kept in zip(fields, chosen, strict=True) if kept)
             for chosen in product((0, 1), repeat=4)]  # fmt: skip
    for mask, low, upper in product(masks, (0, 0x7F), range(512)):
        yield mask, low | upper << 7


def moves() -> Iterator[tuple[str | int, str | int]]:
    """(upper, lower) of a permute: a byte, its sign eight times, or a constant."""
    names = ("low", "high", "low sign", "high sign")
    for upper, lower in product((*names, *range(256)), (*names, 0)):
        if isinstance(upper, str) or isinstance(lower, str):
            yield upper, lower


def moved(low: Table, high: Table, upper: str | int, lower: str | int) -> Table:
    """The halves that a permute makes."""

    def byte(name: str | int) -> Table:
        if isinstance(name, int):
            return np.full_like(low, name)
        source = low if name.startswith("low") else high
        return np.where(source & 0x80, 0xFF, 0).astype(np.uint16) if "sign" in name else source

    return byte(upper) << 8 | byte(lower)


@cache
def words(pair: int) -> tuple[Word, ...]:
    """All words of at most two operations."""
    low, high = inputs(pair)
    whole = low | high << 8
    patterns = np.array(list(logic()), np.uint16)
    found: dict[bytes, Word] = {}

    def add(tables: Table, ops: list[frozenset[object]]) -> None:
        by_code = tables.reshape(len(tables), len(CODES), len(OTHERS))
        alone = (by_code == by_code[:, :, :1]).all(axis=(1, 2))
        tables = by_code[alone, :, 0]
        chosen = [taken for taken, kept in zip(ops, alone, strict=True) if kept]
        for table, taken in zip(tables, chosen, strict=True):
            known = found.get(table.tobytes())
            if known is None or len(known.ops) > len(taken):
                found[table.tobytes()] = Word(taken, table)

    def masked(source: Table, before: frozenset[object]) -> None:
        tables = (source & patterns[:, :1]) ^ patterns[:, 1:]
        add(tables, [before | {("lop3", before, *p)} for p in patterns.tolist()])

    masked(whole, frozenset())
    for move in moves():
        ops: frozenset[object] = frozenset({("prmt", frozenset(), *move)})
        add(moved(low, high, *move)[None], [ops])
        if not any(isinstance(part, int) and part for part in move):
            masked(moved(low, high, *move), ops)
    for mask, pattern in ((0xFFFF, 0x8080), (0x7F7F, 0), (0x8080, 0)):
        kept: frozenset[object] = frozenset({("lop3", frozenset(), mask, pattern)})
        first = (whole & mask) ^ pattern
        for move in moves():
            table = moved(first & 0xFF, first >> 8, *move)
            add(table[None], [kept | {("prmt", kept, *move)}])
    return tuple(found.values())


def ends(pair: int) -> list[frozenset[object]]:
    """The operations of every way to a pair's values, of at most `MOST` slots."""
    wanted, known = values(), words(pair)
    numbers = np.stack([floats(word.table) for word in known]) + 0.0
    finite = ~np.isnan(numbers).any(axis=1)
    known = tuple(word for word, kept in zip(known, finite, strict=True) if kept)
    numbers = numbers[finite]
    own = _keys(numbers)
    places = {int(key): place for place, key in enumerate(own)}
    found: list[frozenset[object]] = []

    def keep(ops: frozenset[object], *arithmetic: object) -> None:
        if len(ops) + len(arithmetic) <= MOST:
            found.append(ops | {(pair, kind) for kind in arithmetic})

    def keep_two(needed: NDArray[np.float64], terms: NDArray[np.float64]) -> None:
        """Words beside those that the others would have to be, row by row. `terms` are what a
        word adds to: beyond `_LARGE` they are multiples of more than 1, and of no use."""
        keys = _keys(needed + 0.0)
        small = (np.abs(terms) < _LARGE).all(axis=1)
        for one in np.flatnonzero(small & np.isin(keys, own)):
            other = places[int(keys[one])]
            if (numbers[other] == needed[one]).all():
                keep(known[one].ops | known[other].ops, "fma")

    for word, number in zip(known, numbers, strict=True):
        slope = _slope(number, wanted)
        if slope is not None:  # one word: value = number * slope + term
            keep(word.ops, "fma", *(["scale"] if abs(slope) > 2.0**127 else []))
    for sign, exponent in product((1.0, -1.0), range(-8, 9)):
        scaled = sign * 2.0**exponent * numbers
        keep_two(wanted - scaled, scaled)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for term in SUMS:
            other = (wanted - term) / numbers
            keep_two(other, np.where(other * numbers + term == wanted, 0.0, np.inf))
    return found


def _keys(numbers: NDArray[np.float64]) -> NDArray[np.uint64]:
    """A hash of each row."""
    factors = np.random.default_rng(0).integers(0, 2**63, numbers.shape[1], np.uint64) * 2 + 1
    mixed = np.ascontiguousarray(numbers).view(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * factors
    return (mixed ^ (mixed >> np.uint64(32))).sum(axis=1, dtype=np.uint64)


def _slope(number: NDArray[np.float64], wanted: NDArray[np.float64]) -> float | None:
    """The factor that makes a word's numbers the values, up to a constant; None without one."""
    spread = number.max() - number.min()
    if spread == 0:
        return None
    low, high = number.argmin(), number.argmax()
    slope = (wanted[high] - wanted[low]) / spread
    if abs(np.frexp(slope)[0]) != 0.5 or abs(slope * number).max() >= _LARGE:
        return None
    term = wanted[low] - slope * number[low]
    return float(slope) if (number * slope + term == wanted).all() else None


def search() -> int:
    """The fewest slots of a unit: two pairs, four elements."""
    first, second = ends(0), ends(1)
    assert first and second, "the known sequences are in the model"
    return min(len(a | b) for a in set(first) for b in set(second))


if __name__ == "__main__":
    print(search() / 4, "slots an element")
