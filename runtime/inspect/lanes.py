"""What a kernel's registers hold in every lane, found without arguments or memory.

The PTX is read once from top to bottom: each instruction is computed for all lanes of a block, with
every kernel parameter 0, in block 0, and loops in their first turn. What memory holds, and what
depends on it, stays unknown. That is enough for the *addresses* of shared memory: they depend on
the thread number, on constants and on a stage, and it is the lanes' pattern that decides about
bank conflicts, not where the pattern begins.

Lanes leave by branches whose condition is certain (it depends on the thread number alone, such as
`tid < 64`) and come back at the label. Of other conditions both sides are taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ..emulator import program as _opcodes
from ..emulator.bits import lut_function
from ..emulator.linker import integer_bits, literal_bits, variable_addresses
from ..emulator.opcode import OpcodeError, Pure, form_of
from ..emulator.syntax import (
    FloatBits,
    FunctionBody,
    Instruction,
    Int,
    Mem,
    Operand,
    Pair,
    ParsedModule,
    Reg,
    Symbol,
    Vector,
)
from ..emulator.types import TYPES, Array, Type

assert _opcodes  # imported for the opcodes it registers

WARP = 32
_COMPARISONS: dict[str, Callable[[Array, Array], Array]] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
    "gt": np.greater, "ge": np.greater_equal,
    "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Known:
    """A register's raw bits in every lane, [warps, 32]; `certain` if no parameter, block index or
    loop went into them."""

    bits: Array
    certain: bool


@dataclass
class Lanes:
    """The state of the sweep: registers by slot, the lanes that are here, those waiting at labels.

    Iterating yields each instruction with the lanes that execute it, before it is executed.
    """

    body: FunctionBody
    module: ParsedModule
    num_threads: int
    values: dict[int, Known] = field(default_factory=dict)

    def __post_init__(self) -> None:
        warps = -(-self.num_threads // WARP)
        self.threads = np.arange(warps * WARP, dtype=np.uint32).reshape(warps, WARP)
        self.active = self.threads < self.num_threads
        self._waiting: dict[str, Array] = {}
        self._symbols = self._addresses()
        for name, reg in self.body.specials.items():
            self.values[reg.slot] = self._special(name, reg.type)

    def __iter__(self) -> Iterator[tuple[Instruction, Array]]:
        labels: dict[int, list[str]] = {}
        for name, place in self.body.labels.items():
            labels.setdefault(place, []).append(name)
        written_in_loops = self._written_in_loops()
        with np.errstate(all="ignore"):
            for number, instruction in enumerate(self.body.instructions):
                for name in labels.get(number, ()):
                    self.active = self.active | self._waiting.pop(name, np.False_)
                    self._doubt(written_in_loops.get(name, set()))
                lanes = self.active & self._guard(instruction)
                yield instruction, lanes
                self._execute(instruction, number)

    # ---- operands

    def value(self, operand: Operand, type_: Type) -> Known | None:
        """An operand's bits as a type, or None where they aren't known."""
        match operand:
            case Reg(_, found, slot):
                known = self.values.get(slot)
                if known is None or found.bits == type_.bits:
                    return known
                return Known(known.bits.astype(type_.raw), known.certain)
            case Int(value):
                return self._constant(integer_bits(value, type_), type_)
            case FloatBits():
                return self._constant(literal_bits(operand, type_), type_)
            case Symbol(name, offset) if name in self._symbols:
                return self._constant(self._symbols[name] + offset, type_)
        return None

    def address(self, operand: Operand) -> Array | None:
        """The byte addresses of `[base + offset]`, int64 [warps, 32], or None."""
        if not isinstance(operand, Mem):
            return None
        if isinstance(operand.base, Reg):
            known = self.values.get(operand.base.slot)
            return None if known is None else known.bits.astype(np.int64) + operand.offset
        base = operand.base
        start = base.value if isinstance(base, Int) else self._symbols.get(base.name)
        if start is None:
            return None
        moved = 0 if isinstance(base, Int) else base.offset
        return np.full(self.threads.shape, start + moved + operand.offset, np.int64)

    def _constant(self, value: int, type_: Type) -> Known:
        wrapped = value % (1 << type_.bits) if type_.bits > 1 else bool(value)
        return Known(np.full(self.threads.shape, wrapped, type_.raw), True)

    def _special(self, name: str, type_: Type) -> Known:
        found: Array = np.zeros_like(self.threads)
        certain = True
        if name in ("%tid", "%tid.x"):
            found = self.threads
        elif name == "%laneid":
            found = self.threads % WARP
        elif name == "%warpid":
            found = self.threads // WARP
        elif name == "%ntid.x":
            found = np.full_like(self.threads, self.num_threads)
        else:
            certain = name in ("%tid.y", "%tid.z")
        return Known(found.astype(type_.raw), certain)

    def _addresses(self) -> dict[str, int]:
        variables = [*self.module.variables.values(), *self.body.variables.values()]
        shared = [v for v in variables if v.space == "shared"]
        static = max((v.offset + v.size for v in shared if not v.external), default=0)
        return variable_addresses(shared, {"shared": 0}, static)

    # ---- executing

    def _guard(self, instruction: Instruction) -> Array:
        """Lanes whose guard is on, or may be."""
        everywhere = np.ones(self.threads.shape, bool)
        if instruction.guard is None:
            return everywhere
        known = self.values.get(instruction.guard.slot)
        if known is None or not known.certain:
            return everywhere
        on: Array = known.bits.astype(bool)
        return ~on if instruction.negated else on

    def _is_sure(self, instruction: Instruction) -> bool:
        if instruction.guard is None:
            return True
        known = self.values.get(instruction.guard.slot)
        return known is not None and known.certain

    def _execute(self, instruction: Instruction, number: int) -> None:
        base = instruction.opcode.partition(".")[0]
        if base in ("bra", "exit", "ret"):
            self._leave(instruction, number, base)
            return
        try:
            results = self._results(instruction)
        except (OpcodeError, ValueError, TypeError, OverflowError):
            results = None
        targets = _destinations(instruction)
        if results is None or len(results) != len(targets):
            for reg in targets:
                self.values.pop(reg.slot, None)
            return
        for reg, known in zip(targets, results, strict=True):
            self._assign(reg, known, instruction)

    def _assign(self, reg: Reg, known: Known, instruction: Instruction) -> None:
        bits = np.broadcast_to(known.bits, self.threads.shape)
        before = self.values.get(reg.slot)
        if instruction.guard is not None and before is not None:
            sure = self._is_sure(instruction) and before.certain and known.certain
            bits = np.where(self._guard(instruction), bits, before.bits)
            known = Known(bits, sure)
        self.values[reg.slot] = Known(bits, known.certain)

    def _results(self, instruction: Instruction) -> list[Known] | None:
        opcode, operands = instruction.opcode, instruction.operands
        if opcode.startswith("ld.param"):
            (target,) = _destinations(instruction)
            return [Known(np.zeros(self.threads.shape, target.type.raw), False)]
        if opcode.startswith(("mov.", "cvta.")) and isinstance(operands[0], Reg):
            known = self.value(operands[1], operands[0].type)
            return None if known is None else [known]
        special = {"setp": self._compare, "lop3": self._lookup, "cvt": self._convert}
        if (compute := special.get(opcode.partition(".")[0])) is not None:
            return compute(instruction)
        form = form_of(opcode)
        if not isinstance(form, Pure) or len(operands) != len(form.outs) + len(form.ins):
            return None
        sources = operands[len(form.outs) :]
        given = [self.value(s, t) for s, t in zip(sources, form.ins, strict=True)]
        known_ins = [k for k in given if k is not None]
        if len(known_ins) < len(given):
            return None
        found = form.fn(*(k.bits for k in known_ins))
        certain = all(k.certain for k in known_ins)
        return [Known(bits, certain) for bits in (found if len(form.outs) > 1 else [found])]

    def _compare(self, instruction: Instruction) -> list[Known] | None:
        """A comparison of integers, without a third predicate."""
        _, name, *rest = instruction.opcode.split(".")
        type_ = TYPES.get(rest[0]) if len(rest) == 1 else None
        if name not in _COMPARISONS or type_ is None or type_.is_float:
            return None
        if len(instruction.operands) != 3 or not isinstance(instruction.operands[0], Reg):
            return None
        a, b = (self.value(operand, type_) for operand in instruction.operands[1:])
        if a is None or b is None:
            return None
        found = _COMPARISONS[name](a.bits.view(type_.view), b.bits.view(type_.view))
        return [Known(found, a.certain and b.certain)]

    def _lookup(self, instruction: Instruction) -> list[Known] | None:
        """lop3: any function of three bits, from a table."""
        *given, table = instruction.operands[1:]
        known = [self.value(operand, TYPES["b32"]) for operand in given]
        found = [each for each in known if each is not None]
        if len(found) != 3 or not isinstance(table, Int):
            return None
        bits = lut_function(table.value)(*(each.bits for each in found))
        return [Known(bits, all(each.certain for each in found))]

    def _convert(self, instruction: Instruction) -> list[Known] | None:
        """cvt between integers, without modifiers."""
        names = instruction.opcode.split(".")[1:]
        types = [TYPES[name] for name in names if name in TYPES]
        if len(types) != 2 or len(names) != 2 or any(type_.is_float for type_ in types):
            return None
        known = self.value(instruction.operands[1], types[1])
        if known is None:
            return None
        moved = known.bits.view(types[1].view).astype(types[0].view)
        return [Known(moved.view(types[0].raw), known.certain)]

    def _leave(self, instruction: Instruction, number: int, base: str) -> None:
        """A branch forward, or the end; back edges are not taken."""
        going = self.active & self._guard(instruction)
        label = instruction.operands[0] if base == "bra" else None
        if isinstance(label, Symbol):
            if self.body.labels.get(label.name, -1) <= number:
                return
            arrived = self._waiting.get(label.name, np.False_)
            self._waiting[label.name] = arrived | going
        if self._is_sure(instruction):
            self.active = self.active & ~going

    # ---- loops

    def _written_in_loops(self) -> dict[str, set[int]]:
        """For each label that a later branch goes back to, the registers written in between."""
        found: dict[str, set[int]] = {}
        instructions = self.body.instructions
        for number, instruction in enumerate(instructions):
            if not instruction.opcode.startswith("bra") or not instruction.operands:
                continue
            label = instruction.operands[0]
            start = self.body.labels.get(label.name, number + 1) if isinstance(label, Symbol) else 0
            if isinstance(label, Symbol) and start <= number:
                inside = instructions[start : number + 1]
                slots = {reg.slot for each in inside for reg in _destinations(each)}
                found.setdefault(label.name, set()).update(slots)
        return found

    def _doubt(self, slots: set[int]) -> None:
        """Values of before a loop that the loop changes are those of its first turn only."""
        for slot in slots & self.values.keys():
            self.values[slot] = Known(self.values[slot].bits, False)


def _destinations(instruction: Instruction) -> list[Reg]:
    """The registers an instruction may write: its first operand, unless that is an address."""
    if not instruction.operands:
        return []
    first = instruction.operands[0]
    if isinstance(first, Pair):
        parts: tuple[Operand, ...] = (first.first, first.second)
    else:
        parts = first.items if isinstance(first, Vector) else (first,)
    return [part for part in parts if isinstance(part, Reg)]
