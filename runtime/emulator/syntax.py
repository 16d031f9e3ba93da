"""PTX as typed objects: what the parser makes of the text. Nothing here executes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from .errors import EmulatorError
from .types import Type


@dataclass(slots=True)  # not frozen, since those are slow to make, and there are many
class Reg:
    """A register, special registers included; `slot` indexes the machine's register list."""

    name: str
    type: Type
    slot: int


@dataclass(frozen=True, slots=True)
class Int:
    value: int


@dataclass(frozen=True, slots=True)
class FloatBits:
    """A floating literal as its bits: `0f` gives width 32, `0d` and decimals width 64."""

    width: int
    bits: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """A label, variable, parameter or function name, plus a byte offset."""

    name: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Not:
    """`!%p` as a source."""

    reg: Reg


@dataclass(frozen=True, slots=True)
class Sink:
    """`_`: a result nobody wants."""


@dataclass(frozen=True, slots=True)
class Pair:
    """`a|b`: two destinations."""

    first: Operand
    second: Operand


@dataclass(frozen=True, slots=True)
class Vector:
    items: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Mem:
    """`[base + offset]`, offset in bytes."""

    base: Reg | Symbol | Int
    offset: int


@dataclass(frozen=True, slots=True)
class TensorMem:
    """`[map, {c0, c1}]`: a place in a tensor."""

    map: Operand
    coordinates: tuple[Operand, ...]


Operand: TypeAlias = "Reg | Int | FloatBits | Symbol | Not | Sink | Pair | Vector | Mem | TensorMem"


@dataclass(slots=True)  # as `Reg`
class Instruction:
    opcode: str
    operands: tuple[Operand, ...]
    line: int
    guard: Reg | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Param:
    """A kernel parameter: `size` bytes, `offset` bytes into the parameter space."""

    name: str
    type: Type
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of `.shared`, `.global`, `.const` or `.local` space; `offset` within its space.

    `size` 0 with `external` set marks the dynamic shared memory.
    """

    name: str
    space: str
    offset: int
    size: int
    align: int
    external: bool = False
    data: bytes | None = None


@dataclass(slots=True)
class FunctionBody:
    """An `.entry`: instructions in order, `labels` mapping a name to an instruction index,
    `limits` what `.maxnreg` and `.minnctapersm` say."""

    name: str
    line: int
    params: tuple[Param, ...]
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    registers: list[Reg] = field(default_factory=list)
    specials: dict[str, Reg] = field(default_factory=dict)
    local_bytes: int = 0
    shared_bytes: int = 0
    cluster: tuple[int, int, int] | None = None
    limits: dict[str, int] = field(default_factory=dict)


class SourceMap:
    """Answers what a PTX line is: its text, the comment above it, the `.loc` in force."""

    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self.files: dict[int, str] = {}
        self.locations: list[tuple[int, int, int]] = []

    def text(self, line: int) -> str:
        return self._lines[line - 1].strip() if 0 < line <= len(self._lines) else ""

    def comment(self, line: int) -> str:
        """The nearest line above that holds only a comment, without its slashes."""
        for number in range(line - 1, 0, -1):
            text = self._lines[number - 1].strip()
            if text.startswith("//"):
                return text.lstrip("/").strip()
            if text.startswith((".entry", ".visible")):
                break
        return ""

    def location(self, line: int) -> tuple[str, int] | None:
        """File and line of the last `.loc` above."""
        where = bisect_right(self.locations, (line, 1 << 60, 0)) - 1
        if where < 0:
            return None
        _, file, source_line = self.locations[where]
        return self.files.get(file, f"file {file}"), source_line

    def error(self, line: int, message: str) -> EmulatorError:
        return EmulatorError(
            line, self.text(line), message, self.comment(line), self.location(line)
        )


@dataclass(slots=True)
class ParsedModule:
    version: str
    target: str
    functions: Mapping[str, FunctionBody]
    variables: Mapping[str, Variable]
    source: SourceMap


def registers_in(operands: Sequence[Operand]) -> list[Reg]:
    """All registers in the operands, nested ones included, in order."""
    found: list[Reg] = []
    for operand in operands:
        match operand:
            case Reg():
                found.append(operand)
            case Not(reg):
                found.append(reg)
            case Pair(first, second):
                found += registers_in((first, second))
            case Vector(items):
                found += registers_in(items)
            case Mem(Reg() as base, _):
                found.append(base)
    return found
