"""Blocks that stay: each takes an equal share of all turns, whatever features they belong to.

The turns of a group of features (those of a thread block) stand in a line, group after group, and
each of the grid's blocks walks its part of the line: as many blocks as run at once, so that all end
together. Copies run ahead across the groups' borders. A group that lies in one part is written as it
is; of others the blocks leave their sums in memory, and the last to arrive adds them up, in the
order of the line: results repeat bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tileloom import vm
from tileloom.vm.dsl.values import MemoryTile, Scalar, Tile
from tileloom.vm.dtypes import f32, i32

from .config import Config
from .staging import Staged
from .turn import Block

# A first feature and [features, tokens] from there on.
Emit = Callable[[int, Tile], None]
Write = Callable[[Block, int, Tile], None]


class Line:
    """The rounds of all groups, and how the grid's blocks share them. A round is a turn of every
    slot, so that the numbers of slots are known where the loop over rounds is compiled."""

    def __init__(self, rounds: Scalar, groups: Scalar, blocks: Scalar) -> None:
        self.rounds, self.groups, self.blocks = rounds, groups, blocks
        whole = rounds * groups
        # The rounds of a block; the first `rest` blocks have one more.
        self.each, self.rest = vm.var(whole // blocks, i32), vm.var(whole % blocks, i32)

    def begin(self, block: Scalar) -> Scalar:
        """Where a block's part begins."""
        return block * self.each + vm.smaller(block, self.rest)

    def owner(self, place: Scalar) -> Scalar:
        """The block in whose part a place lies."""
        longer = self.rest * (self.each + 1)
        late = self.rest + (place - longer) // vm.larger(self.each, 1)
        return vm.select(place < longer, place // (self.each + 1), late)


class Cursor:
    """A turn in the line: a group and a turn of it."""

    def __init__(self, block: Block, line: Line, place: Scalar) -> None:
        self._turns, self._block = line.rounds * block.config.stages, block
        self.group = vm.var(place // line.rounds, i32)
        self.turn = vm.var(place % line.rounds * block.config.stages, i32)

    @property
    def block(self) -> Block:
        """The block at the cursor's group of features."""
        return replace(self._block, first=self.group * self._block.config.feature_warps)

    @property
    def chunk(self) -> Scalar:
        """The first chunk of the turn."""
        return self.turn * self._block.config.k_warps

    def advance(self) -> None:
        """On to the next turn."""
        wraps = self.turn + 1 == self._turns
        self.group.set(vm.select(wraps, self.group + 1, self.group))
        self.turn.set(vm.select(wraps, 0, self.turn + 1))


@dataclass
class Meeting:
    """Where the blocks of a group leave their sums: [blocks, 2, token blocks, features, tokens] for
    the first and the last group of a block's part, and how many have come."""

    partials: MemoryTile
    counters: MemoryTile  # [token blocks, groups]
    line: Line
    reduce: Callable[[Config, Sequence[Tile], Emit], None]
    write: Write

    def leave(self, block: Block, group: Scalar, totals: Sequence[Tile]) -> None:
        """Leaves the sums of a part of a group; the last to come writes their sum."""
        mine, token = vm.block_index(2), vm.block_index(0)
        shapes: dict[int, int] = {}

        def keep(at: int, total: Tile) -> None:
            shapes[at] = total.shape[0]
            slot = self._slot(mine, group)
            vm.store(self.partials, [mine, slot, token, at, 0], total, dims=(3, 4))

        self.reduce(block.config, totals, keep)
        first = self.line.owner(group * self.line.rounds)
        last = self.line.owner((group + 1) * self.line.rounds - 1)
        arrived = vm.atomic_scalar(self.counters, (token, group), 1)
        with vm.when(arrived == last - first):
            vm.atomic_scalar(self.counters, (token, group), 0, "exchange")
            for at, rows in shapes.items():
                shape = (rows, block.config.tokens)
                whole = vm.full(f32, shape, 0.0)
                for other in vm.range(first, last + 1):
                    place = [other, self._slot(other, group), token, at, 0]
                    whole.set(whole + vm.load(self.partials, place, shape, dims=(3, 4)))
                self.write(block, at, whole)

    def _slot(self, block: Scalar, group: Scalar) -> Scalar:
        """0 for the first group of a block's part, 1 for the last of several."""
        return vm.select(self.line.begin(block) >= group * self.line.rounds, 0, 1)


def walk_line(block: Block, meeting: Meeting, totals: Sequence[Tile]) -> None:
    """The main loop over the block's part of the line."""
    config, line = block.config, meeting.line
    mine = vm.block_index(2)
    begin, end = vm.var(line.begin(mine), i32), vm.var(line.begin(mine + 1), i32)
    source, ahead = Staged(block), Cursor(block, line, begin)
    vm.wait_dependencies()
    for slot in range(config.stages - 1):
        _start(source, ahead, begin < end, slot)
    place = vm.var(begin, i32)
    with vm.loop(lambda: place < end):
        # The rounds of one group; its results are left behind the loop, which so stays short.
        group = vm.var(place // line.rounds, i32)
        stop = vm.var(vm.smaller(end, (group + 1) * line.rounds), i32)
        here = replace(block, first=group * config.feature_warps)
        for this in vm.range(place, stop):
            for slot in range(config.stages):
                source.wait()
                exists = (this + 1 < end) if slot else (this < end)
                _start(source, ahead, exists, (slot - 1) % config.stages)
                operands = source.operands(here, vm.constant(0), slot)
                here.add(source.words(vm.constant(0), slot), operands, totals)
        whole = stop - place == line.rounds
        _finish(here, meeting, group, whole, totals)
        place.set(stop)
    source.end()


def _start(source: Staged, ahead: Cursor, exists: Scalar, slot: Scalar | int) -> None:
    """Starts the copies of the turn ahead; beyond the block's part, copies of nothing."""
    chunk = vm.select(exists, ahead.chunk, ahead.block.end)
    source.start_words(ahead.block, chunk, slot)
    source.start(ahead.block, chunk, slot)
    ahead.advance()
    vm.copy_async_commit()


def _finish(
    block: Block, meeting: Meeting, group: Scalar, whole: Scalar, totals: Sequence[Tile]
) -> None:
    """The totals of a group, of all its rounds or not, go where they belong, and begin anew."""
    config = block.config
    if config.units_last:
        for tile, total in enumerate(totals):
            total.set(total * config.unit(tile))
    with vm.when(whole):
        meeting.reduce(config, totals, lambda at, total: meeting.write(block, at, total))
    with vm.otherwise():
        meeting.leave(block, group, totals)
    layout = config.layouts.accumulator()
    for total in totals:
        total.set(vm.full(f32, layout.shape, 0.0, layout))
    # What the warps met in may be written again now.
    vm.barrier()
