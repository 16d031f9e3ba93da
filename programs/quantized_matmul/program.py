"""The VM program of the quantized matmul, for any m, dtype, group and zero point.

y^T = W^T x^T on mma's m16n8k16: 16 features on M, 8 tokens on N. A block holds `k_warps` x
`feature_warps` warps; each warp walks chunks of k, reads its codes straight from global memory into
the registers where the A fragments need them, decodes them, and multiplies.

The decode leaves factors and constants behind: decoded = value * 2^f + c, with f and c fixed within
a feature tile and a part q of k (geometry.py). With z the zero point (2^(b-1) where symmetric),

    sum_k (value - z) x = sum_q 2^-f * (sum_{k in q} decoded x - (c + z 2^f) sum_{k in q} x)

so a group costs one multiply-add an accumulator and part, and the rank-1 terms come from one more
product, with a matrix of ones. Groups accumulate in f32, chunk by chunk.

The warps that split k meet in shared memory, the blocks that split k in a workspace whose last
arrival sums it: always in the same order, so that results repeat bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from tileloom import vm
from tileloom.vm.decode import DecodeForm
from tileloom.vm.dsl.values import MemoryTile, Pointer, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import dtype, f16, f32, i32, u32

from .forms import weight_form
from .geometry import Cut, Layouts

REDUCTION_BYTES = 32 * 1024


@dataclass(frozen=True)
class Config:
    """What one compiled kernel is specialised to: never m, k or n."""

    cut: Cut
    weight: str
    activation: str
    zero_point: str
    out: str
    bias: str = ""  # the dtype of the bias, "" without one
    k_warps: int = 4
    feature_warps: int = 1
    tokens: int = 8
    split: bool = False  # blocks along grid.z split k
    x_vector: int = 8  # elements of x that one load may take
    min_blocks: int = 0
    prefetch: bool = True  # a turn's words are read during the turn before

    @cached_property
    def layouts(self) -> Layouts:
        return Layouts(self.cut, self.k_warps, self.feature_warps, self.tokens)

    @cached_property
    def form(self) -> DecodeForm:
        return weight_form(self.weight, self.activation)[0]

    @property
    def features(self) -> int:
        """Features of a thread block."""
        return self.feature_warps * self.cut.block_features

    @property
    def has_zeros(self) -> bool:
        """Whether zero points are read from memory."""
        return self.zero_point in ("int", "float")

    def constant(self, j: int) -> float:
        """(c + z 2^f) 2^-f as far as it is known at compile time, for pair j of a unit."""
        zero = 2.0 ** (dtype(self.weight).bits - 1) if self.zero_point == "symmetric" else 0.0
        return zero + self.form.constants[j] * self.factor(j)

    def factor(self, j: int) -> float:
        """2^-f for pair j of a unit."""
        return 2.0 ** -self.form.exponents[j]

    def pair(self, part: int, tile: int) -> int:
        """The pair of a unit that belongs to a part of k and a feature tile."""
        return part * self.cut.tiles + tile

    @property
    def needs_sums(self) -> bool:
        """Whether the rank-1 term is there at all."""
        return self.has_zeros or any(self.constant(j) for j in range(self.cut.pairs))

    @property
    def tiles_a_pass(self) -> int:
        """Feature tiles whose partial sums fit the reduction's shared memory at once."""
        tile_bytes = 4 * 16 * self.k_warps * self.feature_warps * self.tokens
        fitting = [
            t
            for t in range(1, self.cut.tiles + 1)
            if self.cut.tiles % t == 0 and t * tile_bytes <= REDUCTION_BYTES
        ]
        return max(fitting, default=1)


