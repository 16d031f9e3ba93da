"""Instructions that mix the lanes of a warp: shfl, vote, match, elect, redux, activemask."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .cohort import FaultError
from .control import check_members
from .linker import expect
from .opcode import Custom, Form, Mods, OpcodeError, opcode
from .step import Step, lane_mask
from .syntax import Not, Operand, Pair
from .types import B32, PRED, U32, Array, Type, any_along

if TYPE_CHECKING:
    from .cohort import Cohort
    from .linker import Linker
    from .syntax import Instruction

_LANES = np.arange(32, dtype=np.int64)


def _guard(instruction: Instruction) -> tuple[int | None, bool]:
    guard = instruction.guard
    return (None if guard is None else guard.slot), instruction.negated


def _registers(linker: Linker, *slots: int) -> tuple[int, ...]:
    return tuple(slot for slot in slots if slot >= 0 and not linker.is_constant(slot))


# ---- shfl


@opcode("shfl")
def shfl(mods: Mods) -> Form:
    if not mods.flag("sync"):
        raise OpcodeError(f"`{mods.text}` needs .sync")
    mode = mods.choice("up", "down", "bfly", "idx")
    mods.type("b32")
    return Custom(lambda instruction, linker: _build_shfl(instruction, linker, mode))


def _build_shfl(instruction: Instruction, linker: Linker, mode: str) -> Step:
    expect(instruction, 5)
    out, *sources = instruction.operands
    if isinstance(out, Pair):
        value_slot, valid_slot = linker.dest(out.first, B32), linker.dest(out.second, PRED)
    else:
        value_slot, valid_slot = linker.dest(out, B32), linker.trash()
    a = linker.source(sources[0], B32)
    b, clamp, members = (linker.source(operand, U32) for operand in sources[1:])
    guard, negated = _guard(instruction)

    def run(c: Cohort) -> None:
        on = lane_mask(c, guard, negated)
        named = check_members(c, c.regs[members], on)
        source, valid = _shuffle_source(mode, c.regs[b], c.regs[clamp])
        source, valid = (np.broadcast_to(x, c.mask.shape) for x in (source, valid))
        value = c.lanes(a)
        result = np.take_along_axis(value, source, 1)
        executing = c.mask if on is None else on
        if not (named is c.mask and c.full):
            absent = valid & executing & ~np.take_along_axis(executing, source, 1)
            if absent.any():
                raise FaultError(f"shuffle from a lane that is not here, by {c.lane_name(absent)}")
        bad = c.undefined.get(a)
        if bad is not None:
            bad = np.take_along_axis(bad, source, 1)
        c.write(value_slot, result, on, bad)
        if valid_slot >= 0:
            c.write(valid_slot, valid, on)

    reads = _registers(linker, b, clamp, members)
    return _own(run, reads, (a,), (value_slot, valid_slot), linker)


def _own(
    run: Callable[[Cohort], None],
    strict: tuple[int, ...],
    data: tuple[int, ...],
    writes: tuple[int, ...],
    linker: Linker,
) -> Step:
    """A step that tracks undefined data itself; `strict` registers must be defined."""
    step = Step(run, strict, writes, strict=True, own=True)
    step.data = _registers(linker, *data)
    return step


def _shuffle_source(mode: str, b: Array, clamp: Array) -> tuple[Array, Array]:
    """Source lane and whether it is in range, for each lane; see the manual's pseudocode for c."""
    shift = (b & np.uint32(31)).astype(np.int64)
    bound = (clamp & np.uint32(31)).astype(np.int64)
    segment = ((clamp >> np.uint32(8)) & np.uint32(31)).astype(np.int64)
    most = (_LANES & segment) | (bound & ~segment)
    least = _LANES & segment
    if mode == "up":
        source = _LANES - shift
        valid = source >= most
    elif mode == "down":
        source = _LANES + shift
        valid = source <= most
    elif mode == "bfly":
        source = _LANES ^ shift
        valid = source <= most
    else:
        source = least | (shift & ~segment)
        valid = source <= most
    return np.where(valid, source, _LANES), valid


# ---- votes


@opcode("vote")
def vote(mods: Mods) -> Form:
    if not mods.flag("sync"):
        raise OpcodeError(f"`{mods.text}` needs .sync")
    mode = mods.choice("all", "any", "uni", "ballot")
    out = mods.type("b32" if mode == "ballot" else "pred")
    return Custom(lambda instruction, linker: _build_vote(instruction, linker, mode, out))


def _predicate(operand: Operand, linker: Linker) -> tuple[int, bool]:
    if isinstance(operand, Not):
        return linker.source(operand.reg, PRED), True
    return linker.source(operand, PRED), False


def _build_vote(instruction: Instruction, linker: Linker, mode: str, out: Type) -> Step:
    expect(instruction, 3)
    dest = linker.dest(instruction.operands[0], out)
    predicate, inverted = _predicate(instruction.operands[1], linker)
    members = linker.source(instruction.operands[2], U32)
    guard, negated = _guard(instruction)

    def run(c: Cohort) -> None:
        on = lane_mask(c, guard, negated)
        named = check_members(c, c.regs[members], on)
        votes = c.lanes(predicate)
        votes = (~votes if inverted else votes) & named
        if mode == "ballot":
            result: Array = ballot(votes)
        elif mode == "any":
            result = any_along(votes, 1)
        else:
            result = ~any_along(votes != named, 1)
            if mode == "uni":
                result = result | ~any_along(votes, 1)
        c.write(dest, np.repeat(result[:, None], 32, 1), on)

    return Step(run, _registers(linker, predicate, members), (dest,), strict=True, own=True)


