"""What the machine executes: steps (straight-line) and controls (they end a basic block)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from .types import Array

if TYPE_CHECKING:
    from .cohort import Cohort
    from .machine import Machine

Run: TypeAlias = "Callable[[Cohort], None]"
Taint: TypeAlias = "Callable[[Cohort, Step], None]"


@dataclass(slots=True)
class Step:
    """One instruction, linked: `run` updates the cohort; `reads` and `writes` are register slots.

    `strict`: an undefined source is an error (addresses, stored values, branches); otherwise it
    makes the results undefined. `own_taint` replaces that rule where lanes or rows mix.
    """

    run: Run
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    line: int = 0
    guard: int | None = None
    negated: bool = False
    strict: bool = False
    own_taint: Taint | None = None


@dataclass(slots=True)
class Control:
    """The end of a block: `run` returns the next block, or -1 once the cohort is parked or gone."""

    kind: str
    run: Callable[[Machine, Cohort], int]
    reads: tuple[int, ...] = ()
    line: int = 0
    guard: int | None = None
    negated: bool = False
    target: int = -1
    falls_through: bool = True
    label: str = ""


@dataclass(slots=True)
class Block:
    """A basic block: `runs` mirrors `steps` for speed; `start` is its first instruction's index."""

    start: int
    steps: list[Step] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    control: Control | None = None
    successors: tuple[int, ...] = ()
    executions: int = 0


def lane_mask(c: Cohort, guard: int | None, negated: bool) -> Array | None:
    """Lanes [warps, 32] that execute an instruction; None means all 32 of every warp."""
    if guard is None:
        return None if c.full else c.mask
    predicate: Array = c.regs[guard]
    if negated:
        predicate = ~predicate
    return predicate if c.full else predicate & c.mask
