"""The quantized matmul of 8-bit activations, on the tensor cores of warp groups.

y^T = W^T x^T: 64 features a slab on M, up to 256 tokens on N. Weights become bytes in registers
(eight_bit_forms.py), the left operand of `wgmma`; codes of x are the right one, as they lie.

Some warps fetch: words and scales as runs, rows of x as tiles, `stages` chunks of k ahead of use.
Two warp groups decode and multiply. The sums of a chunk are scaled by the weights' scales and added
up in f32, a part of the tokens while the next part is multiplied; integers of one scale are summed
as such throughout. Scales of tokens come last. Parts of k meet in distributed shared memory or in a
workspace (eight_bit_work.py), in the order of k.
"""

from __future__ import annotations

from dataclasses import dataclass

from tileloom import vm
from tileloom.vm.dsl.pipeline import Producer
from tileloom.vm.dsl.values import MemoryTile, Pointer, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import dtype, f16, f32, i32, u32

from .eight_bit_config import FETCHING, GROUPS, MULTIPLYING, WARPS, ByteConfig
from .eight_bit_packing import SLAB
from .eight_bit_sums import Slots, multiply, scales_of
from .eight_bit_work import Segment, Total, Work


@dataclass
class Views:
    """The operands in global memory."""

    x: MemoryTile  # [m, stride]
    words: MemoryTile  # [slabs, chunks, words]
    scales: MemoryTile  # [slabs, rows, 64]
    slabs: Scalar

    @staticmethod
    def of(config: ByteConfig, pointers: tuple[Pointer, ...], sizes: tuple[Scalar, ...]) -> Views:
        """Of x, words and scales, by m, stride, chunks and slabs."""
        (x, w, scales), (m, stride, chunks, slabs) = pointers, sizes
        rows = vm.constant(1) if config.cut.one_scale else chunks
        words = vm.global_view(w, [slabs, chunks, config.cut.run])
        return Views(
            vm.global_view(x, [m, stride]),
            words,
            vm.global_view(scales, [slabs, rows, SLAB]),
            slabs,
        )


@vm.kernel
def matmul_eight_bit(
    x: vm.Ptr["activation"],
    token_scales: vm.Ptr[f32],
    w: vm.Ptr[u32],
    scales: vm.Ptr[f16],
    bias: vm.Ptr["bias_dtype"],
    y: vm.Ptr["out"],
    partials: vm.Ptr[f32],
    flags: vm.Ptr[u32],
    m: i32,
    stride: i32,
    n: i32,
    chunks: i32,
    parts: i32,
    scale_unit: f32,
    config: ByteConfig,
    activation: str,
    bias_dtype: str,
    out: str,
) -> None:
    for extent in (m, n, chunks, parts):
        vm.assume(extent >= 1)
    vm.assume(stride % 16 == 0)
    vm.assume(n % config.vector == 0)
    slabs = vm.cdiv(n, SLAB)
    vm.launch(
        grid=[parts, 1, config.cluster],
        warps=WARPS * (GROUPS + 1),
        cluster=(1, 1, config.cluster),
    )
    vm.launch_dependents()
    work = Work.of(config, m, slabs, chunks, parts)
    slots = Slots.alloc(config)
    fetching = [warp for warp in range(WARPS) if config.share_bytes(warp)]
    ring = vm.Pipeline(config.stages, producers=len(fetching), consumers=WARPS * GROUPS)
    sums = vm.alloc_shared(f32, config.sums().shape, config.sums())
    views = Views.of(config, (x, w, scales), (m, stride, chunks, slabs))
    output = Output(config, token_scales, bias, y, m, n, scale_unit)
    for group in range(GROUPS):
        with vm.warp_group(WARPS * group, WARPS):
            vm.set_registers(MULTIPLYING, "more")
            use, shared = ring.consumer(), work.sums(group, partials, flags)
            vm.wait_dependencies()
            with work.segments() as segment:
                totals = multiply(segment, use, slots, group)
                totals = scaled(segment, views, group, totals)
                finish(segment, sums, group, totals, shared, output)
    # Last: what comes behind it has as few registers, if only to get to where there are more.
    with vm.warp_group(WARPS * GROUPS, WARPS):
        vm.set_registers(FETCHING, "less")
        for warp in fetching:
            with vm.warp_group(warp, 1), vm.single_thread():
                fetch(work, ring.producer(), slots, views, warp)
    if config.cluster > 1:
        with work.segments() as segment:
            meet(segment, sums, output)


def fetch(work: Work, fill: Producer, slots: Slots, views: Views, warp: int) -> None:
    """A thread of each warp copies a share of the turns' operands as their slots become free."""
    if work.config.share_has_x(warp):  # weights are there before the kernel before has ended
        vm.wait_dependencies()
    with work.segments() as segment:
        for turn in vm.range(0, segment.turns):
            chunk = vm.var(segment.begin + turn, i32)
            fetch_turn(segment, chunk, fill, slots, views, warp)


