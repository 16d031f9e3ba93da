"""call: the functions every device has, `vprintf` and `__assertfail`.

Arguments lie in `.param` variables of the calling function, which each thread has its own of (they
are kept in local memory). What threads print goes to standard output, lane by lane.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .access import Site, read
from .cohort import Cohort, FaultError
from .opcode import Custom, Form, Mods, OpcodeError, opcode
from .step import Step, lane_mask
from .storage import Access
from .syntax import Symbol

if TYPE_CHECKING:
    from .linker import Linker
    from .syntax import Instruction

_SPECIFIER = re.compile(r"%([-+ #0]*\d*(?:\.\d+)?)(hh|h|ll|l)?([%diuxXcsfFeEgG])")
_LONGEST_TEXT = 1 << 16


class _Thread:
    """One lane of a cohort, reading memory by generic addresses."""

    def __init__(self, c: Cohort, row: int, lane: int) -> None:
        self.c = c
        self.on = np.zeros(c.mask.shape, bool)
        self.on[row, lane] = True
        self.row, self.lane = row, lane

    def number(self, address: int, width: int, space: str = "generic") -> int:
        """`width` bytes as an unsigned integer."""
        addresses = np.full(self.on.shape, address, np.uint64)
        site = Site(0, space, Access(width, 1), strong=True)
        columns, bad = read(self.c, site, addresses, self.on)
        if bad is not None:
            raise FaultError("an argument of the call was never written")
        return int(columns[0][self.row, self.lane])

    def text(self, address: int) -> str:
        """The bytes up to a zero, as UTF-8."""
        data = bytearray()
        while len(data) < _LONGEST_TEXT and (byte := self.number(address + len(data), 1)):
            data.append(byte)
        return data.decode("utf-8", "replace")


def _vprintf(thread: _Thread, form: int, values: int) -> None:
    sys.stdout.write(formatted(thread.text(form), thread, values))


def formatted(form: str, thread: _Thread, place: int) -> str:
    """C's format with the values at `place`, each aligned to its size."""

    def value(match: re.Match[str]) -> str:
        nonlocal place
        flags, length, kind = match.groups()
        if kind == "%":
            return "%"
        wide = kind in "sfFeEgG" or length in ("l", "ll")
        width = 8 if wide else 4
        place = -(-place // width) * width
        raw = thread.number(place, width)
        place += width
        if kind in "fFeEgG":
            return f"%{flags}{kind}" % struct.unpack("<d", struct.pack("<Q", raw))
        if kind == "s":
            return f"%{flags}s" % thread.text(raw)
        if kind == "c":
            return chr(raw & 0xFF)
        if kind in "di" and raw >> (8 * width - 1):
            raw -= 1 << 8 * width
        return f"%{flags}{'d' if kind == 'u' else kind}" % raw

    return _SPECIFIER.sub(value, form)


def _assertfail(
    thread: _Thread, message: int, file: int, line: int, function: int, size: int
) -> None:
    where = f"{thread.text(file)}:{line}: {thread.text(function)}"
    raise FaultError(f"assertion failed: {thread.text(message)} ({where})")


class _Function(NamedTuple):
    run: Callable[..., None]
    widths: tuple[int, ...]


_FUNCTIONS = {
    "vprintf": _Function(_vprintf, (8, 8)),
    "__assertfail": _Function(_assertfail, (8, 8, 4, 8, 8)),
}


@opcode("call")
def call(mods: Mods) -> Form:
    mods.flag("uni")
    return Custom(_build)


def _build(instruction: Instruction, linker: Linker) -> Step:
    name, *arguments = instruction.operands
    assert isinstance(name, Symbol)
    function = _FUNCTIONS.get(name.name)
    if function is None:
        raise OpcodeError(f"there is no function `{name.name}` to call")
    if len(arguments) != len(function.widths):
        raise OpcodeError(f"`{name.name}` takes {len(function.widths)} arguments")
    places = []
    for argument in arguments:
        if not isinstance(argument, Symbol) or linker.spaces.get(argument.name) != "local":
            raise OpcodeError("an argument of `call` is no `.param` variable of the function")
        places.append(linker.address(argument))
    guard = None if instruction.guard is None else instruction.guard.slot

    def run(c: Cohort) -> None:
        on = lane_mask(c, guard, instruction.negated)
        for row, lane in np.argwhere(c.mask if on is None else on).tolist():
            thread = _Thread(c, row, lane)
            pairs = zip(places, function.widths, strict=True)
            function.run(thread, *(thread.number(p, w, "local") for p, w in pairs))

    return Step(run, (), ())


def split_call(text: str) -> list[str]:
    """The function's name and its arguments in `(result), name, (arguments)`."""
    match = re.fullmatch(
        r"(?:\(\s*[\w$%]*\s*\)\s*,\s*)?([\w$%]+)\s*(?:,\s*\(\s*([^()]*)\))?\s*", text
    )
    if match is None:
        raise OpcodeError("this is no call of a function by its name")
    return [match[1], *filter(None, (part.strip() for part in (match[2] or "").split(",")))]
