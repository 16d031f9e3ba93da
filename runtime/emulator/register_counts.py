"""`setmaxnreg`: registers that groups of four warps give back and take.

A block has what its threads start with: `.maxnreg`, or else what the assembler is known to choose,
as many as fit the multiprocessor, but no more than some `inc` asks for. How long an `inc` waits is
not followed, only that what is taken in the end was there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .cohort import Cohort, FaultError
from .linker import expect
from .opcode import Custom, Form, Mods, OpcodeError, opcode
from .step import Step
from .syntax import Int
from .types import Array

if TYPE_CHECKING:
    from .linker import Linker
    from .machine import Machine
    from .syntax import FunctionBody, Instruction

_REGISTERS = 1 << 16  # of a multiprocessor
_WARPS = 4


class RegisterCounts:
    """What the warps of the resident blocks have, by row; nothing is followed where the assembler
    leaves `setmaxnreg` out, because it can't know the start."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.start = _start(machine)
        self.counts: Array = np.zeros(0, np.int64)
        self.line = 0  # of the last change

    def grow(self) -> None:
        """Makes room for blocks that became resident."""
        more = len(self.machine.alive) - len(self.counts)
        self.counts = np.concatenate((self.counts, np.full(more, self.start, np.int64)))

    def change(self, c: Cohort, line: int, increases: bool, count: int) -> None:
        """Gives warps other numbers of registers."""
        if not self.start:
            return
        if (c.mask != self.machine.alive[c.rows]).any():
            raise FaultError("setmaxnreg needs all threads of its warps")
        has = self.counts[c.rows]
        wrong = has > count if increases else has < count
        if wrong.any():
            name = self.machine.warp_name(int(c.rows[wrong.argmax()]))
            raise FaultError(f"{name} has {int(has[wrong.argmax()])} registers a thread already")
        self.counts[c.rows] = count
        self.line = line

    def check_end(self) -> None:
        """Raises EmulatorError if a block's warps have taken more than it has, or warps of a group
        of four have different numbers."""
        if not self.start or not self.line:
            return
        per_block = self.machine.warps_per_block
        blocks = self.counts.reshape(-1, per_block)
        error = self.machine.program.source.error
        for first in range(0, per_block, _WARPS):
            group = blocks[:, first : first + _WARPS]
            if (group != group[:, :1]).any():
                raise error(self.line, "warps of a group of four don't change together")
        taken = int(blocks.sum(1).max())
        if taken > self.start * per_block:
            raise error(
                self.line,
                f"the warps of a block take {taken} registers for each of their lanes, and it has "
                f"{self.start * per_block}: somebody would wait forever",
            )


def _start(machine: Machine) -> int:
    body = machine.program.body
    told, blocks = body.limits.get("maxnreg"), body.limits.get("minnctapersm")
    if told is not None:
        return told
    if blocks is None:
        return 0
    most = max(_taken(body), default=256)
    return min(_REGISTERS // (machine.num_threads * blocks) // 8 * 8, most)


def _taken(body: FunctionBody) -> list[int]:
    return [
        int(i.operands[0].value)
        for i in body.instructions
        if i.opcode.startswith("setmaxnreg.inc.") and isinstance(i.operands[0], Int)
    ]


@opcode("setmaxnreg")
def setmaxnreg(mods: Mods) -> Form:
    change = mods.choice("inc", "dec")
    mods.flags("sync", "aligned")
    mods.type("u32")
    return Custom(lambda i, linker: _build(i, linker, change == "inc"))


def _build(instruction: Instruction, linker: Linker, increases: bool) -> Step:
    del linker
    expect(instruction, 1)
    (count,) = instruction.operands
    if not isinstance(count, Int) or count.value % 8 or not 24 <= count.value <= 256:
        raise OpcodeError("setmaxnreg takes a multiple of 8 from 24 to 256")
    number, line = int(count.value), instruction.line

    def run(c: Cohort) -> None:
        c.machine.register_counts.change(c, line, increases, number)

    return Step(run, (), (), strict=True)
