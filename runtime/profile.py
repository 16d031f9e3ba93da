"""What a kernel's instructions did on the emulator: a table for `tileloom run --profile`.

Each row is a VM instruction: how many PTX instructions warps executed for it, the shared-memory
wavefronts beyond the least that its bytes need (bank conflicts), and the 32-byte sectors of global
memory it touched beside the fewest that could hold its bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

_WIDTH = 72
_HEADER = f"{'executed':>12} {'conflicts':>10} {'sectors':>9} {'least':>9}  instruction"

_launches: ContextVar[list[Profile] | None] = ContextVar("tileloom_profiles", default=None)


@dataclass
class Row:
    """The sums of one VM instruction."""

    text: str
    executed: int = 0
    conflicts: int = 0
    sectors: int = 0
    least_sectors: int = 0


@dataclass(frozen=True)
class Profile:
    """One launch: the kernel's name and its rows in the order of the code."""

    name: str
    rows: list[Row]

    def table(self) -> str:
        """The rows and their sum, as text."""
        total = Row("total")
        for row in self.rows:
            for field in ("executed", "conflicts", "sectors", "least_sectors"):
                setattr(total, field, getattr(total, field) + getattr(row, field))
        lines = [f"`{self.name}` on the emulator", _HEADER]
        return "\n".join([*lines, *map(_line, self.rows), _line(total)])


def _line(row: Row) -> str:
    text = row.text if len(row.text) <= _WIDTH else row.text[: _WIDTH - 3] + "..."
    numbers = f"{row.executed:>12,} {row.conflicts:>10,} {row.sectors:>9,}"
    return f"{numbers} {row.least_sectors:>9,}  {text}"


@contextmanager
def profiling() -> Iterator[list[Profile]]:
    """Collects a profile of every launch on the emulator inside."""
    found: list[Profile] = []
    token = _launches.set(found)
    try:
        yield found
    finally:
        _launches.reset(token)


def is_on() -> bool:
    """Whether somebody collects profiles."""
    return _launches.get() is not None


def note(name: str, ptx: str, statistics: Any) -> None:
    """Adds a launch to what is collected, if it is."""
    launches = _launches.get()
    if launches is not None:
        launches.append(Profile(name, rows_of(ptx, statistics)))


def rows_of(ptx: str, statistics: Any) -> list[Row]:
    """Sums per VM instruction: each PTX line belongs to the last comment above it."""
    row = Row("(entry)")
    rows: list[Row] = []
    for number, line in enumerate(ptx.splitlines(), 1):
        code = line.strip()
        if code.startswith("//"):
            row = Row(code[2:].strip())
        executed = statistics.profile.get(number, 0)
        if not executed:
            continue
        if not rows or rows[-1] is not row:
            rows.append(row)
        row.executed += executed
        traffic = statistics.traffic.get(number)
        if traffic is not None:
            row.conflicts += traffic.conflicts
            row.sectors += traffic.sectors
            row.least_sectors += traffic.least_sectors
    return rows
