"""How results leave the quantized matmul of many tokens (wide.py): added up and written to y."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tileloom import vm
from tileloom.layouts import fragments
from tileloom.vm.dsl.values import MemoryTile, Pointer, Scalar, Tile
from tileloom.vm.dtypes import dtype, f32

from .wide_config import MULTIPLYING, WARPS, WideConfig
from .wide_work import Segment, Work


def leaving_slots(config: WideConfig) -> MemoryTile:
    """Shared memory through which results leave, or the sums of a cluster meet."""
    if config.cluster > 1:
        return vm.alloc_shared(f32, config.meeting().shape, config.meeting())
    return vm.alloc_shared(dtype(config.left), config.slots().shape, config.slots())


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
        if self.config.whole_blocks:
            self._write_blocks(token, block, feature, sums)
        else:
            self._write_each(token, block, feature, sums)

    def write_share(self, part: Segment, first: Scalar, sums: Tile) -> None:
        """Writes [tokens, feature blocks, tiles, 16] of a block's tile, from a token of it on."""
        config = self.config
        sums = sums * self.scale_unit
        tokens, blocks, size = sums.shape[0], sums.shape[1], config.cut.block_features
        inside = self
        if config.tokens % tokens:
            inside = replace(self, m=vm.smaller(self.m, part.token + config.tokens))
        if config.whole_blocks:
            by_block = vm.reshape(sums, (tokens, blocks, size))
            by_block = vm.transpose(by_block, (1, 0, 2))
            inside._write_blocks(part.token + first, part.block, 0, by_block)
        else:
            rows = vm.reshape(sums, (tokens, blocks * size))
            inside._write_rows(part.token + first, part.block * size, rows)

    def _write_rows(self, token: Scalar, start: Scalar, rows: Tile) -> None:
        """Writes [tokens, features]."""
        view = vm.global_view(self.y, [self.m, self.n], alignment=2)
        if self.config.bias:
            bias = vm.global_view(self.bias, [1, self.n], alignment=4)
            rows = rows + vm.cast(vm.load(bias, [0, start], (1, rows.shape[1])), f32)
        vm.store(view, [token, start], vm.cast(rows, dtype(self.config.out)))

    def _write_blocks(self, token: Scalar, block: Scalar, feature: int, sums: Tile) -> None:
        """Where there are whole feature blocks, they are a dimension of their own."""
        size = self.config.cut.block_features
        count = vm.cdiv(self.n, size)
        if self.config.bias:
            shape = (sums.shape[0], 1, sums.shape[2])
            bias = vm.global_view(self.bias, [count, 1, size], alignment=4)
            sums = sums + vm.cast(vm.load(bias, [block, 0, feature], shape), f32)
        view = vm.global_view(self.y, [self.m, count, size], alignment=16)
        sums = vm.cast(sums, dtype(self.config.out))
        vm.store(view, [token, block, feature], vm.transpose(sums, (1, 0, 2)))

    def _write_each(self, token: Scalar, block: Scalar, feature: int, sums: Tile) -> None:
        blocks, tokens, features = sums.shape
        for index in range(blocks):
            start = (block + index) * self.config.cut.block_features + feature
            one = vm.reshape(sums[index : index + 1, :, :], (tokens, features))
            self._write_rows(token, start, one)


def finish(
    part: Segment,
    leaving: MemoryTile,
    group: int,
    totals: list[Tile],
    sums: vm.SharedSums | None,
    output: Output,
) -> None:
    """Writes a tile's results, or leaves sums to those who do."""
    if sums is None:
        give_to_cluster(part.config, leaving, group, totals)
        return
    vm.wait_dependencies()
    with sums.meet(part.part, totals):
        leave(part, leaving, group, totals, output)


def leave(
    part: Segment, leaving: MemoryTile, group: int, totals: list[Tile], output: Output
) -> None:
    """A warp group writes its slabs to y, some tokens at a time."""
    config = part.config
    column, tiles = config.place(group)
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
            put(leaving, [WARPS * group, 0, 16 * number], slab, dims=(0, 2, 1))
        meet()
        layout = config.results(high - low)
        rows = vm.load(leaving, [WARPS * group, 0, 0], layout.shape, layout)
        block = part.block + WARPS * column
        output.write(part.token + low, block, 16 * tiles[0], rows)


def give_to_cluster(config: WideConfig, sums: MemoryTile, group: int, totals: list[Tile]) -> None:
    """A warp group leaves its slabs to the blocks of the cluster."""
    column, tiles = config.place(group)
    for tile, total in zip(tiles, totals, strict=True):
        turned = vm.transpose(vm.reshape(total, (WARPS, 16, config.tokens)), (2, 0, 1))
        vm.store(sums, [0, WARPS * column, tile, 0], turned, dims=(0, 1, 3))


def meet(work: Work, slots: MemoryTile, output: Output) -> None:
    """The blocks of a cluster sum the parts of k, each for a share of the tokens, in rank order."""
    config = work.config
    vm.cluster_barrier()
    with vm.warp_group(0, WARPS * config.groups):
        # They have these; said again, as what comes behind fetching has few.
        vm.set_registers(MULTIPLYING, "more")
        vm.wait_dependencies()
        layout = config.shares()
        first, start = vm.cluster_rank() * layout.shape[0], [0, 0, 0]
        whole = vm.load_remote(slots, [first, *start], 0, layout.shape, layout)
        for rank in range(1, config.cluster):
            whole = whole + vm.load_remote(slots, [first, *start], rank, layout.shape, layout)
        output.write_share(work.place(work.tile()), first, whole)
    # Nobody leaves while others read its memory.
    vm.cluster_barrier()
