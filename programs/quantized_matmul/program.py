"""The VM program of the quantized matmul, for any m, dtype, group and zero point.

y^T = W^T x^T on mma's m16n8k16: 16 features on M, 8 tokens on N. A block holds `k_warps` x
`feature_warps` warps; each warp walks chunks of k, reads its codes straight from global memory into
the registers where the A fragments need them, decodes them, and multiplies.

The decode leaves factors and constants behind: decoded = value * 2^f + c, with f and c fixed within
a feature tile and a part q of k (geometry.py). With z the zero point (2^(b-1) where symmetric),

    sum_k (value - z) x = sum_q 2^-f * (sum_{k in q} decoded x - (c + z 2^f) sum_{k in q} x)

so a group costs one multiply-add an accumulator and factor, for parts of one factor share a sum;
what all chunks have in common, 2^-f, waits for the end. The rank-1 terms cost one more, and come
from a product with a matrix of ones. Groups accumulate in f32, chunk by chunk.

The warps that split k meet in shared memory, the blocks that split k in a workspace whose last
arrival sums it: always in the same order, so that results repeat bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import lcm

from tileloom import vm
from tileloom.vm.dsl.values import MemoryTile, Pointer, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import dtype, f16, f32, i32, u32

from .config import Config
from .geometry import MOST_CHUNKS
from .staging import Source, source_of
from .turn import Block

Emit = Callable[[int, Tile], None]


def reduce_warps(config: Config, totals: Sequence[Tile], emit: Emit) -> None:
    """Sums the warps that split k, in a fixed order; `emit(first feature, [features, tokens])`."""
    cut, count = config.cut, config.tiles_a_pass
    warps = (config.k_warps, config.feature_warps)
    shared = vm.alloc_shared(f32, (*warps, 16 * count, config.tokens))
    for first in range(0, cut.tiles, count):
        if first:
            vm.barrier()
        for index, total in enumerate(totals[first : first + count]):
            part = vm.reshape(total, (*warps, 16, config.tokens))
            vm.store(shared, [0, 0, 16 * index, 0], part)
        vm.barrier()
        for f in range(config.feature_warps):
            shape = (16 * count, config.tokens)
            whole = vm.load(shared, [0, f, 0, 0], shape)
            for w in range(1, config.k_warps):
                whole = whole + vm.load(shared, [w, f, 0, 0], shape)
            emit(f * cut.block_features + 16 * first, whole)
    vm.free_shared(shared)


@vm.kernel
def quantized_matmul(
    x: vm.Ptr["activation"],
    w: vm.Ptr[u32],
    scales: vm.Ptr[f16],
    zeros: vm.Ptr[f16],
    bias: vm.Ptr["bias_dtype"],
    y: vm.Ptr["out"],
    partials: vm.Ptr[f32],
    counters: vm.Ptr[u32],
    m: i32,
    k: i32,
    n: i32,
    chunks: i32,
    splits: i32,
    scale_unit: f32,
    config: Config,
    activation: str,
    bias_dtype: str,
    out: str,
) -> None:
    cut = config.cut
    for extent in (m, n, splits):
        vm.assume(extent >= 1)
    vm.assume(chunks >= 0)
    vm.assume(chunks <= MOST_CHUNKS)
    vm.assume(k % config.x_vector == 0)
    blocks = vm.cdiv(n, cut.block_features)
    vm.launch(
        grid=[vm.cdiv(m, config.tokens), vm.cdiv(blocks, config.feature_warps), splits],
        warps=config.k_warps * config.feature_warps,
        min_blocks=config.min_blocks,
        cluster=(1, 1, config.cluster),
    )
    # The next kernel's blocks may come as ours leave: weights depend on nothing before.
    vm.launch_dependents()
    begin, end = _part(config, chunks, splits)
    # Views end where the block's part of k does: what a turn reads beyond it is zero.
    words_shape = (cut.steps, cut.unit_words, 32, 4)
    scales_shape = (8, cut.tiles, 2)
    seen, rows = (vm.constant(1),) * 2 if cut.one_scale else (end, chunks)
    block = Block(
        config,
        x,
        _chunk_view(w, blocks, end, chunks, words_shape),
        _chunk_view(scales, blocks, seen, rows, scales_shape),
        _chunk_view(zeros, blocks, seen, rows, scales_shape),
        m,
        k,
        end,
        vm.block_index(1) * config.feature_warps,
        vm.block_index(0) * config.tokens,
    )
    layout = config.layouts.accumulator()
    totals = [vm.full(f32, layout.shape, 0.0, layout) for _ in range(cut.tiles)]
    walk(block, begin, totals)
    finish(config, block, totals, Output(bias, y, partials, counters, m, n, splits, scale_unit))


def _part(config: Config, chunks: Scalar, splits: Scalar) -> tuple[Scalar, Scalar]:
    """The block's part of k: its first chunk, and the first behind it. What is known of the number
    of parts saves a division before the first word can be asked for."""
    if not config.split and config.cluster == 1:
        return vm.constant(0), chunks
    parts = splits if config.split else config.cluster
    turns = vm.cdiv(vm.cdiv(chunks, config.turn), parts)
    begin = vm.block_index(2) * turns * config.turn
    return begin, vm.smaller(chunks, begin + turns * config.turn)


def _chunk_view(
    pointer: Pointer, blocks: Scalar, end: ScalarLike, chunks: ScalarLike, inner: tuple[int, ...]
) -> MemoryTile:
    """[blocks, chunks, *inner], dense in memory, of which the chunks before `end` are seen."""
    strides: list[ScalarLike] = [1]
    for extent in reversed(inner):
        strides.insert(0, strides[0] * extent)
    strides.insert(0, strides[0] * chunks)
    return vm.global_view(pointer, [blocks, end, *inner], strides)


def walk(block: Block, begin: Scalar, totals: Sequence[Tile]) -> None:
    """The main loop: the warps walk their chunks, reading words, x and scales ahead of use."""
    config, step = block.config, block.config.turn
    # Buffers of words in registers where groups are padded have no turns of one distance.
    buffers = config.buffers if config.cut.contiguous else min(config.buffers, 1)
    words = [block.words(begin + turn * step) for turn in range(buffers)]
    source = source_of(block, begin)
    vm.wait_dependencies()
    source.begin()
    # Buffers and slots go round in a turn of the loop, so that their numbers are known.
    turns = lcm(max(1, buffers), max(1, config.stages))
    for first in vm.range(begin, block.end, turns * step):
        for turn in range(turns):
            chunk = first + turn * step
            with vm.when(chunk < block.end) if turn else nullcontext():
                _turn(block, source, words, chunk, turn, totals)
    source.end()


def _turn(
    block: Block,
    source: Source,
    words: Sequence[Tile],
    chunk: Scalar,
    turn: int,
    totals: Sequence[Tile],
) -> None:
    """One span a warp; its buffer of words, if there is one, is filled again."""
    config = block.config
    slot = turn % max(1, config.stages)
    if not words:
        operands = source.take(chunk, slot)
        block.add(source.words(chunk, slot), operands, totals)
    else:
        buffer = words[turn % len(words)]
        # What follows is on its way during the products, but where other turns' are anyway.
        coming = block.words(chunk + config.turn) if len(words) == 1 else None
        block.add(buffer, source.take(chunk, slot), totals)
        if coming is None:
            coming = block.words(chunk + len(words) * config.turn)
        buffer.set(coming)
    source.advance()


@dataclass
class Output:
    """Where results go."""

    bias: Pointer
    y: Pointer
    partials: Pointer
    counters: Pointer
    m: Scalar
    n: Scalar
    splits: Scalar
    scale_unit: Scalar

    def write(self, config: Config, block: Block, feature: ScalarLike, total: Tile) -> None:
        """y[token, feature] = total[feature, token] * unit + bias[feature], rounded once."""
        start = block.first * config.cut.block_features + feature
        total = total * self.scale_unit
        if config.bias:
            bias_view = vm.global_view(self.bias, [self.n, 1], alignment=4)
            added = vm.load(bias_view, [start, 0], (total.shape[0], 1))
            total = total + vm.cast(added, f32)
        result = vm.cast(total, dtype(config.out))
        y_view = vm.global_view(self.y, [self.m, self.n], alignment=2)
        vm.store(y_view, [block.token, start], vm.transpose(result))


def finish(config: Config, block: Block, totals: Sequence[Tile], output: Output) -> None:
    """Sums what warps and blocks computed apart, and writes y."""
    if config.units_last:
        totals = [total * config.unit(tile) for tile, total in enumerate(totals)]
    if config.cluster > 1:
        _meet_in_cluster(config, block, totals, output)
    elif config.split:
        _meet_in_workspace(config, block, totals, output)
    else:
        reduce_warps(config, totals, lambda at, total: output.write(config, block, at, total))


def _meet_in_cluster(config: Config, block: Block, totals: Sequence[Tile], output: Output) -> None:
    """Each block of the cluster sums a slice of the features over all of them, in rank order."""
    shape = (config.features, config.tokens)
    mine = vm.alloc_shared(f32, shape)
    reduce_warps(config, totals, lambda at, total: vm.store(mine, [at, 0], total))
    vm.cluster_barrier()
    size = config.features // config.cluster
    start = vm.cluster_rank() * size
    part = vm.load_remote(mine, [start, 0], 0, (size, config.tokens))
    for rank in range(1, config.cluster):
        part = part + vm.load_remote(mine, [start, 0], rank, (size, config.tokens))
    output.write(config, block, start, part)
    # Nobody leaves while others read its memory.
    vm.cluster_barrier()


def _meet_in_workspace(
    config: Config, block: Block, totals: Sequence[Tile], output: Output
) -> None:
    """The blocks leave their sums in memory; the last to arrive adds them up, in order."""
    tiles = (vm.grid_size(0), vm.grid_size(1))
    place = (vm.block_index(0), vm.block_index(1))
    extents = [output.splits, *tiles, config.features, config.tokens]
    partials = vm.global_view(output.partials, extents)
    split = vm.block_index(2)
    shapes: dict[int, int] = {}

    def keep(at: int, total: Tile) -> None:
        shapes[at] = total.shape[0]
        vm.store(partials, [split, *place, at, 0], total, dims=(3, 4))

    reduce_warps(config, totals, keep)
    counters = vm.global_view(output.counters, list(tiles))
    arrived = vm.atomic_scalar(counters, place, 1)
    with vm.when(arrived == output.splits - 1):
        vm.atomic_scalar(counters, place, 0, "exchange")
        for at, rows in shapes.items():
            shape = (rows, config.tokens)
            whole = vm.full(f32, shape, 0.0)
            for z in vm.range(output.splits):
                whole.set(whole + vm.load(partials, [z, *place, at, 0], shape, dims=(3, 4)))
            output.write(config, block, at, whole)
