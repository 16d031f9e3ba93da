"""mov (with packing and unpacking of vectors), cvta and isspacep's kin: no arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .linker import expect
from .memory import window_of
from .opcode import Custom, Form, Mods, OpcodeError, opcode
from .step import Flow, Step
from .syntax import Reg, Sink, Symbol, Vector
from .types import RAW, TYPES, Array, Type

if TYPE_CHECKING:
    from .cohort import Cohort
    from .linker import Linker
    from .syntax import Instruction


def _identity(a: Array) -> Array:
    return a


@opcode("mov")
def mov(mods: Mods) -> Form:
    type_ = mods.type()
    return Custom(lambda instruction, linker: _build_mov(instruction, linker, type_))


def _build_mov(instruction: Instruction, linker: Linker, type_: Type) -> Step:
    expect(instruction, 2)
    out, source = instruction.operands
    if isinstance(source, Vector):
        return _build_pack(out, source, linker, type_)
    if isinstance(out, Vector):
        return _build_unpack(out, source, linker, type_)
    dest = (linker.dest(out, type_, wider=False),)
    if isinstance(source, Symbol) and linker.spaces.get(source.name) == "shared":
        return _build_own_address(dest[0], linker.source(source, type_), type_)
    # 64-bit clocks and 32-bit specials may be moved as either width.
    if isinstance(source, Reg) and source.name in linker.body.specials:
        slot = source.slot
        if source.type.bits != type_.bits:
            raw = type_.raw
            return linker.pure_step(lambda a: a.astype(raw), dest, (slot,))
        return linker.pure_step(_identity, dest, (slot,))
    return linker.pure_step(_identity, dest, (linker.source(source, type_),), Flow(1))


def _build_own_address(out: int, source: int, type_: Type) -> Step:
    """The address of a shared variable, which says whose it is in a cluster."""

    def run(c: Cohort) -> None:
        clusters = c.machine.clusters
        address = np.broadcast_to(c.regs[source], c.mask.shape).copy()
        if clusters.size > 1:
            ranks = clusters.ranks(c.slots).astype(np.uint32)
            address = clusters.map(c, address, ranks, c.mask).astype(type_.raw)
        c.regs[out] = address

    return Step(run, (), (out,))


def _build_pack(out: object, source: Vector, linker: Linker, type_: Type) -> Step:
    """mov.b32 %r, {%h0, %h1}: the first element is least significant."""
    count = len(source.items)
    part = _part(type_, count)
    ins = tuple(linker.source(item, part) for item in source.items)
    if not isinstance(out, Reg):
        raise OpcodeError("packing needs a destination register")
    if type_.bits == 128:
        raise OpcodeError("128-bit registers are not supported")
    raw = type_.raw

    def pack(*parts: Array) -> Array:
        return np.stack(np.broadcast_arrays(*parts), -1).view(raw)[..., 0]

    return linker.pure_step(pack, (linker.dest(out, type_),), ins, Flow(count))


def _build_unpack(out: Vector, source: object, linker: Linker, type_: Type) -> Step:
    count = len(out.items)
    part = _part(type_, count)
    if not isinstance(source, Reg):
        raise OpcodeError("unpacking needs a source register")
    kept = [i for i, item in enumerate(out.items) if not isinstance(item, Sink)]
    outs = tuple(linker.dest(out.items[i], part) for i in kept)
    raw = part.raw

    def unpack(value: Array) -> tuple[Array, ...]:
        pieces = np.ascontiguousarray(value).view(raw)
        return tuple(np.ascontiguousarray(pieces[..., i::count]) for i in kept)

    slots = (linker.source(source, type_),)
    if len(outs) == 1:
        return linker.pure_step(lambda value: unpack(value)[0], outs, slots, Flow(1))
    return linker.pure_step(unpack, outs, slots, Flow(1))


def _part(type_: Type, count: int) -> Type:
    bits = type_.bits // count
    if type_.bits % count or bits not in RAW or bits < 8:
        raise OpcodeError(f"`.{type_.name}` can't be split into {count}")
    return TYPES[f"b{bits}"]


@opcode("cvta")
def cvta(mods: Mods) -> Form:
    """Generic addresses are shared or local offsets plus that window's base; global is itself."""
    to = mods.flag("to")
    mods.flags("cta")
    space = mods.choice("shared", "global", "local", "const", "param", "shared::cta")
    type_ = mods.type("u64", "u32")
    base = np.uint64(window_of(space.removesuffix("::cta")))
    if type_.bits == 32 or not base:
        return Custom(lambda instruction, linker: _build_cvta(instruction, linker, type_, 0))
    shift = int(base) if not to else -int(base)
    return Custom(lambda instruction, linker: _build_cvta(instruction, linker, type_, shift))


def _build_cvta(instruction: Instruction, linker: Linker, type_: Type, shift: int) -> Step:
    expect(instruction, 2)
    out, source = instruction.operands
    dest = (linker.dest(out, type_),)
    if isinstance(source, Symbol) and linker.spaces.get(source.name) == "param":
        raise OpcodeError("the address of a parameter is not supported")
    slots = (linker.source(source, type_),)
    if not shift:
        return linker.pure_step(_identity, dest, slots)
    offset = np.uint64(shift % (1 << 64))
    return linker.pure_step(lambda a: a + offset, dest, slots)


@opcode("prefetch", "prefetchu", "applypriority", "discard")
def prefetch(mods: Mods) -> Form:
    mods.flags("global", "local", "tensormap", "const", "param")
    mods.drop("L1")
    mods.drop("L2")
    mods.flags("evict_last", "evict_normal")
    return Custom(_build_nothing)


@opcode("nanosleep", "pmevent")
def nothing(mods: Mods) -> Form:
    mods.flags("u32", "mask")
    return Custom(_build_nothing)


def _build_nothing(instruction: Instruction, linker: Linker) -> Step:
    del instruction, linker
    return _nothing_step()


def _nothing_step() -> Step:
    return Step(lambda c: None, (), ())


@opcode("createpolicy")
def createpolicy(mods: Mods) -> Form:
    """A cache policy is only a hint here: any value does."""
    kind = mods.choice("fractional", "range", "cvt")
    mods.drop("L2")
    mods.flags("global", "evict_last", "evict_first", "evict_normal", "evict_unchanged")
    del kind
    type_ = mods.type("b64")
    return Custom(lambda instruction, linker: _build_policy(instruction, linker, type_))


def _build_policy(instruction: Instruction, linker: Linker, type_: Type) -> Step:
    dest = (linker.dest(instruction.operands[0], type_),)
    return linker.pure_step(_identity, dest, (linker.constant(64, 0),))
