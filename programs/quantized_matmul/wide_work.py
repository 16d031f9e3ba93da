"""How the blocks of the quantized matmul of many tokens share its work (wide.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tileloom import vm
from tileloom.layouts import fragments
from tileloom.vm.dsl.values import Pointer, Scalar
from tileloom.vm.dtypes import i32

from .wide_config import WideConfig


@dataclass
class Work:
    """What a thread block has to do: chunks of tiles of the product.

    Tiles are numbered tokens first, so that blocks at work together read the same weights.
    """

    config: WideConfig
    token_tiles: vm.Divisor
    tiles: Scalar
    turns: vm.StreamK  # of a chunk of k each

    @staticmethod
    def of(
        config: WideConfig, m: Scalar, blocks: Scalar, chunks: vm.Divisor, parts: Scalar,
        each: Scalar, token_inverse: Scalar,
    ) -> Work:  # fmt: skip
        """Of so many tokens, feature blocks and chunks of k."""
        token_tiles = vm.cdiv(m, config.tokens)
        tiles = token_tiles * vm.cdiv(blocks, config.blocks)
        turns = vm.StreamK(
            tiles, chunks.value, parts, cuts=config.split, each=each, inverse=chunks.inverse
        )
        return Work(config, vm.Divisor(token_tiles, token_inverse), tiles, turns)

    @contextmanager
    def segments(self) -> Iterator[Segment]:
        """The tiles of this block one after the other, each with the chunks it takes of it."""
        with self._parts() as part:
            yield self.place(part)

    def place(self, part: vm.Segment) -> Segment:
        """A part of a tile, and where the tile is."""
        down, across = self.token_tiles.divide(part.tile)
        token, block = across * self.config.tokens, vm.var(down * self.config.blocks, i32)
        return Segment(self.config, part, vm.var(token, i32), block)

    @contextmanager
    def _parts(self) -> Iterator[vm.Segment]:
        if self.config.in_rounds:
            for tile in vm.persistent_tiles(self.tiles):
                yield vm.Segment(tile, vm.constant(0), self.turns.turns)
        elif self.config.cluster > 1:
            yield self._share()
        else:
            with self.turns.segments() as part:
                yield part

    def tile(self) -> vm.Segment:
        """The tile of a cluster."""
        return vm.Segment(vm.block_index(0), vm.constant(0), self.turns.turns)

    def _share(self) -> vm.Segment:
        """The part of k of a block of the cluster."""
        each = vm.cdiv(self.turns.turns, self.config.cluster)
        first = vm.block_index(2) * each
        left = vm.larger(vm.smaller(self.turns.turns - first, each), 0)
        return vm.Segment(vm.block_index(0), first, left)

    def sums(self, group: int, partials: Pointer, flags: Pointer) -> vm.SharedSums:
        """Where the sums of a warp group's slabs meet."""
        layouts = [fragments.wgmma_d(self.config.tokens)] * self.config.slabs
        groups = self.config.groups
        return vm.SharedSums(self.turns, partials, flags, layouts, group=group, groups=groups)


@dataclass
class Segment:
    """A block's part of a tile of the product."""

    config: WideConfig
    part: vm.Segment
    token: Scalar  # the first
    block: Scalar  # the first feature block

    @property
    def begin(self) -> Scalar:
        """The first chunk."""
        return self.part.begin

    @property
    def turns(self) -> Scalar:
        """Chunks."""
        return self.part.turns
