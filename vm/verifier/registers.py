"""Whether groups that ask for more registers can get them: else they would wait for ever."""

from __future__ import annotations

from ..diagnostics import LimitError
from ..instructions.registers import SetRegisters
from ..ir import Function, instructions_by_part

_OF_A_MULTIPROCESSOR = 1 << 16
_UNIT = 8  # registers of a thread come in such numbers
_MOST = 256


def check_registers(function: Function) -> None:
    """Checks what the warps of a block have at most against what it starts with.

    Raises:
        LimitError: groups ask for more than others give.
    """
    changes = [
        (instruction, range(part.first // 32, (part.first + part.num_threads) // 32))
        for instruction, part in instructions_by_part(function.body, function.threads)
        if isinstance(instruction, SetRegisters)
    ]
    if not any(change.change == "more" for change, _ in changes):
        return
    share = _OF_A_MULTIPROCESSOR // max(1, function.min_blocks) // function.num_threads
    start = min(share // _UNIT * _UNIT, _MOST)
    wanted = dict.fromkeys(range(function.num_warps), start)
    for change, warps in changes:
        if change.change == "less":
            wanted |= {warp: min(wanted[warp], change.count) for warp in warps}
    for change, warps in changes:
        if change.change == "more":
            wanted |= {warp: max(wanted[warp], change.count) for warp in warps}
    if sum(wanted.values()) > start * function.num_warps:
        largest = max((c for c, _ in changes if c.change == "more"), key=lambda c: c.count)
        mean = sum(wanted.values()) / function.num_warps
        raise LimitError(
            f"`set_registers`: the threads of the block want {mean:g} registers each on average, "
            f"and start with {start}",
            largest.location,
            hint='let other groups give some back with `change = "less"`, or ask for fewer',
        )
