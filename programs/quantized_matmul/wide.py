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

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tileloom import vm
from tileloom.layouts import RegisterLayout, fragments
from tileloom.vm.dsl.pipeline import Consumer, Producer
from tileloom.vm.dsl.values import MemoryTile, Pointer, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import dtype, f16, f32, i32, u32

from .geometry import MOST_CHUNKS
from .wide_config import FETCHING, MULTIPLYING, WARPS, Piece, WideConfig


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
        if config.cluster > 1:
            each = vm.cdiv(self.chunks, config.cluster)
            first = vm.block_index(2) * each
            turns = vm.larger(vm.smaller(self.chunks - first, each), 0)
            place = (vm.block_index(0) * config.tokens, vm.block_index(1) * config.blocks)
            yield Segment(self, vm.constant(0), *place, first, turns)
            return
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
    scale_down: f32,
    scale_unit: f32,
    config: WideConfig,
    activation: str,
    bias_dtype: str,
    out: str,
) -> None:
    cut = config.cut
    for extent in (m, n, chunks, parts):
        vm.assume(extent >= 1)
    vm.assume(chunks <= MOST_CHUNKS)
    vm.assume(k % 8 == 0)
    blocks = vm.cdiv(n, cut.block_features)
    grid: list[ScalarLike] = [parts]
    if config.cluster > 1:
        grid = [vm.cdiv(m, config.tokens), vm.cdiv(blocks, config.blocks), config.cluster]
    vm.launch(grid=grid, warps=WARPS * (config.groups + 1), cluster=(1, 1, config.cluster))
    vm.launch_dependents()
    work = Work.of(config, m, blocks, chunks, parts)
    ring = Ring.alloc(config)
    leaving = Leaving.alloc(config)
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
    with vm.warp_group(WARPS * config.groups, WARPS):
        vm.set_registers(FETCHING, "less")
        for warp in range(WARPS):
            with vm.warp_group(warp, 1), vm.single_thread():
                fetch(work, ring, views, warp)
    for group in range(config.groups):
        with vm.warp_group(WARPS * group, WARPS):
            vm.set_registers(MULTIPLYING[config.groups], "more")
            use = ring.turns.consumer()
            exchange = Exchange(work, group, partials, flags)
            with work.segments() as segment:
                totals = multiply(segment, ring, use, group, scale_down)
                finish(segment, leaving, group, totals, exchange, output)
    if config.cluster > 1:
        with work.segments() as segment:
            meet_in_cluster(segment, leaving.sums, output)


@dataclass
class Views:
    """The operands in global memory."""

    x: MemoryTile
    words: MemoryTile  # [blocks, chunks, words]
    scales: MemoryTile  # [blocks, rows, 16 T]
    zeros: MemoryTile
    blocks: Scalar


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
    config, cut = part.config, part.config.cut
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
    with vm.when(part.turns > 0):
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


@dataclass
class Leaving:
    """Shared memory through which results leave."""

    sums: MemoryTile | None  # [blocks, tokens, features], where the blocks of a cluster meet
    slots: MemoryTile | None  # [warps, tokens at a time, features of a warp]

    @staticmethod
    def alloc(config: WideConfig) -> Leaving:
        if config.cluster > 1:
            return Leaving(vm.alloc_shared(f32, config.sums().shape, config.sums()), None)
        layout = config.slots()
        return Leaving(None, vm.alloc_shared(dtype(config.left), layout.shape, layout))


@dataclass
class Output:
    """Where results go: y[token, feature] = sum * unit + bias[feature], rounded once."""

    config: WideConfig
    bias: Pointer
    y: Pointer
    m: Scalar
    n: Scalar
    scale_unit: Scalar

    def write(self, token: Scalar, block: Scalar, feature: int, sums: Tile) -> None:
        """Writes [blocks, tokens, features], from a feature of the first block on."""
        blocks, tokens, features = sums.shape
        size = self.config.cut.block_features
        if self.config.whole_blocks:
            shape = [vm.cdiv(self.n, size), size]
            if self.config.bias:
                view = vm.global_view(self.bias, [shape[0], 1, size], alignment=4)
                sums = sums + vm.cast(
                    vm.load(view, [block, 0, feature], (blocks, 1, features)), f32
                )
            view = vm.global_view(self.y, [self.m, *shape], alignment=16)
            sums = vm.cast(sums, dtype(self.config.out))
            vm.store(view, [token, block, feature], vm.transpose(sums, (1, 0, 2)))
            return
        view = vm.global_view(self.y, [self.m, self.n], alignment=2)
        for index in range(blocks):
            start = (block + index) * size + feature
            one = vm.reshape(sums[index : index + 1, :, :], (tokens, features))
            if self.config.bias:
                bias = vm.global_view(self.bias, [1, self.n], alignment=4)
                one = one + vm.cast(vm.load(bias, [0, start], (1, features)), f32)
            vm.store(view, [token, start], vm.cast(one, dtype(self.config.out)))


