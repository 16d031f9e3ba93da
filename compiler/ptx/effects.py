"""What an opcode does besides writing its destinations."""

from __future__ import annotations

from functools import cache

_EFFECTFUL = {
    "st", "atom", "red", "bar", "barrier", "fence", "membar", "bra", "ret", "exit", "trap",
    "cp", "mbarrier", "stmatrix", "wgmma", "setmaxnreg", "griddepcontrol", "prefetch",
    "call", "shfl", "vote", "match", "elect", "nanosleep", "brkpt", "redux",
}  # fmt: skip


@cache
def has_effect(opcode: str) -> bool:
    """True if an instruction must stay even when nothing reads its results.

    Warp-wide exchanges count: removing one lane's part would change what others receive.
    """
    parts = opcode.split(".")
    return parts[0] in _EFFECTFUL or "volatile" in parts or "acquire" in parts


@cache
def reads_memory(opcode: str) -> bool:
    """True for loads, whose value depends on when they run."""
    return opcode.split(".", 1)[0] in ("ld", "ldmatrix", "atom")
