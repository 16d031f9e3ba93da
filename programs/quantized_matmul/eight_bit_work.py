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
from tileloom.layouts import fragments
from tileloom.vm.dsl.values import Pointer, Scalar, Tile
from tileloom.vm.dtypes import i32

from .eight_bit_config import GROUPS, ByteConfig


@dataclass
class Work:
    """Chunks of tiles of the product.

    Tiles are numbered tokens first, so that blocks at work together read the same weights.
    """

    config: ByteConfig
    chunks: Scalar
    token_tiles: Scalar
    tiles: Scalar
    parts: Scalar

    @staticmethod
    def of(config: ByteConfig, m: Scalar, slabs: Scalar, chunks: Scalar, parts: Scalar) -> Work:
        token_tiles = vm.cdiv(m, config.tokens)
        tiles = token_tiles * vm.cdiv(slabs, config.block_slabs)
        return Work(config, chunks, token_tiles, tiles, parts)

    @property
    def turns(self) -> vm.StreamK:
        """How blocks share all chunks."""
        return vm.StreamK(self.tiles, self.chunks, self.parts, cuts=self.config.split)

    @contextmanager
    def segments(self) -> Iterator[Segment]:
        """The tiles of this block one after the other, each with the chunks it takes of it."""
        config = self.config
        if config.in_rounds:
            for tile in vm.persistent_tiles(self.tiles):
                yield self._segment(vm.Segment(tile, vm.constant(0), self.chunks))
        elif config.cluster > 1 or not config.split:
            yield self._segment(self._whole())
        else:
            with self.turns.segments() as part:
                yield self._segment(part)

    def _whole(self) -> vm.Segment:
        """The one tile of a block, or its part of k."""
        tile = vm.block_index(0)
        if self.config.cluster == 1:
            return vm.Segment(tile, vm.constant(0), self.chunks)
        each = vm.cdiv(self.chunks, self.config.cluster)
        first = vm.block_index(2) * each
        return vm.Segment(tile, first, vm.larger(vm.smaller(self.chunks - first, each), 0))

    def _segment(self, part: vm.Segment) -> Segment:
        token = vm.var(part.tile % self.token_tiles * self.config.tokens, i32)
        slab = vm.var(part.tile // self.token_tiles * self.config.block_slabs, i32)
        return Segment(self.config, part, token, slab)

    def sums(self, group: int, partials: Pointer, flags: Pointer) -> vm.SharedSums:
        """Where the sums of a warp group's slabs meet."""
        layouts = [fragments.wgmma_d(len(tokens)) for tokens in self.config.parts()]
        layouts *= self.config.slabs
        return vm.SharedSums(self.turns, partials, flags, layouts, group=group, groups=GROUPS)


@dataclass
class Segment:
    """A block's part of a tile of the product."""

    config: ByteConfig
    part: vm.Segment
    token: Scalar  # the first
    slab: Scalar  # the first

    @property
    def begin(self) -> Scalar:
        """The first chunk."""
        return self.part.begin

    @property
    def turns(self) -> Scalar:
        """Chunks."""
        return self.part.turns


@dataclass
class Total:
    """The sums of a slab for some of the tokens."""

    number: int  # of the slab among the warp group's
    tokens: range
    sums: Tile  # [64, tokens]