def ballot(votes: Array) -> Array:
    """One bit a lane, [n] u32."""
    packed = np.packbits(votes, axis=1, bitorder="little")
    return packed.view(np.uint32)[:, 0]


@opcode("match")
def match(mods: Mods) -> Form:
    if not mods.flag("sync"):
        raise OpcodeError(f"`{mods.text}` needs .sync")
    mode, type_ = mods.choice("any", "all"), mods.type("b32", "b64")
    return Custom(lambda instruction, linker: _build_match(instruction, linker, mode, type_))


def _build_match(instruction: Instruction, linker: Linker, mode: str, type_: Type) -> Step:
    expect(instruction, 3)
    out = instruction.operands[0]
    if isinstance(out, Pair):
        dest, flag = linker.dest(out.first, B32), linker.dest(out.second, PRED)
    else:
        dest, flag = linker.dest(out, B32), linker.trash()
    value = linker.source(instruction.operands[1], type_)
    members = linker.source(instruction.operands[2], U32)
    guard, negated = _guard(instruction)

    def run(c: Cohort) -> None:
        on = lane_mask(c, guard, negated)
        named = check_members(c, c.regs[members], on)
        values = c.lanes(value)
        equal = (values[:, :, None] == values[:, None, :]) & named[:, None, :]
        masks = np.packbits(equal, axis=2, bitorder="little").view(np.uint32)[..., 0]
        if mode == "all":
            same = (equal == named[:, None, :]).all(2)
            masks = np.where(same, masks, np.uint32(0))
            if flag >= 0:
                c.write(flag, same, on)
        c.write(dest, masks, on)

    return Step(run, _registers(linker, value, members), (dest, flag), strict=True, own=True)


@opcode("elect")
def elect(mods: Mods) -> Form:
    if not mods.flag("sync"):
        raise OpcodeError(f"`{mods.text}` needs .sync")
    return Custom(_build_elect)


def _build_elect(instruction: Instruction, linker: Linker) -> Step:
    """elect.sync d|p, mask: the lowest member is elected."""
    expect(instruction, 2)
    out = instruction.operands[0]
    if not isinstance(out, Pair):
        raise OpcodeError("`elect.sync` needs `d|p`")
    dest, flag = linker.dest(out.first, B32), linker.dest(out.second, PRED)
    members = linker.source(instruction.operands[1], U32)
    guard, negated = _guard(instruction)

    def run(c: Cohort) -> None:
        on = lane_mask(c, guard, negated)
        leader = check_members(c, c.regs[members], on).argmax(1)[:, None]
        if dest >= 0:
            c.write(dest, np.repeat(leader, 32, 1).astype(np.uint32), on)
        c.write(flag, leader == _LANES, on)

    return Step(run, _registers(linker, members), (dest, flag), strict=True, own=True)


@opcode("activemask")
def activemask(mods: Mods) -> Form:
    mods.type("b32")
    return Custom(_build_activemask)


def _build_activemask(instruction: Instruction, linker: Linker) -> Step:
    expect(instruction, 1)
    dest = linker.dest(instruction.operands[0], B32)

    def run(c: Cohort) -> None:
        c.regs[dest] = np.repeat(ballot(c.mask)[:, None], 32, 1)

    return Step(run, (), (dest,))


# ---- redux

_REDUCE: dict[str, tuple[Any, int]] = {
    "add": (np.add, 0),
    "and": (np.bitwise_and, 0xFFFFFFFF),
    "or": (np.bitwise_or, 0),
    "xor": (np.bitwise_xor, 0),
}


@opcode("redux")
def redux(mods: Mods) -> Form:
    if not mods.flag("sync"):
        raise OpcodeError(f"`{mods.text}` needs .sync")
    name = mods.choice("add", "min", "max", "and", "or", "xor")
    type_ = mods.type("b32") if name in ("and", "or", "xor") else mods.type("u32", "s32")
    return Custom(lambda instruction, linker: _build_redux(instruction, linker, name, type_))


def _build_redux(instruction: Instruction, linker: Linker, name: str, type_: Type) -> Step:
    expect(instruction, 3)
    dest = linker.dest(instruction.operands[0], type_)
    value = linker.source(instruction.operands[1], type_)
    members = linker.source(instruction.operands[2], U32)
    guard, negated = _guard(instruction)
    info = np.iinfo(type_.view)
    extremes = {"min": (np.minimum, info.max), "max": (np.maximum, info.min)}
    fn, neutral = extremes[name] if name in extremes else _REDUCE[name]

    def run(c: Cohort) -> None:
        on = lane_mask(c, guard, negated)
        named = check_members(c, c.regs[members], on)
        values = c.lanes(value).view(type_.view)
        kept = np.where(named, values, type_.view.type(neutral))
        total = fn.reduce(kept, axis=1, dtype=type_.view)
        c.write(dest, np.repeat(total[:, None], 32, 1).view(type_.raw), on)

    return Step(run, _registers(linker, value, members), (dest,), strict=True, own=True)
