"""Links parsed instructions into steps: operands become register slots, literals constant slots."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .opcode import OpcodeError, Pure, form_of
from .step import Control, Flow, Run, Spread, Step
from .syntax import (
    FloatBits,
    FunctionBody,
    Instruction,
    Int,
    Operand,
    Pair,
    Reg,
    Sink,
    Symbol,
    Variable,
    Vector,
)
from .types import RAW, Array, Type

if TYPE_CHECKING:
    from .cohort import Cohort


class Linker:
    """Resolves the operands of one function.

    Slots 0 .. registers-1 are registers; constants follow, each an array [1, 1] that broadcasts
    (packed pairs: [1, 32], since the elements of a lane are read along the lanes' axis).
    """

    def __init__(self, body: FunctionBody, addresses: dict[str, int], spaces: dict[str, str]):
        self.body = body
        self.addresses = addresses
        self.spaces = spaces
        self.params = {param.name: param for param in body.params}
        self.num_registers = len(body.registers)
        self.constants: list[Array] = []
        self._slots: dict[tuple[int, int, int], int] = {}
        self.shared_unit = 4  # bytes of the narrowest access that may be to shared memory

    # ---- operands

    def constant(self, bits: int, value: int, lanes: int = 1) -> int:
        """The slot of a literal, given as raw bits of a width."""
        key = bits, value, lanes
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = self.num_registers + len(self.constants)
            self.constants.append(_literal(bits, value, lanes))
        return slot

    def is_constant(self, slot: int) -> bool:
        return slot >= self.num_registers

    def source(self, operand: Operand, type_: Type, wider: bool = False) -> int:
        """The slot of a source of `type_`; `wider` allows registers wider than the type."""
        if isinstance(operand, Reg):
            bits = operand.type.bits
            if bits != type_.bits and not (wider and bits > type_.bits):
                raise OpcodeError(
                    f"`{operand.name}` has {bits} bits where `.{type_.name}` is expected"
                )
            return operand.slot
        match operand:
            case Int(value):
                lanes = 32 if type_.name.endswith("x2") else 1
                return self.constant(type_.bits, integer_bits(value, type_), lanes)
            case FloatBits():
                return self.constant(type_.bits, literal_bits(operand, type_))
            case Symbol():
                return self.constant(type_.bits, self.address(operand))
        raise OpcodeError(f"a `.{type_.name}` source is expected, not {describe(operand)}")

    def dest(self, operand: Operand, type_: Type, wider: bool = False) -> int:
        """The slot of a destination; `_` gets a slot that nobody reads."""
        if not isinstance(operand, Reg):
            if isinstance(operand, Sink):
                return self.trash()
            raise OpcodeError(f"a destination register is expected, not {describe(operand)}")
        if operand.name in self.body.specials:
            raise OpcodeError(f"`{operand.name}` can't be written")
        return self.source(operand, type_, wider)

    def trash(self) -> int:
        """A slot for unwanted results; it lies behind every constant, so it is made last."""
        return -1

    def address(self, symbol: Symbol) -> int:
        if symbol.name not in self.addresses:
            raise OpcodeError(f"`{symbol.name}` is not declared")
        return self.addresses[symbol.name] + symbol.offset

    def vector(self, operand: Operand, count: int) -> tuple[Operand, ...]:
        """The elements of a vector operand of `count`; a plain operand is a vector of one."""
        items = operand.items if isinstance(operand, Vector) else (operand,)
        if len(items) != count:
            raise OpcodeError(f"a vector of {count} is expected, not {describe(operand)}")
        return items

    def note_access(self, space: str, unit: int) -> None:
        if space in ("shared", "cluster", "generic"):
            self.shared_unit = min(self.shared_unit, unit)

    # ---- instructions

    def link(self, instruction: Instruction) -> Step | Control:
        """The step of an instruction. Raises OpcodeError if its opcode or operands are wrong."""
        form = form_of(instruction.opcode)
        linked = (
            self._pure(form, instruction)
            if isinstance(form, Pure)
            else form.build(instruction, self)
        )
        linked.line = instruction.line
        if instruction.guard is not None:
            linked.guard = instruction.guard.slot
            linked.negated = instruction.negated
            if isinstance(linked, Step) and linked.writes and not linked.own:
                linked.run = _guarded(linked.run, linked.guard, linked.negated, linked.writes)
        return linked

    def _pure(self, form: Pure, instruction: Instruction) -> Step:
        operands = instruction.operands
        if len(operands) != len(form.outs) + len(form.ins):
            expect(instruction, len(form.outs) + len(form.ins))
        outs = tuple(map(self.dest, operands, form.outs))
        ins = tuple(map(self.source, operands[len(outs) :], form.ins))
        step = self.pure_step(form.fn, outs, ins, form.flow)
        if step.spread is not None and step.spread.flow.halves:
            step.spread.widths = tuple(type_.bits for type_ in form.outs)
        return step

    def pure_step(
        self,
        fn: Callable[..., Any],
        outs: tuple[int, ...],
        ins: tuple[int, ...],
        flow: Flow | None = None,
    ) -> Step:
        """A step that computes `outs` from `ins` lane by lane; `flow` as in `Pure`."""
        run = _run_pure(fn, outs, ins)
        reads = tuple([slot for slot in ins if slot < self.num_registers])
        if not reads:
            run = _broadcasting(run, outs)
        step = Step(run, reads, outs)
        if flow is not None:
            step.spread = Spread(flow, fn, ins)
        return step


@lru_cache(maxsize=4096)
def _literal(bits: int, value: int, lanes: int) -> Array:
    """Registers alias, so nobody changes it, and programs can share it."""
    literal: Array = np.full((1, lanes), value, RAW[bits])
    literal.setflags(write=False)
    return literal


def expect(instruction: Instruction, *counts: int) -> None:
    """Checks the number of operands."""
    found = len(instruction.operands)
    if found not in counts:
        wanted = " or ".join(map(str, counts))
        raise OpcodeError(f"`{instruction.opcode}` takes {wanted} operands, not {found}")


def describe(operand: Operand) -> str:
    match operand:
        case Reg(name):
            return f"`{name}`"
        case Symbol(name):
            return f"`{name}`"
        case Int(value):
            return f"`{value}`"
        case Vector(items):
            return f"a vector of {len(items)}"
        case Pair():
            return "a pair"
    return f"a {type(operand).__name__.lower()} operand"


def integer_bits(value: int, type_: Type) -> int:
    """An integer literal as raw bits; it must fit 64 bits, and is cut to the type like in PTX."""
    if not -(1 << 63) <= value < 1 << 64:
        raise OpcodeError(f"literal {value} does not fit 64 bits")
    if type_.bits == 1:
        return int(value != 0)
    return value % (1 << type_.bits)


def literal_bits(literal: FloatBits, type_: Type) -> int:
    if literal.width == type_.bits:
        return literal.bits
    if type_.is_float and literal.width == 64 and type_.bits == 32:
        number = struct.unpack("<d", literal.bits.to_bytes(8, "little"))[0]
        return int(np.array(number).astype(np.float32).view(np.uint32))
    if type_.is_float and literal.width == 32 and type_.bits == 64:
        number = struct.unpack("<f", literal.bits.to_bytes(4, "little"))[0]
        return int.from_bytes(struct.pack("<d", number), "little")
    raise OpcodeError(f"a {literal.width}-bit float literal does not fit `.{type_.name}`")


def variable_addresses(
    variables: Sequence[Variable], bases: dict[str, int], shared_static: int
) -> dict[str, int]:
    """Addresses of variables in their spaces; dynamic shared memory follows the static."""
    found: dict[str, int] = {}
    for variable in variables:
        if variable.external:
            found[variable.name] = -(-shared_static // variable.align) * variable.align
        else:
            found[variable.name] = bases[variable.space] + variable.offset
    return found


# ---- closures


def _run_pure(fn: Callable[..., Any], outs: tuple[int, ...], ins: tuple[int, ...]) -> Run:
    if len(outs) > 1:
        return _run_many(fn, outs, ins)
    (out,) = outs
    if len(ins) == 1:
        return _run_1(fn, out, ins[0])
    if len(ins) == 2:
        return _run_2(fn, out, ins[0], ins[1])
    if len(ins) == 3:
        return _run_3(fn, out, ins[0], ins[1], ins[2])

    def run(c: Cohort) -> None:
        regs = c.regs
        regs[out] = fn(*[regs[slot] for slot in ins])

    return run


def _run_1(fn: Callable[..., Any], out: int, a: int) -> Run:
    def run(c: Cohort) -> None:
        regs = c.regs
        regs[out] = fn(regs[a])

    return run


def _run_2(fn: Callable[..., Any], out: int, a: int, b: int) -> Run:
    def run(c: Cohort) -> None:
        regs = c.regs
        regs[out] = fn(regs[a], regs[b])

    return run


def _run_3(fn: Callable[..., Any], out: int, a: int, b: int, d: int) -> Run:
    def run(c: Cohort) -> None:
        regs = c.regs
        regs[out] = fn(regs[a], regs[b], regs[d])

    return run


def _run_many(fn: Callable[..., Any], outs: tuple[int, ...], ins: tuple[int, ...]) -> Run:
    def run(c: Cohort) -> None:
        regs = c.regs
        results = fn(*[regs[slot] for slot in ins])
        for out, value in zip(outs, results, strict=True):
            regs[out] = value

    return run


def _broadcasting(inner: Run, outs: tuple[int, ...]) -> Run:
    """All sources are literals, so the results have shape [1, 1] and must be spread over lanes."""

    def run(c: Cohort) -> None:
        inner(c)
        for out in outs:
            value = c.regs[out]
            c.regs[out] = filled(c.num_warps, value[0, 0], value.dtype)

    return run


@lru_cache(maxsize=1024)
def filled(num_warps: int, value: Any, dtype: np.dtype[Any]) -> Array:
    """Every lane with the same raw bits. Registers alias, so nobody changes it."""
    lanes: Array = np.full((num_warps, 32), value, dtype)
    lanes.setflags(write=False)
    return lanes


def _guarded(inner: Run, guard: int, negated: bool, writes: tuple[int, ...]) -> Run:
    """Keeps the old value of lanes whose guard is off; lanes without one become undefined."""

    def run(c: Cohort) -> None:
        regs = c.regs
        on = ~regs[guard] if negated else regs[guard]
        old = [regs[slot] for slot in writes]
        inner(c)
        for slot, before in zip(writes, old, strict=True):
            if before is None:
                off = ~on & c.mask
                if off.any():
                    c.undefined[slot] = off
            else:
                regs[slot] = np.where(on, regs[slot], before)

    return run
