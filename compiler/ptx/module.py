"""PTX as data: instructions, labels, comments, kernels and modules.

A kernel's body is a flat list of items in program order. Text exists only in `printer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tileloom.vm.diagnostics import Location

from .operands import Operand, Register, RegisterKind, registers_of


class Instruction:
    """`[@[!]predicate] opcode dsts, srcs;`.

    `dsts` holds what is written (registers or vectors of them), `srcs` everything else in printed
    order, addresses included.
    """

    __slots__ = ("dsts", "negated", "opcode", "predicate", "srcs")

    def __init__(
        self,
        opcode: str,
        dsts: tuple[Operand, ...],
        srcs: tuple[Operand, ...],
        predicate: Register | None = None,
        negated: bool = False,
    ) -> None:
        self.opcode = opcode
        self.dsts = dsts
        self.srcs = srcs
        self.predicate = predicate
        self.negated = negated

    def defs(self) -> Iterator[Register]:
        """Registers written."""
        for operand in self.dsts:
            yield from registers_of(operand)

    def uses(self) -> Iterator[Register]:
        """Registers read, the guard included."""
        if self.predicate is not None:
            yield self.predicate
        for operand in self.srcs:
            yield from registers_of(operand)

    def __repr__(self) -> str:
        return f"Instruction({self.opcode}, {self.dsts}, {self.srcs})"


@dataclass(frozen=True, slots=True)
class Label:
    """A branch target in a body."""

    name: str


@dataclass(frozen=True, slots=True)
class Comment:
    """Text for the reader; `location` says which source line the code below comes from."""

    text: str
    location: Location | None = None


Item = Instruction | Label | Comment


@dataclass(frozen=True, slots=True)
class Parameter:
    """A kernel parameter: `ptx_type` such as `u64`, `s32`, `f32`, `b16`."""

    name: str
    ptx_type: str
    alignment: int | None = None
    array_bytes: int | None = None


@dataclass
class Kernel:
    """One entry point. `num_threads` becomes `.maxntid`, `min_blocks` `.minnctapersm`."""

    name: str
    parameters: tuple[Parameter, ...]
    num_threads: int
    body: list[Item] = field(default_factory=list)
    register_counts: dict[RegisterKind, int] = field(default_factory=dict)
    min_blocks: int | None = None

    def instructions(self) -> Iterator[Instruction]:
        """The instructions of the body in order."""
        for item in self.body:
            if type(item) is Instruction:
                yield item


@dataclass
class Module:
    """What one PTX file holds. `shared_symbol` is the one dynamic shared array, if used."""

    target: str
    version: tuple[int, int]
    kernels: list[Kernel]
    shared_symbol: str | None = None
    shared_alignment: int = 128
