"""The sums of 8-bit activations over k: what a warp group does in each turn.

Three ways. Integers of one scale run on through all of k. Else the sums of a chunk are scaled and
added to totals in f32, a part of the tokens while the next one is multiplied; the last part of a
turn while the first of the next turn is, so that the tensor cores needn't wait. A single part has
nothing to run beside: there the other warp group has to.

    turn t      bytes   | part 0 -> a ............ | part 1 -> b ............ |
                        | scale b (turn t - 1) |   | scale a |                    ...
"""

from __future__ import annotations

from dataclasses import dataclass

from tileloom import vm
from tileloom.layouts import fragments
from tileloom.vm.dsl.mbarrier import Mbarriers
from tileloom.vm.dsl.pipeline import Consumer
from tileloom.vm.dsl.values import MemoryTile, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import dtype, f16, f32, i32, u32

from .eight_bit_config import GROUPS, WARPS, ByteConfig
from .eight_bit_decode import Weights
from .eight_bit_packing import SLAB
from .eight_bit_work import Segment, Total


@dataclass
class Slots:
    """Shared memory of the turns in flight."""

    words: MemoryTile  # [stages, slab, word]
    x: MemoryTile  # [stages, k, token]
    scales: MemoryTile | None  # [stages, slab, 64]
    order: Mbarriers | None  # [warp group]: whether it may multiply

    @staticmethod
    def alloc(config: ByteConfig) -> Slots:
        each = (config.stages, config.block_slabs)
        shape = (config.stages, config.cut.chunk, config.tokens)
        x = vm.alloc_shared(dtype(config.activation), shape, config.x_slots())
        words = vm.alloc_shared(u32, (*each, config.cut.run))
        scales = None if config.cut.one_scale else vm.alloc_shared(f16, (*each, SLAB))
        order = vm.alloc_mbarrier([GROUPS], WARPS) if config.in_turn else None
        return Slots(words, x, scales, order)


@dataclass
class Group:
    """A warp group at work on its slabs of a segment."""

    config: ByteConfig
    use: Consumer
    slots: Slots
    number: int
    turns: Scalar
    totals: list[Total]

    def weights(self, stage: Scalar, total: Total) -> Weights:
        """Those of a total's slab in this turn."""
        return Weights(self.config, self.slots.words, [stage, self.slab(total), 0])

    def scales(self, stage: Scalar, total: Total) -> Tile | None:
        """[64, 1] in this turn; None where all turns share them."""
        if self.slots.scales is None:
            return None
        return scales_of(self.config, self.slots.scales, [stage, self.slab(total), 0])

    def slab(self, total: Total) -> int:
        """The slab of a total among the block's."""
        return self.config.slabs * self.number + total.number

    def release_last(self, turn: Scalar) -> None:
        """Gives back the turn before's slots."""
        with vm.when(turn > 0):
            self.use.release(behind=1, per="warp")

    def wait_turn(self) -> None:
        """Waits until the other warp group's products are all but done."""
        if self.slots.order is not None:
            number = self.use.number
            vm.mbarrier_wait(self.slots.order, self.number, number if self.number else number + 1)

    def pass_turn(self) -> None:
        """Lets the other warp group multiply."""
        if self.slots.order is not None:
            vm.mbarrier_arrive(self.slots.order, (self.number + 1) % GROUPS, per="warp")

    def product(self, stage: Scalar, total: Total, operand: Tile, sums: Tile) -> None:
        """Starts a chunk's product for a part of the tokens."""
        none = vm.constant(0) != 0
        place: list[ScalarLike] = [stage, 0, total.tokens.start]
        vm.wgmma(sums, operand, self.slots.x, b_offsets=place, accumulate=none)
        vm.wgmma_commit()


def multiply(part: Segment, use: Consumer, slots: Slots, number: int) -> list[Total]:
    """The sums of a warp group's slabs over the block's part of k: f32, or i32 of one scale."""
    config = part.config
    kind = f32 if config.promotes else i32
    totals = []
    for slab in range(config.slabs):
        for tokens in config.parts():
            layout = fragments.wgmma_d(len(tokens))
            totals.append(Total(slab, tokens, vm.full(kind, layout.shape, 0, layout)))
    group = Group(config, use, slots, number, part.turns, totals)
    if not config.promotes:
        _run_on(group)
    elif len(totals) > 1:
        _scale_beside(group)
    else:
        _scale_after(group)
    return totals


