"""The quantized matmul of many tokens, on the tensor cores of warp groups.

y^T = W^T x^T once more, 64 features on M and up to 128 tokens on N. The same packed tensor serves:
warp w of a warp group takes the words of feature block 4 c + w (c: the *column*, 4 feature blocks),
so that feature tile j of its block is rows 16 w .. 16 w + 15 of a *slab* of 64 features, and the
fragments it decodes are the register operand of `wgmma`.

Four warps fetch: words and scales as runs, rows of x as tiles, `stages` chunks of k ahead of use.
The warp groups decode, scale the fragments and multiply, a span of k at a time: while one span is
multiplied, the next is decoded. Blocks take a tile of the product each, or share all tiles evenly:
then the block with the beginning of a tile collects the sums of the others, in the order of k.

Fragments are values of the weights, rounded once to the activation's dtype, after zero points are
taken away and scales applied: scales are brought down (`scale_down`) so far that no weight exceeds
an f16, and results up again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tileloom import vm
from tileloom.layouts import fragments
from tileloom.vm.dsl.pipeline import Consumer, Producer
from tileloom.vm.dsl.values import MemoryTile, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import dtype, f16, f32, i32, i64, u32

from .geometry import MOST_CHUNKS
from .wide_config import FETCHING, MULTIPLYING, WARPS, Piece, WideConfig
from .wide_results import Output, finish, leaving_slots, meet
from .wide_work import Segment, Work


@dataclass
class Ring:
    """Shared memory of the turns in flight, and the barriers that pass it to and fro."""

    words: MemoryTile  # [stages, feature block, word]
    x: MemoryTile  # [stages, k, token]
    scales: MemoryTile  # [stages, feature block, 8 * T * 2]
    zeros: MemoryTile | None
    turns: vm.Pipeline

    @staticmethod
    def alloc(config: WideConfig) -> Ring:
        """Allocates it; the block meets."""
        each = (config.stages, config.blocks)
        kind, shape = dtype(config.activation), (config.stages, config.cut.chunk, config.tokens)
        x = vm.alloc_shared(kind, shape, config.x_slots())
        words = vm.alloc_shared(u32, (*each, config.run))
        scales = vm.alloc_shared(f16, (*each, 16 * config.cut.tiles))
        zeros = vm.alloc_shared(f16, (*each, 16 * config.cut.tiles)) if config.has_zeros else None
        consumers = WARPS * config.groups
        ring = vm.Pipeline(config.stages, producers=WARPS, consumers=consumers)
        return Ring(words, x, scales, zeros, ring)


@vm.kernel
def quantized_matmul_wide(
    x: vm.Ptr["activation"],
    w: vm.Ptr[u32],
    scales: vm.Ptr[f16],
    zeros: vm.Ptr[f16],
    bias: vm.Ptr["bias_dtype"],
    y: vm.Ptr["out"],
    partials: vm.Ptr[f32],
    flags: vm.Ptr[u32],
    m: i32,
    k: i32,
    n: i32,
    chunks: i32,
    parts: i32,
    each: i32,
    chunks_inverse: i64,
    token_inverse: i64,
    scale_down: f32,
    scale_unit: f32,
    config: WideConfig,
    activation: str,
    bias_dtype: str,
    out: str,
) -> None:
    cut = config.cut
    for extent in (m, n, chunks, parts, each):
        vm.assume(extent >= 1)
    vm.assume(chunks <= MOST_CHUNKS)
    vm.assume(k % 8 == 0)
    blocks = vm.cdiv(n, cut.block_features)
    shape = (1, 1, config.cluster)
    vm.launch(grid=[parts, *shape[1:]], warps=WARPS * (config.groups + 1), cluster=shape)
    vm.launch_dependents()
    work = Work.of(
        config, m, blocks, vm.Divisor(chunks, chunks_inverse), parts, each, token_inverse
    )
    ring = Ring.alloc(config)
    leaving = leaving_slots(config)
    rows = vm.constant(1) if cut.one_scale else chunks
    per_row = 16 * cut.tiles
    views = Views(
        vm.global_view(x, [m, k], alignment=16),
        vm.global_view(w, [blocks, chunks, config.run], alignment=16),
        vm.global_view(scales, [blocks, rows, per_row], alignment=16),
        vm.global_view(zeros, [blocks, rows, per_row], alignment=16),
        blocks,
    )
    output = Output(config, bias, y, m, n, scale_unit)
    for group in range(config.groups):
        with vm.warp_group(WARPS * group, WARPS):
            vm.set_registers(MULTIPLYING, "more")
            use = ring.turns.consumer()
            sums = work.sums(group, partials, flags) if config.cluster == 1 else None
            with work.segments() as segment:
                totals = multiply(segment, ring, use, group, scale_down)
                finish(segment, leaving, group, totals, sums, output)
    # Last: what fetching computes would else be kept in few registers across the whole.
    fetch_all(work, ring, views)
    if config.cluster > 1:
        meet(work, leaving, output)


@dataclass
class Views:
    """The operands in global memory."""

    x: MemoryTile
    words: MemoryTile  # [blocks, chunks, words]
    scales: MemoryTile  # [blocks, rows, 16 T]
    zeros: MemoryTile
    blocks: Scalar


def fetch_all(work: Work, ring: Ring, views: Views) -> None:
    """The warp group that fetches."""
    with vm.warp_group(WARPS * work.config.groups, WARPS):
        vm.set_registers(FETCHING, "less")
        for warp in range(WARPS):
            with vm.warp_group(warp, 1), vm.single_thread():
                fetch(work, ring, views, warp)


def fetch(work: Work, ring: Ring, views: Views, warp: int) -> None:
    """A thread of each warp copies a share of the turns' operands as their slots become free."""
    fill = ring.turns.producer()
    vm.wait_dependencies()
    with work.segments() as segment:
        for turn in vm.range(0, segment.turns):
            fetch_turn(segment, vm.var(segment.begin + turn, i32), fill, ring, views, warp)