def fetch_turn(
    part: Segment, chunk: Scalar, fill: Producer, slots: Slots, views: Views, warp: int
) -> None:
    """A warp's share of a turn: x, or some slabs."""
    config, cut = part.config, part.config.cut
    with fill.turn(config.share_bytes(warp)) as stage:
        at = (fill.barriers, stage)
        for index in config.share_slabs(warp):
            # Beyond the last slab any will do: its results are dropped.
            slab = vm.smaller(part.slab + index, views.slabs - 1)
            vm.copy_bulk(
                slots.words, [stage, index, 0], views.words, [slab, chunk, 0], *at, cut.run,
                cache="stream",
            )  # fmt: skip
            if slots.scales is not None:
                start = [slab, chunk, 0]
                vm.copy_bulk(slots.scales, [stage, index, 0], views.scales, start, *at, SLAB)
        if config.share_has_x(warp):
            place, start = [stage, 0, 0], [part.token, chunk * cut.chunk]
            shape = (cut.chunk, config.tokens)
            vm.copy_tensor(slots.x, place, views.x, start, *at, shape, dims=(1, 0))


def scaled(part: Segment, views: Views, group: int, totals: list[Total]) -> list[Total]:
    """The totals in f32, with the scales of features."""
    config = part.config
    if not config.cut.one_scale:
        return totals
    found = []
    for total in totals:
        slab = vm.smaller(part.slab + (config.slabs * group + total.number), views.slabs - 1)
        sums = vm.cast(total.sums, f32) * scales_of(config, views.scales, [slab, 0, 0])
        found.append(Total(total.number, total.tokens, sums))
    return found


@dataclass
class Output:
    """Where results go: y[token, feature] = sum * unit * scale[token] + bias[feature], rounded
    once."""

    config: ByteConfig
    token_scales: Pointer
    bias: Pointer
    y: Pointer
    m: Scalar
    n: Scalar
    scale_unit: Scalar

    def write(self, token: ScalarLike, feature: ScalarLike, sums: Tile) -> None:
        """Writes [groups, tokens, features], the features of groups being neighbours."""
        config = self.config
        tokens, features = sums.shape[1], sums.shape[0] * sums.shape[2]
        total = vm.reshape(vm.transpose(sums, (1, 0, 2)), (tokens, features))
        scales = vm.global_view(self.token_scales, [self.m, 1], alignment=4)
        total = total * (vm.load(scales, [token, 0], (tokens, 1)) * self.scale_unit)
        if config.bias:
            bias = vm.global_view(self.bias, [1, self.n], alignment=4)
            total = total + vm.cast(vm.load(bias, [0, feature], (1, features)), f32)
        kind = dtype(config.out)
        view = vm.global_view(self.y, [self.m, self.n], alignment=config.vector * kind.bits // 8)
        vm.store(view, [token, feature], vm.cast(total, kind))


def finish(
    part: Segment,
    sums: MemoryTile,
    group: int,
    totals: list[Total],
    shared: vm.SharedSums,
    output: Output,
) -> None:
    """Writes a tile's results, or leaves sums to those who do."""
    if part.config.cluster > 1:
        give_to_cluster(sums, group, totals)
        return
    with shared.meet(part.part, [total.sums for total in totals]):
        leave(part, sums, group, totals, output)


def leave(part: Segment, sums: MemoryTile, group: int, totals: list[Total], output: Output) -> None:
    """A warp group writes its slabs to y, some tokens at a time."""
    config = part.config
    # A variable, so that the places of all tokens aren't worked out before the loop over k.
    token = vm.var(part.token, i32)
    for total in totals:
        for low in total.tokens[:: config.leaving]:
            at = low - total.tokens.start
            turned = vm.transpose(total.sums[:, at : at + config.leaving])
            # What lay there before was read by then.
            vm.barrier()
            vm.store(sums, [group, 0, 0], vm.reshape(turned, (1, config.leaving, SLAB)))
            vm.barrier()
            layout = config.results()
            whole = vm.load(sums, [group, 0, 0], layout.shape, layout)
            slab = part.slab + (config.slabs * group + total.number)
            token.set(part.token + low)
            output.write(token, slab * SLAB, whole)


def give_to_cluster(sums: MemoryTile, group: int, totals: list[Total]) -> None:
    """A warp group leaves its slabs to the blocks of the cluster."""
    for total in totals:
        turned = vm.transpose(total.sums)
        box = vm.reshape(turned, (1, *turned.shape))
        vm.store(sums, [group, total.tokens.start, SLAB * total.number], box)


def meet(part: Segment, sums: MemoryTile, output: Output) -> None:
    """The blocks of a cluster sum the parts of k, each for a slice of the tokens, in rank order."""
    config = part.config
    vm.cluster_barrier()
    with vm.warp_group(0, WARPS * GROUPS):
        # They have these; said again, as what comes behind fetching has few.
        vm.set_registers(MULTIPLYING, "more")
        vm.wait_dependencies()
        layout = config.results()
        first = vm.cluster_rank() * layout.shape[1]
        whole = vm.load_remote(sums, [0, first, 0], 0, layout.shape, layout)
        for rank in range(1, config.cluster):
            whole = whole + vm.load_remote(sums, [0, first, 0], rank, layout.shape, layout)
        output.write(part.token + first, part.slab * SLAB, whole)
    # Nobody leaves while others read its memory.
    vm.cluster_barrier()
