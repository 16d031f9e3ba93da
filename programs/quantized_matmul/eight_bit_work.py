"""What the thread blocks of a product of 8-bit activations do, and how sums of parts meet.

Either a block takes a tile of the product, or every so many-th; or a cluster of blocks a part of k
each of one; or all blocks share the chunks of all tiles evenly: then a block's first tile may have
begun in the block before, and its last may end in blocks behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tileloom import vm
from tileloom.layouts import RegisterLayout
from tileloom.vm.dsl.values import MemoryTile, Pointer, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import i32, u32

from .eight_bit_config import GROUPS, ByteConfig


@dataclass
class Work:
    """Chunks of tiles of the product, counted through all tiles.

    Tiles are numbered tokens first, so that blocks at work together read the same weights. A block
    takes `each` chunks in a row, the first block the last ones: those it may wait for are blocks
    that were started before it.
    """

    config: ByteConfig
    chunks: Scalar
    token_tiles: Scalar
    tiles: Scalar
    each: Scalar
    parts: Scalar
    number: Scalar  # of this block's part

    @staticmethod
    def of(config: ByteConfig, m: Scalar, slabs: Scalar, chunks: Scalar, parts: Scalar) -> Work:
        token_tiles = vm.cdiv(m, config.tokens)
        tiles = token_tiles * vm.cdiv(slabs, config.block_slabs)
        each = vm.cdiv(tiles * chunks, parts)
        return Work(config, chunks, token_tiles, tiles, each, parts, parts - 1 - vm.block_index(0))

    @contextmanager
    def segments(self) -> Iterator[Segment]:
        """The tiles of this block one after the other, each with the chunks it takes of it."""
        config = self.config
        if config.in_rounds:
            at = vm.var(vm.block_index(0), i32)
            with vm.loop(at < self.tiles):
                yield self._segment(vm.var(at, i32), vm.constant(0), self.chunks)
                at.set(at + self.parts)
            return
        if config.cluster > 1 or not config.split:
            yield self._whole()
            return
        begin = self.number * self.each
        at = vm.var(begin, i32)
        stop = vm.var(vm.smaller(begin + self.each, self.tiles * self.chunks), i32)
        with vm.loop(at < stop):
            tile = vm.var(at // self.chunks, i32)
            first = vm.var(at - tile * self.chunks, i32)
            turns = vm.var(vm.smaller(self.chunks - first, stop - at), i32)
            yield self._segment(tile, first, turns)
            at.set(at + turns)

    def _whole(self) -> Segment:
        """The one tile of a block, or its part of k."""
        tile = vm.block_index(0)
        if self.config.cluster == 1:
            return self._segment(tile, vm.constant(0), self.chunks)
        each = vm.cdiv(self.chunks, self.config.cluster)
        first = vm.block_index(2) * each
        return self._segment(tile, first, vm.larger(vm.smaller(self.chunks - first, each), 0))

    def _segment(self, tile: Scalar, first: Scalar, turns: Scalar) -> Segment:
        token = vm.var(tile % self.token_tiles * self.config.tokens, i32)
        slab = vm.var(tile // self.token_tiles * self.config.block_slabs, i32)
        return Segment(self, tile, token, slab, first, turns)


@dataclass
class Segment:
    """A block's part of a tile of the product."""

    work: Work
    tile: Scalar
    token: Scalar  # the first
    slab: Scalar  # the first
    begin: Scalar  # the first chunk
    turns: Scalar  # chunks

    @property
    def config(self) -> ByteConfig:
        return self.work.config


@dataclass
class Total:
    """The sums of a slab for some of the tokens."""

    number: int  # of the slab among the warp group's
    tokens: range
    sums: Tile  # [64, tokens]


@dataclass
class Exchange:
    """Where blocks that share a tile leave sums: the last of its blocks to begin collects them."""

    work: Work
    group: int
    partials: Pointer  # [part, slab, feature, token]
    flags: Pointer  # [part, warp group]: whether they are there

    def _views(self) -> tuple[MemoryTile, MemoryTile]:
        config, parts = self.work.config, self.work.parts
        shape: list[ScalarLike] = [parts, config.block_slabs, config.tokens // 8, *_BOX]
        partials = vm.global_view(self.partials, shape, alignment=16)
        return partials, vm.global_view(self.flags, [parts, GROUPS])

    def _place(self, part: Scalar, total: Total) -> list[Scalar | int]:
        slab = self.work.config.slabs * self.group + total.number
        return [part, slab, total.tokens.start // 8, 0, 0, 0, 0, 0]

    def give(self, totals: list[Total]) -> None:
        """Leaves the sums of a tile that another block has the beginning of."""
        partials, flags = self._views()
        for total in totals:
            boxes = vm.reshape(total.sums, (4, 2, 8, len(total.tokens) // 8, 4, 2))
            boxes = vm.transpose(boxes, (3, 0, 2, 4, 1, 5))
            vm.store(partials, self._place(self.work.number, total), boxes, dims=_DIMS)
        vm.release(flags, [self.work.number, self.group], 1)

    def take(self, segment: Segment, totals: list[Total]) -> None:
        """Adds what the blocks leave that have the rest of the tile, in the order of k."""
        partials, flags = self._views()
        last = ((segment.tile + 1) * self.work.chunks - 1) // self.work.each
        numbers = (self.work.number + 1, vm.var(last + 1, i32))
        # Awaited one after the other, read without a meeting in between.
        for number in vm.range(*numbers):
            vm.lock(flags, [number, self.group], 1)
        for number in vm.range(*numbers):
            for total in totals:
                layout = _boxes(len(total.tokens) // 8)
                place = self._place(number, total)
                boxes = vm.load(partials, place, layout.shape, layout, dims=_DIMS)
                sums = vm.reshape(vm.transpose(boxes, (1, 4, 2, 0, 3, 5)), total.sums.shape)
                total.sums.set(total.sums + sums)
            # For the next launch; nobody else reads it in this one.
            vm.store(flags, [number, self.group], vm.full(u32, (1, 1), 0))


# Sums as they lie in the workspace, 16 bytes of a lane beside those of the next: eight tokens
# (2 t + h) of a slab (16 warp + 8 r0 + g) are [warp, g, t, r0, h].
_BOX = (4, 8, 4, 2, 2)
_DIMS = (2, 3, 4, 5, 6, 7)


def _boxes(count: int) -> RegisterLayout:
    """[count, *_BOX]: `wgmma_d`, its dimensions turned."""
    return RegisterLayout.from_modes(
        (count, *_BOX),
        ((count,), *((extent,) for extent in _BOX)),
        spatial=[(1, 0), (2, 0), (3, 0)],
        local=[(0, 0), (4, 0), (5, 0)],
    )
