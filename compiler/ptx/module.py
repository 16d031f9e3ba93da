"""PTX as data: instructions, labels, comments, kernels and modules.

A kernel's body is a flat list of items in program order. Text exists only in `printer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tileloom.vm.diagnostics import Location
from tileloom.vm.tensor_maps import TensorMap

from .operands import Operand, Register, RegisterKind, registers_of, with_registers


class Instruction:
    """`[@[!]predicate] opcode dsts, srcs;`.

    `dsts` holds what is written (registers or vectors of them), `srcs` everything else in printed
    order, addresses included.
    """

    # `defs`: the registers written; `uses`: those read, the guard first.
    __slots__ = ("defs", "dsts", "negated", "opcode", "predicate", "srcs", "uses")

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
        self.defs = _registers(dsts)
        self.uses = _registers(srcs) if predicate is None else (predicate, *_registers(srcs))

    def replace_uses(self, replaced: dict[Register, Register]) -> None:
        """Reads other registers instead of those that are keys of `replaced`."""
        self.srcs = tuple([with_registers(operand, replaced) for operand in self.srcs])
        self.uses = _registers(self.srcs)
        if self.predicate is not None:
            self.predicate = replaced.get(self.predicate, self.predicate)
            self.uses = (self.predicate, *self.uses)

    def __repr__(self) -> str:
        return f"Instruction({self.opcode}, {self.dsts}, {self.srcs})"


def _registers(operands: tuple[Operand, ...]) -> tuple[Register, ...]:
    for operand in operands:
        if type(operand) is not Register:
            return _found(operands)
    return operands  # type: ignore[return-value]  # nothing else, as nearly always


def _found(operands: tuple[Operand, ...]) -> tuple[Register, ...]:
    found: list[Register] = []
    for operand in operands:
        if type(operand) is Register:
            found.append(operand)
        elif type(operand) is not int:
            found.extend(registers_of(operand))
    return tuple(found)


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
    """One entry point. `num_threads` becomes `.maxntid`, `min_blocks` `.minnctapersm`,
    `max_registers` `.maxnreg`, `cluster` (blocks along x, y, z) `.reqnctapercluster`."""

    name: str
    parameters: tuple[Parameter, ...]
    num_threads: int
    body: list[Item] = field(default_factory=list)
    register_counts: dict[RegisterKind, int] = field(default_factory=dict)
    min_blocks: int | None = None
    max_registers: int | None = None
    texts: tuple[str, ...] = ()
    local_bytes: int = 0
    cluster: tuple[int, int, int] | None = None
    tensor_maps: tuple[TensorMap, ...] = ()

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
