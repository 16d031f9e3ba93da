"""Which block runs when: a seeded choice among a window of resident blocks.

A block runs until it waits. Blocks start in order, and only so many at once, as on a GPU: a
program in which a resident block waits for one that can't start yet is in a deadlock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Final

from ..diagnostics import ExecutionError, Location
from .control import Run, Spin, Wait
from .group import Blocked, ThreadGroup, World

RESIDENT: Final = 64  # blocks at once
_TOLD: Final = 8  # waiting blocks named in a report


@dataclass(eq=False)
class Task:
    """A started block; `wait` is what it waited for last."""

    group: ThreadGroup
    run: Run
    wait: Wait | None = None
    seen: int = -1  # `World.writes` when it last ran

    def can_run(self, world: World) -> bool:
        """Whether running it now can achieve anything."""
        match self.wait:
            case Blocked():
                return self.wait.ready()
            case Spin(idle=True):
                return self.seen != world.writes
        return True


def run_blocks(
    world: World,
    tasks: Iterator[Task],
    seed: int,
    resident: int = RESIDENT,
    cluster_size: int = 1,
) -> None:
    """Run every block to its end; each `cluster_size` tasks in a row start together.

    Raises:
        ExecutionError: a deadlock, with what each resident block waits for.
    """
    random = Random(seed)
    live: list[Task] = []
    while True:
        clusters = max((resident - len(live)) // cluster_size, not live)
        live.extend(islice(tasks, clusters * cluster_size))
        if not live:
            return
        task = _choose(world, live, random)
        task.seen = world.writes
        try:
            task.wait = next(task.run)
        except StopIteration:
            live.remove(task)
            task.group.leave()


def _choose(world: World, live: list[Task], random: Random) -> Task:
    first = random.randrange(len(live))
    for task in live[first:] + live[:first]:
        if task.can_run(world):
            return task
    notes = [(f"block {list(task.group.block)} {_waits(task)}", _place(task)) for task in live]
    more = len(notes) - _TOLD
    rest: list[str] = [f"and {more} more"] if more > 0 else []
    raise ExecutionError(
        "deadlock: every resident block waits for something that no one can do",
        _place(live[0]),
        notes=[*notes[:_TOLD], *rest],
        hint=f"blocks start in order, {RESIDENT} at a time: wait only for blocks before your own",
    )


def _waits(task: Task) -> str:
    return task.wait.reason if isinstance(task.wait, Blocked) else "spins in a `while`"


def _place(task: Task) -> Location | None:
    return task.wait.location if task.wait is not None else None
