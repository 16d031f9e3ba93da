"""Which tiles of a product a thread block works on, and how blocks that share a tile meet.

Persistent blocks take every so many-th tile, perhaps in bands, so that those at work at the same
time read the same rows and columns:

    for tile in vm.persistent_tiles(down * across):
        row, column = vm.in_bands(tile, down, across, 8)

Stream-k: blocks share the turns of all tiles evenly, however many tiles there are. A tile may then
be cut, and the sums of its pieces meet, always in the same order:

    work = vm.StreamK(tiles, turns)
    sums = vm.SharedSums(work, partials, flags, [layout])
    with work.segments() as part:  # part.tile, and its turns from part.begin on
        total = ...
        with sums.meet(part, [total]):  # in one of the blocks, where `total` is complete now
            vm.store(c, ..., total)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import gcd

from tileloom.layouts import RegisterLayout

from ..diagnostics import VMTypeError
from ..dtypes import dtype
from .control import Range, loop, otherwise, range_, when
from .division import Divisor
from .ops import (
    block_index,
    cdiv,
    convert_layout,
    full,
    global_view,
    grid_size,
    larger,
    load,
    smaller,
    store,
    var,
    view,
)  # fmt: skip
from .sync import lock, release
from .trace import here
from .values import MemoryTile, Pointer, Scalar, ScalarLike, Tile

_VECTOR = 4  # f32 in 16 bytes
_BOX_DIMS = (2, 3, 4)
_REGISTERS = 160  # of a thread, for its sums and those of other parts on their way
_PARTS = 4  # on their way at once, at most


def persistent_tiles(count: ScalarLike) -> Range:
    """The tiles of a block in a one-dimensional grid, a loop: its own number, and every
    `grid_size()`-th after it."""
    return range_(block_index(0), count, grid_size(0))


def in_bands(tile: Scalar, down: Scalar, across: Scalar, band: ScalarLike) -> tuple[Scalar, Scalar]:
    """Row and column of a tile among `down` x `across`: bands of `band` rows, in each column by
    column."""
    size = across * band
    first = tile // size * band
    height = smaller(band, down - first)
    inside = tile % size
    return first + inside % height, inside // height


@dataclass
class Segment:
    """A block's part of a tile: `turns` turns from `begin` on."""

    tile: Scalar
    begin: Scalar
    turns: Scalar


