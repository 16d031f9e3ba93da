"""How a block holds rows of activations: each element is read once and stays a half in registers.

A thread has `chunks` runs of 16 elements: the codes of a run are one access of 16 bytes. A row (or,
with a scale for each group, a part of one) is spread over `threads` threads, a block of at least
four warps holds several short rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tileloom.layouts import RegisterLayout
from tileloom.programs.rows.schedule import BlockOfRows, power_above

RUN = 16
MAX_THREADS = 1024
MAX_CHUNKS = 2  # more in flight than memory needs, and registers that blocks lack
GROUP_THREADS = 128


@dataclass(frozen=True)
class ActivationSchedule(BlockOfRows):
    """Tiles of `threads` * `chunks` * 16 columns; rows that are longer take turns if it `loops`,
    blocks along the grid if scales belong to groups."""

    threads: int = 128
    chunks: int = 1
    loops: bool = False

    @property
    def columns(self) -> int:  # type: ignore[override]
        return RUN * self.threads * self.chunks

    @cached_property
    def layout(self) -> RegisterLayout:
        """[rows, columns]"""
        return self.spread(self.chunks, RUN)


def schedule_for(k: int, group: int = 0) -> ActivationSchedule:
    """The schedule for rows of k elements, with a scale for each `group` of them or one (0)."""
    runs = max(1, -(-k // RUN))
    if group:
        # No more threads than the row has work for, but a whole group at least.
        threads = max(min(GROUP_THREADS, power_above(runs)), group // RUN)
        return ActivationSchedule(min(threads, MAX_THREADS), max(1, group // (RUN * MAX_THREADS)))
    threads = min(MAX_THREADS, power_above(-(-runs // MAX_CHUNKS)))
    chunks = -(-runs // threads)
    if chunks > MAX_CHUNKS:
        return ActivationSchedule(MAX_THREADS, MAX_CHUNKS, loops=True)
    return ActivationSchedule(threads, chunks)
