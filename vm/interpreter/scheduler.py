"""Which block runs when: a seeded choice among a window of resident blocks.

A block runs until it waits. Blocks start in order, and only so many at once, as on a GPU: a
program in which a resident block waits for one that can't start yet is in a deadlock.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Final

from ..diagnostics import ExecutionError, Location
from .control import Several, Task
from .group import Blocked, World

RESIDENT: Final = 64  # blocks at once
_TOLD: Final = 8  # waiting blocks named in a report
_BLOCKS: Final = (
    f"blocks start in order, {RESIDENT} at a time: wait only for blocks before your own"
)
_GROUPS: Final = (
    "give `alloc_mbarrier` the number of arrivals, announce the bytes of all copies, and let "
    "groups that wait for each other follow each other directly"
)


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
    random = world.random = Random(seed)
    live: list[Task] = []
    while True:
        clusters = max((resident - len(live)) // cluster_size, not live)
        live.extend(islice(tasks, clusters * cluster_size))
        if not live:
            return
        task = _choose(world, live, random)
        if not task.advance(world):
            live.remove(task)
            task.group.leave()


def _choose(world: World, live: list[Task], random: Random) -> Task:
    first = random.randrange(len(live))
    for task in live[first:] + live[:first]:
        if task.can_run(world):
            return task
    notes = [note for task in live for note in _notes(task, f"block {list(task.group.block)}")]
    more = len(notes) - _TOLD
    rest: list[str] = [f"and {more} more"] if more > 0 else []
    raise ExecutionError(
        "deadlock: every resident block waits for something that no one can do",
        _place(live[0]),
        notes=[*notes[:_TOLD], *rest],
        hint=_GROUPS if any(isinstance(task.wait, Several) for task in live) else _BLOCKS,
    )


def _notes(task: Task, name: str) -> list[tuple[str, Location | None]]:
    """What a block waits for, or each of its groups."""
    match task.wait:
        case Several(tasks):
            return [
                note for part in tasks for note in _notes(part, f"{name}, {part.group.part.label}")
            ]
        case Blocked(reason=reason):
            return [(f"{name} {reason}", _place(task))]
    return [(f"{name} spins in a `while`", _place(task))]


def _place(task: Task) -> Location | None:
    return task.wait.location if task.wait is not None else None
