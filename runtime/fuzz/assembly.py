"""Many programs' PTX in one module, so that assembling each costs little."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tileloom.compiler import Lowered

from ..assemble import Assembled, assemble
from ..errors import AssemblerError, ToolMissingError
from ..toolkit import find_assembler

# A constant of the module, as in `.global .align 1 .b8 text_0[6] = {...};`
_CONSTANT = re.compile(r"\.(?:global|const)\b.*?\b([A-Za-z_$]\w*)\[")
_WORD = re.compile(r"[A-Za-z_$][\w$]*")


def has_assembler() -> bool:
    """Whether PTX can be assembled here."""
    try:
        find_assembler()
    except ToolMissingError:
        return False
    return True


def joined(lowered: Sequence[Lowered]) -> str:
    """One module with all entries, which must be for one target and have different names.

    The module asks for the highest PTX version that an entry needs. Each entry's constants get
    names of their own.
    """
    versions: list[tuple[int, ...]] = []
    shared: dict[str, None] = {}  # declarations that entries have in common, in order
    rest: list[str] = []
    for number, each in enumerate(lowered):
        lines = each.ptx.splitlines()
        start = next(n for n, line in enumerate(lines) if line.startswith(".visible"))
        own = {}
        for line in lines[:start]:
            if line.startswith(".version "):
                versions.append(tuple(map(int, line.removeprefix(".version ").split("."))))
            elif line.startswith(".extern "):
                shared[line] = None
            elif match := _CONSTANT.match(line):
                own[match[1]] = f"{match[1]}_of_{number}"
                rest.append(line.replace(match[1], own[match[1]], 1))
        rest += [_renamed(line, own) for line in lines[start:]]
    major, minor = max(versions)
    head = [f".version {major}.{minor}", f".target {lowered[0].target}", ".address_size 64"]
    return "\n".join([*head, *shared, *rest]) + "\n"


def _renamed(line: str, names: dict[str, str]) -> str:
    if not names or line.lstrip().startswith("//"):
        return line
    return _WORD.sub(lambda match: names.get(match[0], match[0]), line)


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