@dataclass
class Exchange:
    """Where blocks that share a tile leave sums: the last of its blocks to begin collects them."""

    work: Work
    group: int
    partials: Pointer  # [part, slab, row, token]
    flags: Pointer  # [part, warp group]: whether they are there

    def _views(self) -> tuple[MemoryTile, MemoryTile]:
        config, parts = self.work.config, self.work.parts
        shape = [parts, config.groups * config.slabs, *self._held.shape]
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
            place = [self.work.number, slab, *(0 for _ in held.shape)]
            vm.store(partials, place, held, dims=_HELD_DIMS)
        vm.release(flags, [self.work.number, self.group], 1)

    def take(self, segment: Segment, totals: list[Tile]) -> None:
        """Adds what the blocks leave that have the rest of the tile, in the order of k."""
        partials, flags = self._views()
        layout = self._held
        last = ((segment.tile + 1) * self.work.chunks - 1) // self.work.each + 1
        numbers = (self.work.number + 1, vm.var(last, i32))
        for number in vm.range(*numbers):
            vm.lock(flags, [number, self.group], 1)
            for slab, total in enumerate(totals, self.group * self.work.config.slabs):
                place = [number, slab, *(0 for _ in layout.shape)]
                held = vm.load(partials, place, layout.shape, layout, dims=_HELD_DIMS)
                held = vm.transpose(held, tuple(_AS_HELD.index(d) for d in range(6)))
                total.set(total + vm.reshape(held, total.shape))
        for number in vm.range(*numbers):
            vm.release(flags, [number, self.group], 0)


# From (warp, row half, row, tokens, lane, token) of an accumulator, to have 16 bytes in a row.
_AS_HELD = (3, 0, 2, 4, 1, 5)
_HELD_DIMS = (2, 3, 4, 5, 6, 7)


def finish(
    part: Segment,
    leaving: Leaving,
    group: int,
    totals: list[Tile],
    exchange: Exchange,
    output: Output,
) -> None:
    """Writes a tile's results, or leaves sums to those who do."""
    vm.wait_dependencies()
    if not part.config.split:
        leave(part, leaving, group, totals, output)
        return
    with vm.when(part.begin > 0):
        exchange.give(totals)
    with vm.otherwise():
        exchange.take(part, totals)
        leave(part, leaving, group, totals, output)


def leave(part: Segment, leaving: Leaving, group: int, totals: list[Tile], output: Output) -> None:
    """A warp group writes its slabs to y, some tokens at a time; or leaves them to the cluster."""
    config = part.config
    column, tiles = config.place(group)
    if leaving.sums is not None:
        for tile, total in zip(tiles, totals, strict=True):
            slab = vm.reshape(total, (WARPS, 16, config.tokens))
            vm.store(leaving.sums, [WARPS * column, 0, 16 * tile], slab, dims=(0, 2, 1))
        return
    assert leaving.slots is not None
    totals = [vm.cast(total * output.scale_unit, dtype(config.left)) for total in totals]
    put = vm.store_matrix if dtype(config.left).bits == 16 else vm.store
    meet = vm.warp_barrier if config.whole_blocks else vm.barrier
    for low in range(0, config.tokens, config.leaving_tokens):
        high = min(config.tokens, low + config.leaving_tokens)
        # What lay there before was read by then.
        meet()
        for number, total in enumerate(totals):
            slab = vm.reshape(total[:, low:high], (WARPS, 16, high - low))
            # Said, not left to be found: warps meet by themselves only who know what they hold.
            held = fragments.wgmma_d(high - low).reshape((WARPS, 16, high - low))
            slab = vm.convert_layout(slab, held)
            put(leaving.slots, [WARPS * group, 0, 16 * number], slab, dims=(0, 2, 1))
        meet()
        layout = config.results(high - low)
        rows = vm.load(leaving.slots, [WARPS * group, 0, 0], layout.shape, layout)
        block = part.block + WARPS * column
        output.write(part.token + low, block, 16 * tiles[0], rows)


def meet_in_cluster(part: Segment, sums: MemoryTile | None, output: Output) -> None:
    """The blocks of a cluster sum the parts of k, each a slice of the features, in rank order."""
    assert sums is not None
    config = part.config
    mine = config.blocks // config.cluster
    vm.cluster_barrier()
    with vm.warp_group(0, WARPS * config.groups):
        vm.wait_dependencies()
        for index in range(mine):
            block = vm.cluster_rank() * mine + index
            for low in range(0, config.tokens, config.meeting_tokens):
                layout = config.meeting(min(config.tokens - low, config.meeting_tokens))
                shape, place = layout.shape, [block, low, 0]
                whole = vm.load_remote(sums, place, 0, shape, layout)
                for rank in range(1, config.cluster):
                    whole = whole + vm.load_remote(sums, place, rank, shape, layout)
                whole = whole * output.scale_unit
                output.write(part.token + low, part.block + block, 0, whole)
    # Nobody leaves while others read its memory.
    vm.cluster_barrier()
