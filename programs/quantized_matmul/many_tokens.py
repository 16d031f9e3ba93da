"""The main loop for many tokens, on the tensor cores of warp groups: y^T = W^T x^T with decoded
weights as their left operand in registers and x as the right one in shared memory.

A warp holds one feature block, as in the loop for few tokens: the 16 rows of feature tile t of four
warps are the 64 rows of one product, so a warp group computes T products of 64 features by `tokens`
a chunk. Nothing changes in how weights are packed or decoded, nor in how factors, constants and
zero points are undone (program.py): the sums over x come from a product with ones here too.

x waits in a ring of stages, filled by asynchronous copies. A product runs while the one before it
is scaled and added to the totals. All products of a chunk are done at its end: so at the next
meeting its stage is free, and the copies of `stages - 1` chunks are under way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from tileloom import vm
from tileloom.layouts import MemoryLayout, RegisterLayout, auto, local, swizzled
from tileloom.vm.dsl.values import MemoryTile, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import dtype, f32, u32

from .config import Config
from .turn import Block, RankOne, scaled

Finish = Callable[[], None]


class Ring:
    """x of the coming chunks, [stages, chunk, tokens], each token's row as descriptors want it; and
    their codes, where they are staged."""

    def __init__(self, block: Block, begin: Scalar) -> None:
        config, cut = block.config, block.config.cut
        assert config.form.x_scale == 1.0, "x is multiplied as it is in memory"
        self.block, self.begin, self.stages = block, begin, config.stages
        self.shape = (cut.chunk, config.tokens)
        self.tile = vm.alloc_shared(
            dtype(config.activation), (config.stages, *self.shape), ring_layout(config)
        )
        self.layout = config.layouts.words()
        self.codes: MemoryTile | None = None
        if config.stage_words:
            self.codes = vm.alloc_shared(u32, (config.stages, *self.layout.shape))

    def stage(self, chunk: ScalarLike) -> Scalar:
        """Where a chunk's x lies."""
        return (chunk - self.begin) % self.stages

    def copy(self, chunk: Scalar) -> None:
        """Starts copying a chunk's x; beyond the block's part of k it is zero."""
        block = self.block
        view, start = block.x_place(chunk)
        vm.copy_async(
            self.tile,
            [self.stage(chunk), 0, 0],
            view,
            [block.token, start],
            self.shape,
            dims=(1, 0),
            layout=copy_layout(block.config),
        )
        if self.codes is not None:
            shape = self.layout.shape
            vm.copy_async(
                self.codes,
                [self.stage(chunk), *(0 for _ in shape)],
                block.words_view,
                [block.first, chunk, *(0 for _ in shape[2:])],
                shape,
                cache="stream",
            )
        vm.copy_async_commit()

    def words(self, chunk: Scalar) -> Tile:
        """A chunk's codes, if they wait here too."""
        assert self.codes is not None
        shape = self.layout.shape
        place = [self.stage(chunk), *(0 for _ in shape)]
        return vm.load(self.codes, place, shape, self.layout)

    def wait(self) -> None:
        """The x of the next chunk has come, and all may read it."""
        vm.copy_async_wait(self.stages - 2)
        vm.fence_proxy_async()
        vm.barrier()


def ring_layout(config: Config) -> MemoryLayout:
    """[stages, chunk, tokens], along k in swizzled rows."""
    shape = (config.stages, config.tokens, config.cut.chunk)
    return swizzled(shape, dtype(config.activation).bits).permute(0, 2, 1)


def copy_layout(config: Config) -> RegisterLayout:
    """[chunk, tokens]: who copies which `x_vector` elements of a row."""
    threads = 32 * config.feature_warps
    vectors = auto(threads, config.tokens, config.cut.chunk // config.x_vector)
    return (vectors * local(1, config.x_vector)).permute(1, 0)


def walk_many(block: Block, begin: Scalar, totals: Sequence[Tile]) -> None:
    """The main loop, a chunk a turn; scales, and words if not staged, are read a turn ahead."""
    ring = Ring(block, begin)
    words = None if ring.codes is not None else block.words(begin)
    scales = block.per_feature(block.scales_view, begin)
    layout = block.config.layouts.accumulator().squeeze(0)
    accumulators = []
    if block.config.scale_weights:
        accumulators = [vm.full(f32, layout.shape, 0.0, layout) for _ in totals]
    vm.wait_dependencies()
    for ahead in range(ring.stages - 1):
        ring.copy(begin + ahead)
    for chunk in vm.range(begin, block.end):
        ring.wait()
        next_words = block.words(chunk + 1) if words is not None else None
        next_scales = block.per_feature(block.scales_view, chunk + 1)
        zeros = None
        if block.config.has_zeros:
            zeros = block.per_feature(block.zeros_view, chunk)
        codes = ring.words(chunk) if words is None else words
        turn = Turn(block, ring.tile, ring.stage(chunk), codes)
        if block.config.scale_weights:
            turn.add_scaled(scales, zeros, accumulators)
        else:
            turn.add(scales, zeros, totals)
        ring.copy(chunk + (ring.stages - 1))
        if words is not None and next_words is not None:
            words.set(next_words)
        scales.set(next_scales)
    for total, sums in zip(totals, accumulators, strict=False):
        total.set(vm.reshape(sums, total.shape) * (1.0 / reduced(block.config)))


def reduced(config: Config) -> float:
    """What scales are multiplied with before they meet weights, lest the products overflow f16: the
    largest scale has f16's largest exponent, and a zero point is no larger than a code."""
    kind = dtype(config.weight)
    values = np.asarray(kind.decode(np.arange(1 << kind.bits)), np.float64)
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=1.0))
    return float(2.0 ** -(np.ceil(np.log2(max(largest, 1.0))) + 2))


