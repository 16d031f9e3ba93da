"""What a deadlock is reported as: who waits where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import EmulatorError

if TYPE_CHECKING:
    from .machine import Machine

_TOLD = 8


def deadlock(machine: Machine) -> EmulatorError:
    """The error of a machine in which nobody can run."""
    # Of those at a barrier of many others, most wait for who waits for something else.
    waiting: list[tuple[int, str, int]] = []
    for c in machine.yielded:
        waiting += [] if c.stuck is None else machine.mbarriers.waits(c.stuck)
    for c, at, number in machine.barriers.waiting():
        waiting += [(int(row), f"barrier {number}", at.line) for row in c.rows]
    for c, at in machine.clusters.waiting:
        waiting += [(int(row), "the cluster's barrier", at.line) for row in c.rows]
    names = [f"{machine.warp_name(row)} at {what} (line {line})" for row, what, line in waiting]
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    told = f"waiting: {'; '.join(names[:_TOLD])}{more}"
    if machine.barriers.partial:
        c, control = machine.barriers.partial[0]
        lanes = machine.alive[c.rows] & ~c.mask
        message = f"barrier divergence: {c.lane_name(lanes)} is not at this barrier"
        # The others may be kept from it by what they wait for.
        return machine.program.source.error(
            control.line, f"{message}; {told}" if names else message
        )
    return machine.program.source.error(waiting[0][2], f"deadlock: nobody can run; {told}")