def _run_on(group: Group) -> None:
    """Integers of one scale: half of a turn's weights become bytes while the other half is
    multiplied."""
    config, use = group.config, group.use
    for turn in vm.range(0, group.turns):
        stage = use.acquire()
        weights = [group.weights(stage, total) for total in group.totals]
        for half in range(config.halves):
            for total, each in zip(group.totals, weights, strict=True):
                place: list[ScalarLike] = [stage, half * config.depth, 0]
                vm.wgmma(total.sums, each.operand(half), group.slots.x, b_offsets=place)
            vm.wgmma_commit()
            # Alone, a half's bytes are the registers that the next turn's will be.
            vm.wgmma_wait(1 if config.halves > 1 else 0)
            if half == 0:
                group.release_last(turn)
        use.advance()
    vm.wgmma_wait(0)
    group.release_last(group.turns)


def _scale_after(group: Group) -> None:
    """One part: scaled when its turn is over."""
    (total,) = group.totals
    layout = fragments.wgmma_d(len(total.tokens))
    sums = vm.empty(dtype(group.config.sum_dtype), layout.shape, layout)
    for _ in vm.range(0, group.turns):
        stage = group.use.acquire()
        operand, scales = group.weights(stage, total).operand(), group.scales(stage, total)
        group.wait_turn()
        group.product(stage, total, operand, sums)
        group.pass_turn()
        vm.wgmma_wait(0)
        group.use.release(per="warp")
        _Running(sums, scales, total).promote()
        group.use.advance()


def _scale_beside(group: Group) -> None:
    """An even number of parts, which take turns in two sets of registers."""
    config, use, totals = group.config, group.use, group.totals
    assert len(totals) % 2 == 0, "the first part's registers are not the last one's"
    room = _rooms(config, totals)
    held = None
    if not config.cut.one_scale:
        layout = config.row_scales()
        held = vm.full(f32, layout.shape, 0.0, layout)
    # Before the first turn its sums and scales are zeros.
    last = _Running(room[1, len(totals[-1].tokens)], held, totals[-1])
    for turn in vm.range(0, group.turns):
        stage, running = use.acquire(), last
        scales: Tile | None = None
        for number, total in enumerate(totals):
            if number == 0 or total.number != totals[number - 1].number:
                weights, scales = group.weights(stage, total), group.scales(stage, total)
                weights.read()
                if number == 0:
                    vm.wgmma_wait(0)
                    group.release_last(turn)
                operand = weights.operand()
                if number == 0:
                    group.wait_turn()
            sums = room[number % 2, len(total.tokens)]
            group.product(stage, total, operand, sums)
            if number:
                vm.wgmma_wait(1)
            if number == len(totals) - 1:
                group.pass_turn()
            running.promote()
            running = _Running(sums, scales, total)
        if held is not None and scales is not None:
            held.set(scales)
        use.advance()
    vm.wgmma_wait(0)
    group.release_last(group.turns)
    last.promote()


def _rooms(config: ByteConfig, totals: list[Total]) -> dict[tuple[int, int], Tile]:
    """Registers for the sums of even and of odd parts, by their tokens."""
    room: dict[tuple[int, int], Tile] = {}
    for number, total in enumerate(totals):
        key = (number % 2, len(total.tokens))
        if key not in room:
            layout = fragments.wgmma_d(key[1])
            room[key] = vm.full(dtype(config.sum_dtype), layout.shape, 0, layout)
    return room


@dataclass
class _Running:
    """The sums of a chunk that are being formed, and where they belong."""

    sums: Tile
    scales: Tile | None
    total: Total

    def promote(self) -> None:
        """Adds them, scaled, once they are there."""
        sums, total = vm.cast(self.sums, f32), self.total.sums
        total.set(total + sums if self.scales is None else vm.fma(sums, self.scales, total))


def scales_of(config: ByteConfig, source: MemoryTile, place: list[ScalarLike]) -> Tile:
    """[64, 1] scales of a slab in f32."""
    layout = config.scales()
    row = vm.load(source, place, layout.shape, layout, dims=(2,), in_bounds=True)
    split = vm.transpose(vm.reshape(vm.cast(row, f32), (WARPS, 8, 2)), (0, 2, 1))
    return vm.reshape(split, (SLAB, 1))
