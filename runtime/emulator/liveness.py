"""Which registers some path may still read: where warps part and meet, others are forgotten.

A register is live where a path reads it before it writes it. A guarded write keeps what other lanes
had, so it reads as well. Operands of `wgmma` are live everywhere: they are watched until the wait.
"""

from __future__ import annotations

from functools import cached_property

from .step import Block
from .wgmma import ProductStep


class Liveness:
    """Of one kernel, found when first asked for: `entering` and `leaving` give register slots."""

    def __init__(self, blocks: list[Block], num_registers: int) -> None:
        self._blocks = blocks
        self._registers = (1 << num_registers) - 1  # the slots behind them hold literals
        self._slots: dict[int, list[int]] = {}

    def entering(self, block: int) -> list[int]:
        """Slots that are live at the start of a block."""
        return self._listed(self._live[block])

    def leaving(self, block: int) -> list[int]:
        """Slots that are live behind a block's control."""
        return self._listed(self._behind(block))

    def _listed(self, live: int) -> list[int]:
        live &= self._registers
        found = self._slots.get(live)
        if found is None:
            found = [slot for slot in range(live.bit_length()) if live >> slot & 1]
            self._slots[live] = found
        return found

    def _behind(self, block: int) -> int:
        found = self._always
        for following in self._blocks[block].successors(block):
            if following < len(self._blocks):
                found |= self._live[following]
        return found

    @cached_property
    def _always(self) -> int:
        found = 0
        for block in self._blocks:
            for step in block.steps:
                if isinstance(step, ProductStep):
                    found |= slot_bits({*step.reads, *step.data, *step.writes, *step.registers})
        return found

    @cached_property
    def _live(self) -> list[int]:
        uses = [_read_and_written(block) for block in self._blocks]
        live: list[int] = [read | self._always for read, _ in uses]
        self.__dict__["_live"] = live  # what is known so far, for `_behind`
        changed = True
        while changed:
            changed = False
            for number in range(len(live) - 1, -1, -1):
                read, written = uses[number]
                found = read | self._behind(number) & ~written | self._always
                if found != live[number]:
                    live[number] = found
                    changed = True
        return live


def _read_and_written(block: Block) -> tuple[int, int]:
    """Slots that a block reads before it writes them, and those that it writes, as sets of bits."""
    control = block.control
    read: set[int] = set() if control is None else set(control.reads)
    written: set[int] = set()
    if control is not None and control.guard is not None:
        read.add(control.guard)
    for step in reversed(block.steps):
        if step.guard is None:
            read.difference_update(step.writes)
            written.update(step.writes)
        else:
            read.update(step.writes)
            read.add(step.guard)
        read.update(step.reads, step.data)
    return slot_bits(read), slot_bits(written)


def slot_bits(slots: set[int]) -> int:
    """Slots as a set of bits; negative ones are nobody's."""
    found = 0
    for slot in slots:
        if slot >= 0:
            found |= 1 << slot
    return found
