"""Three ways to have x and scales at hand when a chunk's codes need them.

Straight from memory, when they are used; a turn ahead, in registers; or several turns ahead, by
asynchronous copies into shared memory, where the codes may wait too. There each warp has slots of
its own, which it fills and reads without regard to the others; only warps that share rows of x
meet.
"""

from __future__ import annotations

from typing import Protocol

from tileloom import vm
from tileloom.vm.dsl.values import MemoryTile, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import dtype, f16, u32

from .turn import Block, Operands


class Source(Protocol):
    """What gives the operands of one turn after the other."""

    def begin(self) -> None:
        """From here on x may be read."""

    def take(self, chunk: Scalar, slot: int = 0) -> Operands:
        """The operands of the turn at `chunk`, whose number is `slot` modulo the slots."""

    def words(self, chunk: Scalar, slot: int = 0) -> Tile:
        """The codes of the turn at `chunk`, where they aren't kept in registers."""

    def advance(self) -> None:
        """The turn's products are done."""

    def end(self) -> None:
        """No turn comes any more."""


def source_of(block: Block, begin: Scalar) -> Source:
    """The source that the block's schedule asks for, from the turn at `begin` on."""
    if block.config.stages:
        return Staged(block, begin)
    return Ahead(block, begin) if block.config.ahead else Direct(block)


class Direct:
    """Operands from memory when they are used."""

    def __init__(self, block: Block) -> None:
        self.block = block

    def begin(self) -> None:
        """Nothing is kept."""

    def take(self, chunk: Scalar, slot: int = 0) -> Operands:
        return self.block.others(chunk)

    def words(self, chunk: Scalar, slot: int = 0) -> Tile:
        return self.block.words(chunk)

    def advance(self) -> None:
        """Nothing is kept."""

    def end(self) -> None:
        """Nothing is kept."""


class Ahead:
    """Operands in registers, read a turn before they are used."""

    def __init__(self, block: Block, begin: Scalar) -> None:
        self.block, self.first = block, begin
        self.current: Operands | None = None
        self.following: Operands | None = None

    def begin(self) -> None:
        self.current = self.block.others(self.first)

    def take(self, chunk: Scalar, slot: int = 0) -> Operands:
        assert self.current is not None
        self.following = self.block.others(chunk + self.block.config.turn)
        return self.current

    def words(self, chunk: Scalar, slot: int = 0) -> Tile:
        return self.block.words(chunk)

    def advance(self) -> None:
        assert self.current is not None and self.following is not None
        self.current.set(self.following)

    def end(self) -> None:
        """The last turn's successor reads nothing: its chunks are out of bounds."""


class Staged:
    """Operands in shared memory, copied `stages` - 1 turns before they are used."""

    def __init__(self, block: Block, begin: Scalar) -> None:
        self.block = block
        config, layouts = block.config, block.config.layouts
        self.codes: MemoryTile | None = None
        if config.stage_words:
            self.codes = vm.alloc_shared(u32, (config.stages, *layouts.words().shape))
        self.rows = vm.alloc_shared(
            dtype(config.activation),
            (config.stages, config.tokens, config.turn * config.cut.chunk),
            layouts.slots(config.stages),
        )
        self.scales, self.zeros = self._slots(), self._slots() if config.has_zeros else None
        self._turns = [begin + turn * config.turn for turn in range(config.stages - 1)]
        # Weights depend on nothing that came before.
        for slot, chunk in enumerate(self._turns):
            self._start_words(chunk, slot)

    def begin(self) -> None:
        for slot, chunk in enumerate(self._turns):
            self._start(chunk, slot)

    def _slots(self) -> MemoryTile | None:
        """[stages, F, W, 8, T, 2] of scales or zeros; None where one row serves every turn."""
        config = self.block.config
        if config.cut.one_scale:
            return None
        return vm.alloc_shared(f16, (config.stages, *config.layouts.scales(config.turn).shape))

    def take(self, chunk: Scalar, slot: int = 0) -> Operands:
        block, config = self.block, self.block.config
        vm.copy_async_wait(config.stages - 2)
        if config.feature_warps > 1:
            vm.barrier()
        else:
            vm.warp_barrier()
        # The slot that the last turn read is free now.
        coming, free = chunk + (config.stages - 1) * config.turn, (slot - 1) % config.stages
        self._start_words(coming, free)
        self._start(coming, free)
        layout = config.layouts.x()
        rows = vm.load(self.rows, [slot, 0, 0], layout.shape, layout, dims=(1, 2), in_bounds=True)
        scales = self._per_feature(self.scales, block.scales_view, chunk, slot)
        if not config.has_zeros:
            return Operands(rows, scales, None)
        return Operands(rows, scales, self._per_feature(self.zeros, block.zeros_view, chunk, slot))

    def words(self, chunk: Scalar, slot: int = 0) -> Tile:
        """The codes of the turn whose operands were taken."""
        if self.codes is None:
            return self.block.words(chunk)
        layout, dims = self.block.config.layouts.words(), tuple(range(1, 7))
        offsets: list[ScalarLike] = [slot, 0, 0, 0, 0, 0, 0]
        return vm.load(self.codes, offsets, layout.shape, layout, dims=dims, in_bounds=True)

    def advance(self) -> None:
        """The next `take` meets the warps before the slot is written again."""

    def end(self) -> None:
        vm.copy_async_wait(0)
        for tile in (self.codes, self.rows, self.scales, self.zeros):
            if tile is not None:
                vm.free_shared(tile)

    def _start_words(self, chunk: Scalar, slot: int) -> None:
        """Starts copying the codes of the turn at `chunk`, each to the thread that will decode
        it."""
        if self.codes is None:
            return
        block, layout = self.block, self.block.config.layouts.words()
        vm.copy_async(
            self.codes, [slot, 0, 0, 0, 0, 0, 0], block.words_view,
            [block.first, chunk, 0, 0, 0, 0], layout.shape, layout=layout, cache="stream",
        )  # fmt: skip

    def _start(self, chunk: Scalar, slot: int) -> None:
        """Starts copying what else the turn at `chunk` needs into its slot."""
        block, config = self.block, self.block.config
        view, start = block.x_place(chunk)
        layout = config.layouts.x_copy()
        vm.copy_async(
            self.rows, [slot, 0, 0], view, [block.token, start], layout.shape, layout=layout
        )
        for slots, source in ((self.scales, block.scales_view), (self.zeros, block.zeros_view)):
            if slots is not None:
                layout = config.layouts.scales(config.turn)
                vm.copy_async(
                    slots, [slot, 0, 0, 0, 0, 0], source, [block.first, chunk, 0, 0, 0],
                    layout.shape, layout=layout,
                )  # fmt: skip
        vm.copy_async_commit()

    def _per_feature(
        self, slots: MemoryTile | None, view: MemoryTile, chunk: Scalar, slot: int
    ) -> Tile:
        """[F, rows, 8, T, 2] scales or zeros."""
        if slots is None:
            return self.block.per_feature(view, chunk)
        layout, dims = self.block.config.layouts.scales(self.block.config.turn), range(1, 6)
        offsets: list[ScalarLike] = [slot, 0, 0, 0, 0, 0]
        return vm.load(slots, offsets, layout.shape, layout, dims=tuple(dims), in_bounds=True)
