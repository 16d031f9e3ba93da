"""What a deadlock is reported as: who waits where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import EmulatorError

if TYPE_CHECKING:
    from .machine import Machine

_TOLD = 8


def deadlock(machine: Machine) -> EmulatorError:
    """The error of a machine in which nobody can run."""
    if machine.barriers.partial:
        c, control = machine.barriers.partial[0]
        lanes = machine.alive[c.rows] & ~c.mask
        message = f"barrier divergence: {c.lane_name(lanes)} is not at this barrier"
        return machine.program.source.error(control.line, message)
    waiting = [
        (int(row), f"barrier {number}", at.line)
        for c, at, number in machine.barriers.waiting()
        for row in c.rows
    ]
    for c, at in machine.clusters.waiting:
        waiting += [(int(row), "the cluster's barrier", at.line) for row in c.rows]
    for c in machine.yielded:
        waiting += [] if c.stuck is None else machine.mbarriers.waits(c.stuck)
    names = [f"{machine.warp_name(row)} at {what} (line {line})" for row, what, line in waiting]
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    message = f"deadlock: nobody can run; waiting: {'; '.join(names[:_TOLD])}{more}"
    return machine.program.source.error(waiting[0][2], message)
