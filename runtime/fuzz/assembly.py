"""Many programs' PTX in one module, so that assembling each costs little."""

from __future__ import annotations

from collections.abc import Sequence

from tileloom.compiler import Lowered

from ..assemble import Assembled, assemble
from ..errors import AssemblerError, ToolMissingError
from ..toolkit import find_assembler


def has_assembler() -> bool:
    """Whether PTX can be assembled here."""
    try:
        find_assembler()
    except ToolMissingError:
        return False
    return True


def joined(lowered: Sequence[Lowered]) -> str:
    """One module with all entries, which must be for one target and have different names.

    The module asks for the highest PTX version that an entry needs.
    """
    versions, bodies, shared = [], [], ""
    for each in lowered:
        head, body = _split(each.ptx)
        versions.append(tuple(int(n) for n in head[0].removeprefix(".version ").split(".")))
        shared = next((line for line in head if line.startswith(".extern .shared")), shared)
        bodies.append(body)
    major, minor = max(versions)
    lines = [f".version {major}.{minor}", f".target {lowered[0].target}", ".address_size 64"]
    return "\n".join([*lines, shared, *bodies]) + "\n"


def _split(ptx: str) -> tuple[list[str], str]:
    """The lines before a module's entry, and the rest."""
    lines = ptx.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(".visible"))
    return lines[:start], "\n".join(lines[start:])


def assembled(lowered: Sequence[Lowered], opt_level: int = 3) -> Assembled:
    """The cubin of all entries.

    Raises:
        AssemblerError: one of them is rejected.
    """
    target = lowered[0].target
    return assemble(joined(lowered), target, opt_level=opt_level, line_info=False)


def rejected(lowered: Sequence[Lowered], opt_level: int = 3) -> list[tuple[int, str]]:
    """Which entries the assembler rejects, and what it says; all at once if it takes them all."""
    if not lowered:
        return []
    try:
        assembled(lowered, opt_level)
    except AssemblerError as error:
        if len(lowered) == 1:
            return [(0, error.message)]
        middle = len(lowered) // 2
        left = rejected(lowered[:middle], opt_level)
        right = rejected(lowered[middle:], opt_level)
        return left + [(middle + number, text) for number, text in right]
    return []