def _nothing() -> None:
    """Of a product that others need."""


class Turn:
    """The products of one chunk, started one by one while the one before is finished."""

    def __init__(self, block: Block, x: MemoryTile, stage: Scalar, words: Tile) -> None:
        self.block, self.config = block, block.config
        self.x, self.stage, self.words = x, stage, words
        self._waiting: Finish | None = None

    def add_scaled(self, scales: Tile, zeros: Tile | None, accumulators: Sequence[Tile]) -> None:
        """Adds the chunk with weights that are scaled before they are multiplied: no sums but the
        accumulators, and two more operations a pair of weights."""
        config, block = self.config, self.block
        factors = self.halves(scales) * reduced(config)
        offsets = None if zeros is None else self.halves(zeros)
        for tile, acc in enumerate(accumulators):
            values = block.values(self.words)
            for part in range(config.cut.parts):
                a = block.operand(values, part, tile)
                if offsets is not None:
                    a = a - block.tile(offsets, tile)
                elif config.zero_point == "symmetric":
                    a = a - 2.0 ** (dtype(config.weight).bits - 1)
                self.start(acc, a * block.tile(factors, tile), part, True)
                vm.wgmma_commit()
                vm.wgmma_wait(1)
        vm.wgmma_wait(0)

    def halves(self, values: Tile) -> Tile:
        """[rows, F, T, 16, 1] scales or zeros as they are."""
        cut, rows = self.config.cut, values.shape[1]
        ordered = vm.transpose(values, (1, 0, 3, 4, 2))
        return vm.reshape(ordered, (rows, self.config.feature_warps, cut.tiles, 16, 1))

    def add(self, scales: Tile, zeros: Tile | None, totals: Sequence[Tile]) -> None:
        """Adds the chunk to the totals of all feature tiles."""
        config, block = self.config, self.block
        scales = block.by_tile(scales)
        zeros = None if zeros is None else block.by_tile(zeros)
        parts = range(config.cut.parts)
        sums: list[Tile | None] = [None] * len(parts)
        if config.needs_sums:
            layout = config.layouts.ones()
            ones = vm.full(dtype(config.activation), layout.shape, 1.0, layout)
            sums = [self.product(ones, part, _nothing) for part in parts]
        rank_one: list[RankOne] = []

        def finish(tile: int, products: list[Tile]) -> None:
            if not rank_one:  # the sums have been waited for
                rank_one.append(
                    RankOne(config, [None if s is None else self.in_warps(s) for s in sums])
                )
            value = rank_one[0].known_zero(tile)
            for part, product in enumerate(products):
                factor = config.factor(config.pair(part, tile))
                value = scaled(self.in_warps(product), factor, value)
            assert value is not None
            if zeros is not None:
                value = vm.fma(-block.tile(zeros, tile), rank_one[0].unscaled, value)
            totals[tile].set(vm.fma(block.tile(scales, tile), value, totals[tile]))

        for tile, _ in enumerate(totals):
            # Decoded anew for each tile, of which the code of the others is dropped: so few values
            # are alive, and are made while the product before runs.
            values = block.decoded(self.words)
            products: list[Tile] = []
            for part in parts:
                done = partial(finish, tile, products) if part == parts[-1] else _nothing
                products.append(self.product(block.operand(values, part, tile), part, done))
        self.wait()

    def product(self, a: Tile, part: int, done: Finish) -> Tile:
        """Starts [features, tokens] = a @ x over one part of k; `done` is called once it is there,
        after the next has started."""
        layout = self.config.layouts.accumulator().squeeze(0)
        acc = vm.empty(f32, layout.shape, layout)
        self.start(acc, a, part, False)
        vm.wgmma_commit()
        waiting, self._waiting = self._waiting, done
        if waiting is not None:
            vm.wgmma_wait(1)
            waiting()
        return acc

    def start(self, acc: Tile, a: Tile, part: int, accumulate: bool) -> None:
        """acc (+)= a @ x over one part of k."""
        cut, left = self.config.cut, vm.reshape(a, a.shape[1:])
        width = 16 if cut.parts > 1 else cut.chunk
        for number in range(left.shape[1] // width):
            piece = left if cut.parts == 1 else left[:, width * number : width * (number + 1)]
            at = 16 * (cut.parts * number + part)
            keeps = accumulate or number > 0
            vm.wgmma(acc, piece, self.x, b_offsets=[self.stage, at, 0], accumulate=keeps)

    def wait(self) -> None:
        """The last product is done."""
        vm.wgmma_wait(0)
        if self._waiting is not None:
            self._waiting()

    def in_warps(self, product: Tile) -> Tile:
        """A product with the dimension of the warps that split k, which is 1."""
        return vm.reshape(product, (1, *product.shape))
