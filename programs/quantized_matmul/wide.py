"""The quantized matmul of many tokens, on the tensor cores of warp groups.

y^T = W^T x^T once more, 64 features on M and up to 128 tokens on N. The same packed tensor serves:
warp w of a warp group takes the words of feature block 4 c + w (c: the *column*, 4 feature blocks),
so that feature tile j of its block is rows 16 w .. 16 w + 15 of a *slab* of 64 features, and the
fragments it decodes are the register operand of `wgmma`.

One warp fetches: words and scales as runs, rows of x as tiles, `stages` chunks of k ahead of use.
The warp groups decode, scale the fragments and multiply, a span of k at a time: while one span is
multiplied, the next is decoded. Parts of k meet in distributed shared memory, in rank order.

Fragments are values of the weights, rounded once to the activation's dtype, after zero points are
taken away and scales applied: scales are brought down (`scale_down`) so far that no weight exceeds
an f16, and results up again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tileloom import vm
from tileloom.layouts import fragments
from tileloom.vm.dsl.mbarrier import Mbarriers
from tileloom.vm.dsl.values import MemoryTile, Pointer, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import dtype, f16, f32, i32, u32

from .geometry import MOST_CHUNKS
from .wide_config import FETCHING, MULTIPLYING, WARPS, WideConfig


@dataclass
class Ring:
    """Shared memory of the turns in flight, and the barriers that pass it to and fro."""

    words: MemoryTile  # [stages, feature block, word]
    x: MemoryTile  # [stages, k, token]
    scales: MemoryTile  # [stages, feature block, 8 * T * 2]
    zeros: MemoryTile | None
    full: Mbarriers
    empty: Mbarriers

    @staticmethod
    def alloc(config: WideConfig) -> Ring:
        """Allocates it; the block meets."""
        each = (config.stages, config.blocks)
        kind, shape = dtype(config.activation), (config.stages, config.cut.chunk, config.tokens)
        x = vm.alloc_shared(kind, shape, config.x_slots())
        words = vm.alloc_shared(u32, (*each, config.run))
        scales = vm.alloc_shared(f16, (*each, 16 * config.cut.tiles))
        zeros = vm.alloc_shared(f16, (*each, 16 * config.cut.tiles)) if config.has_zeros else None
        full = vm.alloc_mbarrier([config.stages])
        empty = vm.alloc_mbarrier([config.stages], WARPS * config.groups)
        return Ring(words, x, scales, zeros, full, empty)


@dataclass
class Part:
    """A thread block's part of the product."""

    config: WideConfig
    token: Scalar  # the first
    block: Scalar  # the first feature block
    begin: Scalar  # the first chunk
    turns: Scalar


@vm.kernel
def quantized_matmul_wide(
    x: vm.Ptr["activation"],
    w: vm.Ptr[u32],
    scales: vm.Ptr[f16],
    zeros: vm.Ptr[f16],
    bias: vm.Ptr["bias_dtype"],
    y: vm.Ptr["out"],
    m: i32,
    k: i32,
    n: i32,
    chunks: i32,
    scale_down: f32,
    scale_unit: f32,
    config: WideConfig,
    activation: str,
    bias_dtype: str,
    out: str,
) -> None:
    cut = config.cut
    for extent in (m, n):
        vm.assume(extent >= 1)
    vm.assume(chunks >= 0)
    vm.assume(chunks <= MOST_CHUNKS)
    vm.assume(k % 8 == 0)
    blocks = vm.cdiv(n, cut.block_features)
    vm.launch(
        grid=[vm.cdiv(m, config.tokens), vm.cdiv(blocks, config.blocks), config.cluster],
        warps=WARPS * (config.groups + 1),
        cluster=(1, 1, config.cluster),
    )
    vm.launch_dependents()
    each = vm.cdiv(chunks, config.cluster)
    begin = vm.block_index(2) * each
    turns = vm.larger(vm.smaller(chunks - begin, each), 0)
    place = (vm.block_index(0) * config.tokens, vm.block_index(1) * config.blocks)
    part = Part(config, *place, begin, turns)
    ring = Ring.alloc(config)
    sums = vm.alloc_shared(f32, config.sums().shape, config.sums())
    rows = vm.constant(1) if cut.one_scale else chunks
    per_row = 16 * cut.tiles
    views = Views(
        vm.global_view(x, [m, k], alignment=16),
        vm.global_view(w, [blocks, chunks, config.run], alignment=16),
        vm.global_view(scales, [blocks, rows, per_row], alignment=16),
        vm.global_view(zeros, [blocks, rows, per_row], alignment=16),
        blocks,
    )
    output = Output(bias, y, m, n, scale_unit)
    with vm.warp_group(WARPS * config.groups, WARPS):
        vm.set_registers(FETCHING, "less")
        with vm.single_thread():
            fetch(part, ring, views)
    for group in range(config.groups):
        with vm.warp_group(WARPS * group, WARPS):
            vm.set_registers(MULTIPLYING, "more")
            totals = multiply(part, ring, group, scale_down)
            leave(part, sums, group, totals, output)
    if config.cluster > 1:
        meet(part, sums, output)


