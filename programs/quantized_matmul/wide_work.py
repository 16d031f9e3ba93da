"""How the blocks of the quantized matmul of many tokens share its work (wide.py)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tileloom import vm
from tileloom.layouts import RegisterLayout, fragments
from tileloom.vm.dsl.values import MemoryTile, Pointer, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import i32, u32

from .wide_config import WARPS, WideConfig


@dataclass
class Work:
    """What a thread block has to do: chunks of tiles of the product, counted through all tiles.

    Tiles are numbered tokens first, so that blocks at work together read the same weights. A block
    takes `each` chunks in a row, the first block the last ones: those it may wait for are blocks
    that were started before it.
    """

    config: WideConfig
    chunks: Scalar
    token_tiles: Scalar
    tiles: Scalar
    parts: Scalar
    each: Scalar
    number: Scalar  # of this block's part

    @staticmethod
    def of(config: WideConfig, m: Scalar, blocks: Scalar, chunks: Scalar, parts: Scalar) -> Work:
        token_tiles = vm.cdiv(m, config.tokens)
        tiles = token_tiles * vm.cdiv(blocks, config.blocks)
        number = parts - 1 - vm.block_index(0)
        return Work(
            config, chunks, token_tiles, tiles, parts, vm.cdiv(tiles * chunks, parts), number
        )

    @contextmanager
    def segments(self) -> Iterator[Segment]:
        """The tiles of this block one after the other, each with the chunks it takes of it."""
        config = self.config
        begin = self.number * self.each
        end = vm.smaller(begin + self.each, self.tiles * self.chunks)
        at, stop = vm.var(begin, i32), vm.var(end, i32)
        with vm.loop(at < stop):
            tile = vm.var(at // self.chunks, i32)
            first, turns = vm.var(0, i32), vm.var(self.chunks, i32)
            if config.split:
                first.set(at - tile * self.chunks)
                turns.set(vm.smaller(self.chunks - first, stop - at))
            token = vm.var(tile % self.token_tiles * config.tokens, i32)
            block = vm.var(tile // self.token_tiles * config.blocks, i32)
            yield Segment(self, tile, token, block, first, turns)
            at.set(at + turns)


@dataclass
class Segment:
    """A block's part of a tile of the product."""

    work: Work
    tile: Scalar
    token: Scalar  # the first
    block: Scalar  # the first feature block
    begin: Scalar  # the first chunk
    turns: Scalar  # chunks

    @property
    def config(self) -> WideConfig:
        return self.work.config


@dataclass
class Exchange:
    """Where blocks that share a tile leave sums: the last of its blocks to begin collects them."""

    work: Work
    group: int
    partials: Pointer  # [part, slab, row, token]
    flags: Pointer  # [part, warp group]: whether they are there

    def _views(self) -> tuple[MemoryTile, MemoryTile]:
        config, parts = self.work.config, self.work.parts
        shape: list[ScalarLike] = [parts, config.groups * config.slabs, *self._held.shape]
        partials = vm.global_view(self.partials, shape, alignment=16)
        return partials, vm.global_view(self.flags, [parts, config.groups])

    @property
    def _held(self) -> RegisterLayout:
        """Sums of a slab in the order of lanes and what they hold: 16 bytes of a lane in a row."""
        layout = fragments.wgmma_d(self.work.config.tokens)
        return layout.reshape(self._split).permute(_AS_HELD)

    @property
    def _split(self) -> tuple[int, ...]:
        return WARPS, 2, 8, self.work.config.tokens // 8, 4, 2

    def give(self, totals: list[Tile]) -> None:
        """Leaves the sums of a tile that another block has the beginning of."""
        partials, flags = self._views()
        for slab, total in enumerate(totals, self.group * self.work.config.slabs):
            held = vm.transpose(vm.reshape(total, self._split), _AS_HELD)
            place: list[ScalarLike] = [self.work.number, slab, *(0 for _ in held.shape)]
            vm.store(partials, place, held, dims=_HELD_DIMS)
        vm.release(flags, [self.work.number, self.group], 1)

    def take(self, segment: Segment, totals: list[Tile]) -> None:
        """Adds what the blocks leave that have the rest of the tile, in the order of k."""
        partials, flags = self._views()
        layout = self._held
        last = ((segment.tile + 1) * self.work.chunks - 1) // self.work.each + 1
        numbers = (self.work.number + 1, vm.var(last, i32))
        # Awaited one after the other, read without a meeting in between.
        for number in vm.range(*numbers):
            vm.lock(flags, [number, self.group], 1)
        for number in vm.range(*numbers):
            for slab, total in enumerate(totals, self.group * self.work.config.slabs):
                place: list[ScalarLike] = [number, slab, *(0 for _ in layout.shape)]
                held = vm.load(partials, place, layout.shape, layout, dims=_HELD_DIMS)
                held = vm.transpose(held, tuple(_AS_HELD.index(d) for d in range(6)))
                total.set(total + vm.reshape(held, total.shape))
            # For the next launch; nobody else reads it in this one.
            vm.store(flags, [number, self.group], vm.full(u32, (1, 1), 0))


# From (warp, row half, row, tokens, lane, token) of an accumulator, to have 16 bytes in a row.
_AS_HELD = (3, 0, 2, 4, 1, 5)
_HELD_DIMS = (2, 3, 4, 5, 6, 7)