class StreamK:
    """`turns` turns of each of `tiles` tiles, shared evenly by the blocks of a grid of one axis.

    A block takes turns in a row, the first block the last ones: so those whose sums it waits for
    are blocks that were started before it. `cuts=False` says that all shares are whole tiles,
    `each` how many turns a share has, if that is known: ceil(tiles * turns / parts); `inverse` that
    of `turns` (`Divisor`).
    """

    def __init__(
        self,
        tiles: ScalarLike,
        turns: Scalar,
        parts: Scalar | None = None,
        *,
        cuts: bool = True,
        each: Scalar | None = None,
        inverse: Scalar | None = None,
    ) -> None:
        self.turns, self.cuts = turns, cuts
        self.parts = grid_size(0) if parts is None else parts
        self.all = tiles * turns
        self.each = cdiv(self.all, self.parts) if each is None else each
        self.number = self.parts - 1 - block_index(0)
        self._divisor = None if inverse is None else Divisor(turns, inverse)

    def place(self, at: Scalar) -> tuple[Scalar, Scalar]:
        """The tile of a turn of all, and which of the tile's it is."""
        if self._divisor is not None:
            return self._divisor.divide(at)
        # Known not to be negative, it takes half the instructions.
        tile = var(larger(at, 0) // self.turns, dtype("i32"))
        return tile, at - tile * self.turns

    @contextmanager
    def segments(self) -> Iterator[Segment]:
        """The tiles of this block one after the other, each with the turns it takes of it."""
        i32 = dtype("i32")
        begin = self.number * self.each
        at, stop = var(begin, i32), var(smaller(begin + self.each, self.all), i32)
        with loop(at < stop):
            tile, inside = self.place(at)
            first, turns = var(0, i32), var(self.turns, i32)
            if self.cuts:
                first.set(inside)
                turns.set(smaller(self.turns - first, stop - at))
            yield Segment(tile, first, turns)
            at.set(at + turns)

    def last(self, tile: Scalar) -> Scalar:
        """The number of the part with a tile's last turn."""
        return ((tile + 1) * self.turns - 1) // self.each


class SharedSums:
    """A workspace where blocks that share tiles leave f32 sums, for the one with the first turn.

    `layouts` are those of the tiles of sums that each block (or warp group) has of a tile of the
    product. `partials` holds as many elements for each part as all its threads have in registers,
    and `flags`, zero before the first launch and after each, `groups` for each part. Warp groups
    with different sums of a tile are numbered by `group`; each has an object of its own.

    Raises:
        VMTypeError: `partials` are not f32, or `flags` not u32.
    """

    def __init__(
        self,
        work: StreamK,
        partials: Pointer,
        flags: Pointer,
        layouts: Sequence[RegisterLayout],
        *,
        group: int = 0,
        groups: int = 1,
    ) -> None:
        for pointer, name in ((partials, "f32"), (flags, "u32")):
            if pointer.dtype.name != name:
                raise VMTypeError(
                    f"sums are shared through `{pointer.dtype}`", here(),
                    hint="pass a pointer to f32 sums and one to u32 flags",
                )  # fmt: skip
        self.work, self.layouts, self.group = work, layouts, group
        self.flags = global_view(flags, [work.parts, groups])
        self._vector = gcd(_VECTOR, *(layout.num_locals for layout in layouts))
        counts = [layout.num_locals // self._vector for layout in layouts]
        self._starts = [sum(counts[:index]) for index in range(len(counts))]
        self._vectors, self._groups, self._pointer = sum(counts), groups, partials
        self.partials = self._workspace(work.parts)

    @contextmanager
    def meet(self, part: Segment, totals: Sequence[Tile]) -> Iterator[None]:
        """What is inside runs in the block with the tile's first turn, where `totals` are those of
        all its turns by then, added up in their order; the others leave theirs and go on."""
        if not self.work.cuts:
            yield
            return
        with when(part.begin > 0):
            self.give(totals)
        with otherwise():
            self.take(part.tile, totals)
            yield

    def give(self, totals: Sequence[Tile]) -> None:
        """Leaves the sums of a tile whose first turn is another block's."""
        for index, total in enumerate(totals):
            box = self._box(index)
            held = convert_layout(total, self.layouts[index])
            held = view(held, dtype("f32"), box.shape, box)
            store(self.partials, self._place(self.work.number, index), held, dims=_BOX_DIMS)
        release(self.flags, [self.work.number, self.group], 1)

    def take(self, tile: Scalar, totals: Sequence[Tile]) -> None:
        """Adds to the sums what the blocks leave that have the rest of the tile."""
        numbers = (self.work.number + 1, var(self.work.last(tile) + 1, dtype("i32")))
        # Awaited one after the other, read without a meeting in between.
        for number in range_(*numbers):
            lock(self.flags, [number, self.group], 1)
            # For the next launch; nobody else reads it in this one.
            store(self.flags, [number, self.group], full(dtype("u32"), (1, 1), 0))
        there = self._workspace(numbers[1])
        for indices, parts in self._passes():
            for number in range_(*numbers, parts):
                # All on their way before the first is added; zeros beyond the last.
                found = [
                    (totals[index], self._read(there, number + i, index))
                    for i in range(parts)
                    for index in indices
                ]
                for total, sums in found:
                    total.set(total + sums)

    def _passes(self) -> list[tuple[range, int]]:
        """Which tiles are read together, and of how many parts at a time: as many sums as there are
        registers for."""
        held = [layout.num_locals for layout in self.layouts]
        room = _REGISTERS - sum(held)
        together = min(room // sum(held), _PARTS)
        if together > 1:
            return [(range(len(held)), together)]
        apart = max(1, min(room // max(held), _PARTS))
        return [(range(index, index + 1), apart) for index in range(len(held))]

    def _read(self, partials: MemoryTile, number: Scalar, index: int) -> Tile:
        """One of the tiles that a part has left."""
        box, layout = self._box(index), self.layouts[index]
        held = load(partials, self._place(number, index), box.shape, box, dims=_BOX_DIMS)
        return view(held, dtype("f32"), layout.shape, layout)

    def _workspace(self, parts: ScalarLike) -> MemoryTile:
        """What so many parts leave: [part, group, vector, thread, 4]."""
        shape: list[ScalarLike] = [parts, self._groups, self._vectors]
        shape += [self.layouts[0].num_threads, self._vector]
        return global_view(self._pointer, shape, alignment=4 * self._vector)

    def _box(self, index: int) -> RegisterLayout:
        """A tile of sums as threads hold it: what a thread has, 16 bytes of it beside those of the
        next thread."""
        layout = self.layouts[index]
        shape = (layout.num_locals // self._vector, layout.num_threads, self._vector)
        modes = tuple((extent,) for extent in shape)
        return RegisterLayout.from_modes(shape, modes, spatial=[(1, 0)], local=[(0, 0), (2, 0)])

    def _place(self, number: Scalar, index: int) -> list[ScalarLike]:
        return [number, self.group, self._starts[index], 0, 0]