@dataclass
class Views:
    """The operands in global memory."""

    x: MemoryTile
    words: MemoryTile  # [blocks, chunks, words]
    scales: MemoryTile  # [blocks, rows, 16 T]
    zeros: MemoryTile
    blocks: Scalar


def fetch(part: Part, ring: Ring, views: Views) -> None:
    """One thread copies the turns' operands as their slots become free."""
    config, cut = part.config, part.config.cut
    vm.wait_dependencies()
    for turn in vm.range(0, part.turns):
        stage, chunk = turn % config.stages, part.begin + turn
        row: ScalarLike = 0 if cut.one_scale else chunk
        vm.mbarrier_wait(ring.empty, stage, turn // config.stages + 1)
        vm.mbarrier_expect(ring.full, stage, config.stage_bytes)
        for index in range(config.blocks):
            # Beyond the last feature block any block will do: its results are dropped.
            block = vm.smaller(part.block + index, views.blocks - 1)
            vm.copy_bulk(
                ring.words, [stage, index, 0], views.words, [block, chunk, 0],
                ring.full, stage, config.run, cache="stream",
            )  # fmt: skip
            for slots, view in ((ring.scales, views.scales), (ring.zeros, views.zeros)):
                if slots is not None:
                    vm.copy_bulk(
                        slots, [stage, index, 0], view, [block, row, 0],
                        ring.full, stage, 16 * cut.tiles,
                    )  # fmt: skip
        for at in range(0, cut.chunk, config.box):
            vm.copy_tensor(
                ring.x, [stage, at, 0], views.x, [part.token, chunk * cut.chunk + at],
                ring.full, stage, (config.box, config.tokens), dims=(1, 0),
            )  # fmt: skip


def multiply(part: Part, ring: Ring, group: int, scale_down: Scalar) -> list[Tile]:
    """A warp group's slabs, summed over the block's part of k."""
    config, cut = part.config, part.config.cut
    column, tiles = config.place(group)
    layout = fragments.wgmma_d(config.tokens)
    totals = [vm.full(f32, layout.shape, 0.0, layout) for _ in tiles]
    for turn in vm.range(0, part.turns):
        stage = turn % config.stages
        vm.mbarrier_wait(ring.full, stage, turn // config.stages)
        weights = Weights(config, ring, stage, WARPS * column, scale_down)
        spans = list(parts_of(cut.chunk, config.slabs))
        for number, (low, high) in enumerate(spans):
            operands = [weights.fragment(tile, low, high) for tile in tiles]
            for total, operand in zip(totals, operands, strict=True):
                vm.wgmma(total, operand, ring.x, b_offsets=[stage, low, 0])
            vm.wgmma_commit()
            # Alone, a span's fragments are the registers that the next turn's will be.
            vm.wgmma_wait(1 if len(spans) > 1 else 0)
            if number == 0:
                # The last turn's products are done: its slot may be overwritten.
                with vm.when(turn > 0):
                    vm.mbarrier_arrive(ring.empty, (turn - 1) % config.stages, per="warp")
    vm.wgmma_wait(0)
    return totals


def parts_of(chunk: int, slabs: int) -> Iterator[tuple[int, int]]:
    """The rows of a chunk in spans whose fragments take no more than 32 registers; two at least,
    unless it is a single product."""
    steps = min(max(1, 8 // slabs), max(1, chunk // 32))
    for low in range(0, chunk, 16 * steps):
        yield low, min(chunk, low + 16 * steps)


class Weights:
    """The weights of one turn that a warp group decodes."""

    def __init__(
        self, config: WideConfig, ring: Ring, stage: Scalar, block: int, scale_down: Scalar
    ) -> None:
        self.config = config
        words = config.words()
        loaded = vm.load(
            ring.words, [stage, block, 0], words.shape, words, dims=(1, 2), in_bounds=True
        )
        shape = (1, WARPS * config.cut.block_features, config.cut.chunk)
        codes = vm.view(loaded, dtype(config.weight), shape, config.layouts.codes(), vm.PAIRED)
        kind = dtype(config.activation)
        values = vm.cast(codes, f32 if self.in_f32 else kind)
        self.values = vm.reshape(values, (WARPS, config.cut.tiles, 16, config.cut.chunk))
        scales = self._row(ring.scales, stage, block)
        scales = vm.cast(scales, f32) * scale_down
        self.scales = scales if self.in_f32 else vm.cast(scales, kind)
        self.zeros: Tile | None = None
        if ring.zeros is not None:
            self.zeros = vm.cast(self._row(ring.zeros, stage, block), self.values.dtype)

    @property
    def in_f32(self) -> bool:
        """Zero points that are no bf16 have to be taken away in f32."""
        return self.config.activation == "bf16" and self.config.zero_point == "float"

    def _row(self, slots: MemoryTile, stage: Scalar, block: int) -> Tile:
        layout = self.config.scales()
        return vm.load(slots, [stage, block, 0], layout.shape, layout, dims=(1, 2), in_bounds=True)

    def _of_tile(self, row: Tile, tile: int) -> Tile:
        """[64, 1] of a row of scales or zeros."""
        split = vm.reshape(row, (WARPS, 8, self.config.cut.tiles, 2))
        box = vm.transpose(split[:, :, tile : tile + 1, :], (0, 2, 3, 1))
        return vm.reshape(box, (16 * WARPS, 1))

    def fragment(self, tile: int, low: int, high: int) -> Tile:
        """[64, high - low]: scaled weights of a slab."""
        config = self.config
        box = self.values[:, tile : tile + 1, :, low:high]
        values = vm.reshape(box, (16 * WARPS, high - low))
        scales = self._of_tile(self.scales, tile)
        if config.zero_point == "symmetric":
            # Zero times scale is exact: one rounding, of the sum.
            zero = 2.0 ** (dtype(config.weight).bits - 1)
            return vm.fma(values, scales, scales * -zero)
        if self.zeros is not None:
            values = values - self._of_tile(self.zeros, tile)
        return vm.cast(values * scales, dtype(config.activation))


@dataclass
class Output:
    """Where results go."""

    bias: Pointer
    y: Pointer
    m: Scalar
    n: Scalar
    scale_unit: Scalar

    def write(self, part: Part, feature: Scalar, sums: Tile) -> None:
        """y[token, feature + i] = sums[i, token] * unit + bias[feature + i], rounded once."""
        config, features = part.config, sums.shape[0] * sums.shape[1] * sums.shape[2]
        total = vm.reshape(sums, (features, config.tokens)) * self.scale_unit
        if config.bias:
            bias = vm.global_view(self.bias, [self.n, 1], alignment=4)
            total = total + vm.cast(vm.load(bias, [feature, 0], (features, 1)), f32)
        view = vm.global_view(self.y, [self.m, self.n], alignment=2)
        vm.store(view, [part.token, feature], vm.transpose(vm.cast(total, dtype(config.out))))


def leave(part: Part, sums: MemoryTile, group: int, totals: list[Tile], output: Output) -> None:
    """A warp group writes its slabs to y, one after the other; or leaves them to the cluster."""
    config = part.config
    column, tiles = config.place(group)
    for tile, total in zip(tiles, totals, strict=True):
        slab = vm.reshape(total, (WARPS, 1, 16, config.tokens))
        if config.cluster > 1:
            vm.store(sums, [WARPS * column, tile, 0, 0], slab)
            continue
        vm.store(sums, [WARPS * group, 0, 0, 0], slab)
        vm.barrier()
        layout = config.results()
        whole = vm.load(sums, [WARPS * group, 0, 0, 0], layout.shape, layout)
        if tile == tiles[0]:
            vm.wait_dependencies()
        for index in range(WARPS):
            start = (part.block + (WARPS * column + index)) * config.cut.block_features + 16 * tile
            output.write(part, start, whole[index : index + 1, :, :, :])
        if tile != tiles[-1]:
            vm.barrier()


def meet(part: Part, sums: MemoryTile, output: Output) -> None:
    """The blocks of a cluster sum the parts of k, each a slice of the features, in rank order."""
    config = part.config
    vm.cluster_barrier()
    with vm.warp_group(0, WARPS * config.groups):
        layout = config.results()
        first = vm.cluster_rank() * layout.shape[0]
        whole = vm.load_remote(sums, [first, 0, 0, 0], 0, layout.shape, layout)
        for rank in range(1, config.cluster):
            whole = whole + vm.load_remote(sums, [first, 0, 0, 0], rank, layout.shape, layout)
        vm.wait_dependencies()
        output.write(part, (part.block + first) * config.cut.block_features, whole)
    # Nobody leaves while others read its memory.
    vm.cluster_barrier()
