"""What the machine executes: steps (straight-line) and controls (they end a basic block)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from .types import Array

if TYPE_CHECKING:
    from .cohort import Cohort
    from .machine import Machine

Run: TypeAlias = "Callable[[Cohort], None]"


@dataclass(frozen=True, slots=True)
class Flow:
    """How undefined bits pass through a pure instruction: those of the first `count` sources bit
    by bit (`mixes`: a bit of the result may depend on several sources), those of the others, which
    say where bits go, make the whole result undefined. `halves`: each half by itself."""

    count: int
    mixes: bool = False
    halves: bool = False


@dataclass(slots=True)
class Spread:
    """What `Flow` needs of one instruction: its function, the slots of its sources, and the bits
    of its results, if these are packed pairs."""

    flow: Flow
    fn: Callable[..., Any]
    ins: tuple[int, ...]
    widths: tuple[int, ...] = ()


@dataclass(slots=True)
class Step:
    """One instruction, linked: `run` updates the cohort; `reads` and `writes` are register slots.

    `strict`: an undefined source is an error (addresses, stored values, branches); otherwise it
    makes the results undefined. `own`: the step applies its guard and keeps `undefined` itself,
    because lanes mix or memory may hold undefined bits; `data` are then the registers it follows.
    `spread` says how undefined bits pass through, where a rule is known. `unsure` are registers
    that it uses and that may never have been written.
    """

    run: Run
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    line: int = 0
    guard: int | None = None
    negated: bool = False
    strict: bool = False
    own: bool = False
    data: tuple[int, ...] = ()
    spread: Spread | None = None
    unsure: tuple[int, ...] = ()


@dataclass(slots=True)
class Control:
    """The end of a block.

    `run(machine, cohort, lanes, self)` acts for the active `lanes` whose guard is on and returns
    the next block, or -1 once the cohort is parked or gone. `block` (its own, which a barrier has
    to itself), `following` and `target` are block numbers, filled in when the blocks are made.
    """

    kind: str
    run: Callable[[Machine, Cohort, Array, Control], int]
    reads: tuple[int, ...] = ()
    line: int = 0
    guard: int | None = None
    negated: bool = False
    aligned: bool = False
    label: str = ""
    target: int = -1
    following: int = -1
    block: int = -1


@dataclass(slots=True)
class Block:
    """A basic block: `runs` mirrors `steps` for speed; `start` is its first instruction's index."""

    start: int
    steps: list[Step] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    control: Control | None = None
    executions: int = 0

    def successors(self, number: int) -> tuple[int, ...]:
        """Blocks that may follow block `number`, which this is."""
        control = self.control
        if control is None or control.kind == "barrier":
            return (number + 1,)
        if control.kind == "exit":
            return () if control.guard is None else (number + 1,)
        return (control.target,) if control.guard is None else (control.target, number + 1)


def lane_mask(c: Cohort, guard: int | None, negated: bool) -> Array | None:
    """Lanes [warps, 32] that execute an instruction; None means all 32 of every warp."""
    if guard is None:
        return None if c.full else c.mask
    predicate: Array = c.regs[guard]
    if negated:
        predicate = ~predicate
    return predicate if c.full else predicate & c.mask
