"""A block's tile of a transpose that writes whole sectors.

Rows of 11 elements in sectors of 4, and which of three blocks writes what. A block's part of a row
begins `turn` elements before its own first column, and every fourth row has the same `turn`:

    turn 0      |0000|1111|222.|
         3    ...|0|1111|2222|22..          block 0's first sectors end in the row before:
         2     ..|00|1111|2222|2.           what is outside of the row it leaves
         1      .|000|1111|2222|
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tileloom import vm
from tileloom.layouts import local
from tileloom.vm.dsl.values import MemoryTile, Pointer, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import Dtype

from .schedule import Sectors


class SectorBlock:
    """The block at tile `down`, `across` of matrix number `matrix` of `batch`."""

    def __init__(
        self, kind: Dtype, s: Sectors, sizes: tuple[Scalar, Scalar, Scalar],
        place: tuple[Scalar, Scalar, Scalar],
    ) -> None:  # fmt: skip
        self.kind, self.schedule = kind, s
        self.batch, self.rows, self.columns = sizes
        self.down, self.across, self.matrix = place
        self.shared = vm.alloc_shared(kind, s.memory.shape, s.memory)
        self.alignment = s.vector * s.itemsize

    def _past(self, grain: int, lines: ScalarLike, length: Scalar) -> ScalarLike:
        """How far behind a multiple of `grain` a line of `length` elements begins, `lines` behind
        the matrix's start: modulo `grain` throughout, so that no product is large."""
        if grain == 1:
            return 0
        start = self.matrix % grain * (self.rows % grain) % grain * (self.columns % grain)
        return (start + length % grain * lines) % grain

    def _lines(
        self, pointer: Pointer, count: Scalar, length: Scalar, every: int, first: int
    ) -> MemoryTile:
        """[batch, lines, first + 1, length]: every `every`-th of `count` lines, from `first` on,
        which is the last of the third dimension."""
        shape: list[ScalarLike] = [self.batch, vm.cdiv(count - first, every), first + 1, length]
        strides: list[ScalarLike] = [count * length, length * every, length, 1]
        return vm.global_view(pointer, shape, strides, alignment=self.alignment)

    def inside(self) -> Scalar:
        """Whether all that the block reads and writes is inside: most blocks need no masks."""
        s = self.schedule
        row, column = self.down * s.rows, self.across * s.columns
        from_the_start = (row >= s.before) & (column >= s.vector)
        return from_the_start & (row + s.rows <= self.rows) & (column + s.columns < self.columns)

    def read(self, x: Pointer, inside: bool) -> None:
        """Brings the tile's rows, and those before it, to shared memory."""
        # All are on their way before the first is waited for.
        tiles = [each for number in range(self.schedule.vector)
                 for each in self._read_class(x, number, inside)]  # fmt: skip
        for place, tile in tiles:
            vm.store(self.shared, place, tile, dims=(0, 2, 3))

    def _read_class(
        self, x: Pointer, number: int, inside: bool
    ) -> Iterator[tuple[Sequence[int], Tile]]:
        """A class of rows, and where they belong in shared memory: as much as the tile is wide, and
        an access more where the first one begins early."""
        s = self.schedule
        lines = s.held // s.vector
        first = self.down * (s.rows // s.vector) - s.before // s.vector
        source = self._lines(x, self.rows, self.columns, s.vector, number)
        at = self.across * s.columns - self._past(s.vector, number, self.columns)
        pieces = [(0, s.columns, s.layout)]
        if s.vector > 1:
            pieces.append((s.columns, s.vector, s.rest))
        for begin, width, layout in pieces:
            tile = vm.load(
                source, [self.matrix, first, number, at + begin], (lines, width), layout,
                dims=(1, 3), in_bounds=inside, alignment=self.alignment,
            )  # fmt: skip
            inner = min(width, s.grain)
            tile = vm.reshape(tile, (lines, width // inner, inner))
            yield [0, number, begin // s.grain, 0], tile

    def write(self, y: Pointer, inside: bool) -> None:
        """Writes the tile's columns as rows of the result: each group of warps some classes."""
        s = self.schedule
        warps, classes = s.num_warps // s.groups, s.grain // s.groups
        for group in range(s.groups):
            with vm.warp_group(group * warps, warps):
                for column in range(group * classes, (group + 1) * classes):
                    self._write_class(y, column, inside)

    def _write_class(self, y: Pointer, column: int, inside: bool) -> None:
        s = self.schedule
        down, across = s.columns // s.grain, s.rows // s.vector
        target = self._lines(y, self.columns, self.rows, s.grain, column)
        turn = self._past(s.grain, column, self.rows)
        parts = []
        for number in range(s.vector):
            row = s.before - turn + number
            at = column + self._past(s.vector, row % s.vector, self.columns)
            place = [row // s.vector, row % s.vector, at // s.grain, at % s.grain]
            tile = vm.load(self.shared, place, (down, across), s.transposed, dims=(2, 0))
            parts.append(vm.unsqueeze(tile, (2,)))
        joined = s.transposed.unsqueeze(2) * local(1, 1, s.vector)
        tile = parts[0] if s.vector == 1 else vm.concat(parts[0], parts[1], 2, joined)
        tile = vm.reshape(tile, (down, s.rows))
        place = [self.matrix, self.across * down, column, self.down * s.rows - turn]
        vm.store(target, place, tile, dims=(1, 3), in_bounds=inside, alignment=self.alignment)