@dataclass
class Block:
    """What the parts of the program share: the arguments and the block's place."""

    config: Config
    x: Pointer
    words_view: MemoryTile
    scales_view: MemoryTile
    zeros_view: MemoryTile
    m: Scalar
    k: Scalar
    first: Scalar  # the first of the block's feature blocks
    token: Scalar  # its first token

    def x_tile(self, chunk: Scalar) -> Tile:
        """[W, chunk, tokens]: x of this turn's chunks, transposed."""
        config, cut = self.config, self.config.cut
        start, limit = chunk * cut.chunk, self.k
        if not cut.contiguous:
            group, inside = chunk // cut.chunks_per_group, chunk % cut.chunks_per_group
            start = group * cut.group + inside * cut.chunk
            limit = vm.smaller(self.k, (group + 1) * cut.group)
        alignment = 2 * config.x_vector
        x_view = vm.global_view(self.x, [self.m, limit], [self.k, 1], alignment=alignment)
        shape = (config.tokens, config.k_warps * cut.chunk)
        rows = vm.load(x_view, [self.token, start], shape, config.layouts.x(), cache="keep")
        split = vm.reshape(rows, (config.tokens, config.k_warps, cut.chunk))
        return vm.transpose(split, (1, 2, 0))

    def words(self, chunk: Scalar) -> Tile:
        """The packed words of this turn's chunks."""
        layout = self.config.layouts.words()
        offsets: list[ScalarLike] = [self.first, chunk, 0, 0, 0, 0]
        return vm.load(self.words_view, offsets, layout.shape, layout, cache="stream")

    def decoded(self, words: Tile) -> Tile:
        """[W, F, T, 16, *digits of k]: decoded codes."""
        config, cut = self.config, self.config.cut
        shape = (config.k_warps, config.features, cut.chunk)
        codes = vm.view(words, dtype(config.weight), shape, config.layouts.codes(), vm.PAIRED)
        fast = weight_form(config.weight, config.activation)[1]
        values = (vm.decode if fast else vm.cast)(codes, dtype(config.activation))
        split = (config.k_warps, config.feature_warps, cut.tiles, 16, *_digits(cut))
        return vm.reshape(values, split)

    def operand(self, values: Tile, part: int, tile: int) -> Tile:
        """[W, F * 16, chunk / Q]: the A operand of a feature tile and a part of k."""
        config, cut = self.config, self.config.cut
        a, b = divmod(part, cut.part_digits[1])
        box = values[:, :, tile : tile + 1, :, :, a : a + 1, :, :, b : b + 1, :]
        shape = (config.k_warps, 16 * config.feature_warps, cut.chunk // cut.parts)
        return vm.reshape(box, shape)

    def x_parts(self, x: Tile) -> list[Tile]:
        """[W, chunk / Q, tokens] of x for each part of k."""
        config, cut = self.config, self.config.cut
        split = vm.reshape(x, (config.k_warps, *_digits(cut), config.tokens))
        shape = (config.k_warps, cut.chunk // cut.parts, config.tokens)
        parts = []
        for part in range(cut.parts):
            a, b = divmod(part, cut.part_digits[1])
            box = split[:, :, a : a + 1, :, :, b : b + 1, :, :]
            parts.append(vm.reshape(box, shape))
        return parts

    def per_feature(self, view: MemoryTile, chunk: Scalar) -> Tile:
        """[rows, F, T, 16, 1] scales or zeros of this turn's chunks, in f32."""
        config, cut = self.config, self.config.cut
        rows = 1 if cut.one_scale else config.k_warps
        row: ScalarLike = 0 if cut.one_scale else chunk
        layout = config.layouts.scales(rows)
        loaded = vm.load(view, [self.first, row, 0, 0, 0], layout.shape, layout)
        ordered = vm.transpose(vm.cast(loaded, f32), (1, 0, 3, 4, 2))
        return vm.reshape(ordered, (rows, config.feature_warps, cut.tiles, 16, 1))

    def tile(self, values: Tile, tile: int) -> Tile:
        """A feature tile of [rows, F, T, 16, 1], as [rows, F * 16, 1]."""
        box = values[:, :, tile : tile + 1, :, :]
        return vm.reshape(box, (values.shape[0], 16 * self.config.feature_warps, 1))

    def add_chunks(self, chunk: Scalar, words: Tile, totals: Sequence[Tile]) -> None:
        """Adds the product of one chunk a warp to the totals of all feature tiles."""
        config = self.config
        parts, values = self.x_parts(self.x_tile(chunk)), self.decoded(words)
        scales = self.per_feature(self.scales_view, chunk)
        zeros = self.per_feature(self.zeros_view, chunk) if config.has_zeros else None
        sums = [self.sums(x) for x in parts] if config.needs_sums else []
        whole = _added(sums) if zeros is not None else None
        for tile, total in enumerate(totals):
            product = self.product(values, parts, sums, tile)
            if zeros is not None and whole is not None:
                product = vm.fma(-self.tile(zeros, tile), whole, product)
            total.set(vm.fma(self.tile(scales, tile), product, total))

    def product(
        self, values: Tile, parts: Sequence[Tile], sums: Sequence[Tile], tile: int
    ) -> Tile:
        """[W, F * 16, tokens]: a feature tile's codes times x, less what is known of zero."""
        config, layout = self.config, self.config.layouts.accumulator()
        whole: Tile | None = None
        for part, x in enumerate(parts):
            pair = config.pair(part, tile)
            constant, factor = config.constant(pair), config.factor(pair)
            if sums and constant:
                # The sum starts at what is to be subtracted: free of a multiply-add.
                acc = sums[part] * (-constant / factor)
            else:
                acc = vm.full(f32, layout.shape, 0.0, layout)
            vm.mma(acc, self.operand(values, part, tile), x)
            whole = acc * factor if whole is None else vm.fma(acc, factor, whole)
        assert whole is not None
        return whole

    def sums(self, x: Tile) -> Tile:
        """[W, F * 16, tokens]: the sum over k of each token's x, in every row."""
        layout, ones_layout = self.config.layouts.accumulator(), self.config.layouts.ones()
        ones = vm.full(dtype(self.config.activation), ones_layout.shape, 1.0, ones_layout)
        sums = vm.full(f32, layout.shape, 0.0, layout)
        vm.mma(sums, ones, x)
        return sums


def _digits(cut: Cut) -> tuple[int, ...]:
    """The digits of k with r1 and h as one: six of them."""
    *outer, r1, h = cut.k_digits
    return (*outer, r1 * h)


def _added(sums: Sequence[Tile]) -> Tile:
    whole = sums[0]
    for other in sums[1:]:
        whole = whole + other
    return whole


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
    config: Config,
    activation: str,
    bias_dtype: str,
    out: str,
) -> None:
    cut = config.cut
    vm.assume(m >= 1)
    vm.assume(k % config.x_vector == 0)
    blocks = vm.cdiv(n, cut.block_features)
    vm.launch(
        grid=[vm.cdiv(m, config.tokens), vm.cdiv(blocks, config.feature_warps), splits],
        warps=config.k_warps * config.feature_warps,
        min_blocks=config.min_blocks,
    )
    rows: ScalarLike = 1 if cut.one_scale else chunks
    word_shape: list[ScalarLike] = [blocks, chunks, cut.steps, cut.unit_words, 32, 4]
    scale_shape: list[ScalarLike] = [blocks, rows, 8, cut.tiles, 2]
    block = Block(
        config,
        x,
        vm.global_view(w, word_shape),
        vm.global_view(scales, scale_shape),
        vm.global_view(zeros, scale_shape),
        m,
        k,
        vm.block_index(1) * config.feature_warps,
        vm.block_index(0) * config.tokens,
    )
    layout = config.layouts.accumulator()
    totals = [vm.full(f32, layout.shape, 0.0, layout) for _ in range(cut.tiles)]
    turns = vm.cdiv(vm.cdiv(chunks, config.k_warps), splits)
    begin = vm.block_index(2) * turns * config.k_warps
    end = vm.smaller(chunks, begin + turns * config.k_warps)
    words = block.words(begin) if config.prefetch else None
    for chunk in vm.range(begin, end, config.k_warps):
        if words is None:
            block.add_chunks(chunk, block.words(chunk), totals)
            continue
        ahead = block.words(chunk + config.k_warps)
        block.add_chunks(chunk, words, totals)
        words.set(ahead)
    finish(config, block, totals, Output(bias, y, partials, counters, m, n, splits))


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

    def write(self, config: Config, block: Block, feature: int, total: Tile) -> None:
        """y[token, feature] = total[feature, token] + bias[feature], rounded once."""
        start = block.first * config.cut.block_features + feature
        if config.bias:
            bias_view = vm.global_view(self.bias, [self.n, 1], alignment=4)
            added = vm.load(bias_view, [start, 0], (total.shape[0], 1))
            total = total + vm.cast(added, f32)
        result = vm.cast(total, dtype(config.out))
        y_view = vm.global_view(self.y, [self.m, self.n], alignment=2)
        vm.store(y_view, [block.token, start], vm.transpose(result))


def finish(config: Config, block: Block, totals: Sequence[Tile], output: Output) -> None:
    """Sums what warps and blocks computed apart, and writes y."""
    if not config.split:
        reduce_warps(config, totals, lambda at, total: output.write(config, block, at, total))
        return
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
