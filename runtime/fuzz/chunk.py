"""How a chunk of programs is checked, and what that gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from .case import Case
from .parsing import Finding


@dataclass
class Chunk:
    """What a run of seeds gave. `milliseconds` is the time of each program's check; `newest` counts
    programs of what only sm_90 has."""

    seeds: Sequence[int]
    findings: list[Finding] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    seconds: float = 0.0
    newest: int = 0


@dataclass(frozen=True)
class Settings:
    """How chunks are checked. `targets` are compiled (and, if asked, assembled) for; none: all, or
    if `own_target`, each program's own."""

    device: str = "emulator"
    targets: tuple[str, ...] = ()
    assembles: bool = True
    opt_level: int = 3
    own_target: bool = False

    def targets_of(self, case: Case) -> tuple[str, ...]:
        """What a case is compiled for."""
        return (case.target,) if self.own_target else self.targets or case.targets