def fetch_turn(
    part: Segment, chunk: Scalar, fill: Producer, ring: Ring, views: Views, warp: int
) -> None:
    """A warp's share of a turn: some feature blocks, and some rows of k of x."""
    config, cut = part.config, part.config.cut
    row: ScalarLike = 0 if cut.one_scale else chunk
    boxes = range(config.box * warp, cut.chunk, config.box * WARPS)
    with fill.turn(config.share_bytes(warp)) as stage:
        to = (fill.barriers, stage)
        for index in range(warp, config.blocks, WARPS):
            # Beyond the last feature block any block will do: its results are dropped.
            block = vm.smaller(part.block + index, views.blocks - 1)
            vm.copy_bulk(
                ring.words, [stage, index, 0], views.words, [block, chunk, 0], *to,
                config.run, cache="stream",
            )  # fmt: skip
            for slots, view in ((ring.scales, views.scales), (ring.zeros, views.zeros)):
                if slots is not None:
                    start = [block, row, 0]
                    vm.copy_bulk(slots, [stage, index, 0], view, start, *to, 16 * cut.tiles)
        for at in boxes:
            start = [part.token, chunk * cut.chunk + at]
            shape = (config.box, config.tokens)
            vm.copy_tensor(ring.x, [stage, at, 0], views.x, start, *to, shape, dims=(1, 0))


def multiply(
    part: Segment, ring: Ring, use: Consumer, group: int, scale_down: Scalar
) -> list[Tile]:
    """A warp group's slabs, summed over the block's part of k.

    A span is decoded while the products of the one before it run.
    """
    config = part.config
    column, tiles = config.place(group)
    layout = fragments.wgmma_d(config.tokens)
    totals = [vm.full(f32, layout.shape, 0.0, layout) for _ in tiles]
    spans = config.spans()
    for turn in vm.range(0, part.turns):
        stage = vm.var(use.acquire(), u32)
        weights = Weights(config, ring, stage, WARPS * column, scale_down)
        operands = weights.operands(tiles, spans[0])
        for number, span in enumerate(spans):
            if number == 1:
                # The last turn's products are done: its slot may be overwritten.
                with vm.when(turn > 0):
                    use.release(behind=1, per="warp")
            for at, piece in enumerate(span):
                for step in range(0, piece.rows, 16):
                    for total, operand in zip(totals, operands[at], strict=True):
                        place = [stage, piece.low + step, 0]
                        vm.wgmma(total, operand[:, step : step + 16], ring.x, b_offsets=place)
            vm.wgmma_commit()
            # The span before is done: its registers hold the next.
            vm.wgmma_wait(1 if len(spans) > 1 else 0)
            if number + 1 < len(spans):
                operands = weights.operands(tiles, spans[number + 1])
        if len(spans) == 1:
            with vm.when(turn > 0):
                use.release(behind=1, per="warp")
        use.advance()
    vm.wgmma_wait(0)
    use.release(behind=1, per="warp")
    return totals


class Weights:
    """The weights of one turn that a warp group decodes."""

    def __init__(
        self, config: WideConfig, ring: Ring, stage: Scalar, block: int, scale_down: Scalar
    ) -> None:
        self.config, self.words, self.stage, self.block = config, ring.words, stage, block
        scales = self._row(ring.scales, stage, block)
        scales = vm.cast(scales, f32) * scale_down
        self.dtype = f32 if self.in_f32 else dtype(config.activation)
        self.scales = vm.cast(scales, self.dtype)
        self.zeros: Tile | None = None
        if ring.zeros is not None:
            self.zeros = vm.cast(self._row(ring.zeros, stage, block), self.dtype)

    def operands(self, tiles: range, span: Sequence[Piece]) -> list[list[Tile]]:
        """For each piece the operands of the slabs, [64, rows of k]."""
        return [self._piece(tiles, piece) for piece in span]

    def _piece(self, tiles: range, piece: Piece) -> list[Tile]:
        config = self.config
        words = config.words(piece.rows)
        start = piece.low // (16 * config.cut.parts) * config.cut.unit_words * 128
        loaded = vm.load(
            self.words, [self.stage, self.block, start], words.shape, words, dims=(1, 2),
            in_bounds=True,
        )  # fmt: skip
        shape = (1, WARPS * config.cut.block_features, piece.rows)
        codes = vm.view(loaded, dtype(config.weight), shape, config.codes(piece.rows), vm.PAIRED)
        values = vm.cast(codes, self.dtype)
        values = vm.reshape(values, (WARPS, config.cut.tiles, 16, piece.rows))
        return [self._operand(values, tile) for tile in tiles]

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

    def _operand(self, values: Tile, tile: int) -> Tile:
        """Scaled weights of a slab."""
        config, rows = self.config, values.shape[3]
        values = vm.reshape(values[:, tile : tile + 1, :, :], (16 * WARPS, rows))
        scales = self._of_tile(self.scales, tile)
        if config.zero_point == "symmetric":
            # Zero times scale is exact: one rounding, of the sum.
            zero = 2.0 ** (dtype(config.weight).bits - 1)
            return vm.fma(values, scales, scales * -zero)
        if self.zeros is not None:
            values = values - self._of_tile(self.zeros, tile)
        return vm.cast(values * scales, dtype(config.activation))
