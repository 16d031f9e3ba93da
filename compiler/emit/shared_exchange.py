"""Plans how a tile changes its layout through shared memory, without bank conflicts.

Where both layouts have common digits (digits.py), every digit gets a stride of its own, innermost
first:

    whole       neighbours that one access moves: innermost local digits
    both        digits of the lanes of one pass before and after
    writer's    digits of the lanes of a pass before only
    reader's    digits of the lanes of a pass after only
    rest        in any order

Lanes of a pass then meet all banks when they write, as their digits come first; and when they read,
as the reader's digits are padded by one writer's digit each: its strides are (span + 1) * step, so
that a column is as far from bank to bank as a row. (An xor swizzle does the same with 16-byte
chunks only, and would compute every address; padding leaves them linear.) Without common digits
rows are padded until the banks suffice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tileloom.layouts import MemoryLayout, RegisterLayout, strided, wavefronts
from tileloom.layouts.memory_layout import Digit as MemoryDigit

from .chunks import Element, plan_chunks
from .digits import LANES, Digit, common_digits

_LINE = 128  # bytes of all banks
_WIDEST = 16
_PASS = {1: 32, 2: 32, 4: 32, 8: 16, 16: 8}  # lanes that are served together


class Cost(NamedTuple):
    """What the accesses of one side take of a block: instructions of a warp, summed over the
    warps, the wavefronts they need, and the fewest that as many lanes could."""

    instructions: int
    wavefronts: int
    least: int


@dataclass(frozen=True)
class SharedRoute:
    """A conversion through shared memory: where elements lie, by digits if there are common ones
    (digit, stride in elements), and what both sides cost."""

    memory: MemoryLayout
    strides: tuple[tuple[Digit, int], ...] | None
    bits: int
    writes: Cost
    reads: Cost

    @property
    def num_bytes(self) -> int:
        return self.memory.size * self.bits // 8

    @property
    def conflicts(self) -> int:
        """Wavefronts that only wait for banks."""
        return sum(cost.wavefronts - cost.least for cost in (self.writes, self.reads))

    def place(self, after: bool) -> tuple[dict[tuple[int, int], int], list[int]]:
        """The thread's digits (step, extent) with their strides, and the offset of each local
        element, in elements, before or after the conversion."""
        assert self.strides is not None
        threads: dict[tuple[int, int], int] = {}
        locals_ = {0: 0}
        for digit, stride in self.strides:
            where, step = digit.spot(after)
            if where != "local":
                threads[step, digit.extent] = stride
                continue
            locals_ = {
                number + step * value: offset + stride * value
                for number, offset in locals_.items()
                for value in range(digit.extent)
            }
        return threads, [locals_[number] for number in range(len(locals_))]


@lru_cache(maxsize=1024)
def plan_shared_route(
    before: RegisterLayout, after: RegisterLayout, bits: int, num_threads: int
) -> SharedRoute:
    """The cheapest of the ways to lay out elements of 8, 16, 32 or 64 bits on their way."""
    digits = common_digits(before, after)
    best: SharedRoute | None = None
    for memory, strides in _candidates(before, digits, bits):
        sides = (_cost(layout, memory, bits, num_threads) for layout in (before, after))
        route = SharedRoute(memory, strides, bits, *sides)
        if best is None or _rank(route) < _rank(best):
            best = route
    assert best is not None
    return best


def _rank(route: SharedRoute) -> tuple[bool, int, int]:
    """Without conflicts first: there is such a way wherever extents are powers of two."""
    accesses = route.writes.instructions + route.reads.instructions
    total = route.writes.wavefronts + route.reads.wavefronts
    return (route.conflicts > 0, total + accesses, route.memory.size)


_Placed = tuple[tuple[Digit, int], ...]


def _candidates(
    before: RegisterLayout, digits: tuple[Digit, ...] | None, bits: int
) -> Iterator[tuple[MemoryLayout, _Placed | None]]:
    if digits is None:
        for order in permutations(range(before.rank)):
            for padding in (0, 1, 2, 4, 8, 16):
                yield _padded(before.shape, order, padding), None
        return
    for whole in _wholes(digits, bits):
        placed = _placed(digits, whole, bits)
        yield _memory(before.shape, placed), placed


def _padded(shape: tuple[int, ...], order: Sequence[int], padding: int) -> MemoryLayout:
    """Compact along the dimensions in an order, the last one of it padded."""
    strides, span = [0] * len(shape), 1
    for place, dim in enumerate(reversed(order)):
        strides[dim] = span
        span = span * shape[dim] + (padding if place == 0 else 0)
    return strided(shape, strides)


def _wholes(digits: tuple[Digit, ...], bits: int) -> list[tuple[Digit, ...]]:
    """What one access may move: neighbours on both sides, or on one of them, or some of those,
    as lanes that move less meet more banks."""
    found: list[tuple[Digit, ...]] = [()]
    for sides in ((True, True), (False, True), (True, False)):
        whole: list[Digit] = []
        size = 1
        while True:
            following = [
                d
                for d in digits
                if (not sides[0] or d.before == ("local", size))
                and (not sides[1] or d.after == ("local", size))
                and size * d.extent * bits <= 8 * _WIDEST
            ]
            if not following or following[0] in whole:
                break
            whole.append(following[0])
            size *= following[0].extent
            if tuple(whole) not in found:
                found.append(tuple(whole))
    return found


def _placed(digits: tuple[Digit, ...], whole: tuple[Digit, ...], bits: int) -> _Placed:
    """A stride for each digit; see the head of the file."""
    writers, readers = (
        sorted(
            (d for d in digits if d not in whole and _in_pass(d, side, whole, bits)),
            key=lambda d: d.spot(side).step,
        )
        for side in (False, True)
    )
    both = [d for d in writers if d in readers]
    placed: list[tuple[Digit, int]] = []
    span = 1
    for digit in (*whole, *both):
        placed.append((digit, span))
        span *= digit.extent
    unit = span
    for digit in writers:
        if digit not in both:
            placed.append((digit, span))
            span *= digit.extent
    if unit != span:
        span += unit
    for digit in readers:
        if digit not in both:
            placed.append((digit, span))
            span *= digit.extent
    known = {digit for digit, _ in placed}
    for digit in digits:
        if digit not in known:
            placed.append((digit, span))
            span *= digit.extent
    return tuple(placed)


def _in_pass(digit: Digit, side: bool, whole: tuple[Digit, ...], bits: int) -> bool:
    """Whether a digit is one of the lanes that are served together."""
    size = 1
    for inner in whole:
        if inner.spot(side) == ("local", size):
            size *= inner.extent
    where, step = digit.spot(side)
    return where == "lane" and step < _LINE // max(4, size * bits // 8)


def _memory(shape: tuple[int, ...], placed: _Placed) -> MemoryLayout:
    by_dim: list[list[tuple[int, MemoryDigit]]] = [[] for _ in shape]
    for digit, stride in placed:
        by_dim[digit.dim].append((digit.stride, MemoryDigit(digit.extent, stride)))
    outermost_first = (sorted(dim, reverse=True) for dim in by_dim)
    return MemoryLayout(shape, tuple(tuple(d for _, d in dim) for dim in outermost_first))


def _cost(layout: RegisterLayout, memory: MemoryLayout, bits: int, num_threads: int) -> Cost:
    offsets = memory.offsets(layout.table()[:num_threads]) * (bits // 8)
    # Layouts are sums of a thread's and a local number's share, and so are these places.
    threads, own = offsets[:, 0] - offsets[0, 0], offsets[0]
    assert np.array_equal(offsets, threads[:, None] + own)
    divisor = int(np.gcd.reduce(threads)) | _WIDEST
    elements = [Element((), None, 8 * o, bits * i) for i, o in enumerate(own.tolist())]
    chunks = plan_chunks(elements, bits, {(): divisor & -divisor})
    counts: dict[int, int] = {}
    for chunk in chunks:
        counts[chunk.width] = counts.get(chunk.width, 0) + 1
    costs = [_access_cost(width, threads) for width in counts]
    return Cost(
        *(sum(c[i] * n for c, n in zip(costs, counts.values(), strict=True)) for i in range(3))
    )


def _access_cost(width: int, addresses: npt.NDArray[np.int64]) -> Cost:
    """One access of all warps: `width` bytes at each thread's address."""
    warps = [addresses[i : i + LANES] for i in range(0, len(addresses), LANES)]
    served = sum(wavefronts(lanes, width) for lanes in warps)
    return Cost(len(warps), served, sum(-(-len(lanes) // _PASS[width]) for lanes in warps))
