"""atom and red: read-modify-write of global and shared memory.

Lanes of one instruction that hit the same place act one after the other, in lane order, or in a
random order when the launch has a seed. The arithmetic is that of the plain instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .access import Site, lanes_of, link_address, space_of
from .cohort import FaultError
from .memory import Piece
from .opcode import Custom, Form, Mods, OpcodeError, Pure, form_of, opcode
from .step import Step, lane_mask
from .storage import Access
from .types import Array, Type

if TYPE_CHECKING:
    from .cohort import Cohort
    from .linker import Linker
    from .syntax import Instruction

Update = Callable[[Array, Array, Array], Array]

_PLAIN = {
    "add": ("u32", "s32", "u64", "s64", "f32", "f64", "f16", "bf16", "f16x2", "bf16x2"),
    "min": ("u32", "s32", "u64", "s64", "f16", "bf16", "f16x2", "bf16x2"),
    "max": ("u32", "s32", "u64", "s64", "f16", "bf16", "f16x2", "bf16x2"),
    "and": ("b32", "b64"),
    "or": ("b32", "b64"),
    "xor": ("b32", "b64"),
    "exch": ("b32", "b64"),
    "cas": ("b16", "b32", "b64"),
    "inc": ("u32",),
    "dec": ("u32",),
}
_SPECIAL: dict[str, Update] = {
    "exch": lambda old, b, c: b,
    "cas": lambda old, b, c: np.where(old == b, c, old),
    "inc": lambda old, b, c: np.where(old >= b, 0, old + np.uint32(1)).astype(np.uint32),
    "dec": lambda old, b, c: np.where((old == 0) | (old > b), b, old - np.uint32(1)),
}


@dataclass(frozen=True, slots=True)
class _Atomic:
    space: str
    type: Type
    count: int
    update: Update
    returns: bool
    hint: bool
    sources: int
    order: tuple[bool, bool]


@opcode("atom", "red")
def atom(mods: Mods) -> Form:
    if mods.flag("async"):
        raise OpcodeError(f"`{mods.text}` is not supported")
    both = mods.flag("acq_rel")
    order = mods.flag("acquire") or both, mods.flag("release") or both
    mods.flags("relaxed", "cta", "cluster", "gpu", "sys")
    space = space_of(mods)
    name = mods.choice(*_PLAIN)
    hint = "L2::cache_hint" in mods.parts
    mods.drop("L2::")
    mods.flag("noftz")
    count = int(mods.choice("v2", "v4", "v8", default="v1")[1:])
    type_ = mods.type(*_PLAIN[name])
    if count > 1 and space != "global":
        raise OpcodeError(f"`{mods.text}`: vectors are updated in global memory only")
    if count > 1 and (name != "add" or not type_.is_float or type_.bits * count > 128):
        raise OpcodeError(f"`{mods.text}`: no such vector")
    kind = _Atomic(
        space,
        type_,
        count,
        _update(name, type_, space),
        mods.base == "atom",
        hint,
        2 if name == "cas" else 1,
        order,
    )
    return Custom(lambda instruction, linker: _build(instruction, linker, kind))


def _update(name: str, type_: Type, space: str) -> Update:
    if name in _SPECIAL:
        return _SPECIAL[name]
    # The adder of global memory flushes f32 subnormals; the one of shared memory keeps them.
    ftz = ".ftz" if type_.name == "f32" and space not in ("shared", "cluster") else ""
    form = form_of(f"{name}{ftz}.{type_.name}")
    assert isinstance(form, Pure)
    fn = form.fn

    def run(old: Array, b: Array, c: Array) -> Array:
        # Plain instructions work on [warps, lanes]; here all lanes that act now form one row.
        result: Array = np.asarray(fn(old[None], b[None]))[0]
        return result

    return run


def _build(instruction: Instruction, linker: Linker, kind: _Atomic) -> Step:
    expected = kind.returns + 1 + kind.sources + kind.hint
    if len(instruction.operands) != expected:
        raise OpcodeError(f"`{instruction.opcode}` takes {expected} operands")
    operands = list(instruction.operands)
    outs: tuple[int, ...] = ()
    if kind.returns:
        items = linker.vector(operands.pop(0), kind.count)
        outs = tuple(linker.dest(item, kind.type) for item in items)
    address, reads = link_address(operands[0], linker)
    ins = tuple(linker.source(v, kind.type) for v in linker.vector(operands[1], kind.count))
    third = linker.source(operands[2], kind.type) if kind.sources == 2 else ins[0]
    guard = None if instruction.guard is None else instruction.guard.slot
    negated = instruction.negated
    unit = Access(kind.type.bits // 8, 1)
    site = Site(instruction.line, kind.space, unit)
    linker.note_access(kind.space, unit.unit)

    def run(c: Cohort) -> None:
        on = lane_mask(c, guard, negated)
        lanes = np.ones(c.mask.shape, bool) if on is None else on
        c.order(acquire=False, release=kind.order[1])
        first = address(c)
        if kind.count > 1 and (first[lanes] % np.uint64(kind.count * unit.unit)).any():
            raise FaultError(f"a vector of {kind.count * unit.unit} bytes is not aligned to them")
        for number, slot in enumerate(ins):
            old = _apply(
                c,
                kind,
                site,
                first + np.uint64(number * unit.unit),
                lanes,
                _active(c, slot, lanes),
                _active(c, third, lanes),
            )
            if outs:
                result = np.zeros(c.mask.shape, kind.type.raw)
                result[lanes] = old
                c.write(outs[number], result, on)
        c.spinning = True
        c.order(acquire=kind.order[0], release=False)

    used = tuple(s for s in (*reads, *ins, third) if not linker.is_constant(s))
    return Step(run, used, outs, strict=True, own=True)


def _active(c: Cohort, slot: int, lanes: Array) -> Array:
    return c.lanes(slot)[lanes]


def _apply(
    c: Cohort, kind: _Atomic, site: Site, address: Array, lanes: Array, b: Array, third: Array
) -> Array:
    """Updates memory for the active lanes (flat) and returns the old values."""
    flat, unit, machine = address[lanes], site.access, c.machine
    old = np.zeros(flat.shape, kind.type.raw)
    if not flat.size:
        return old
    for piece in machine.memory.resolve(c, site.space, flat, lanes, unit, True):
        where = np.arange(len(flat)) if piece.where is None else piece.where
        if piece.storage.defined is not None:
            shadow = piece.storage.shadow(unit)[piece.place]
            if (shadow != unit.defined).any():
                raise FaultError("atomic access to memory that was never written")
            if machine.races is not None and piece.storage is machine.memory.shared:
                on = lanes_of(c, lanes, piece.where)
                machine.races.update(c, site.line, piece.place, unit, on)
        for turn in _turns(c, piece):
            places, index = where[turn], piece.place[turn]
            cells = piece.storage.view(unit)
            before = cells[index]
            old[places] = before
            cells[index] = kind.update(before, b[places], third[places])
    return old


def _turns(c: Cohort, piece: Piece) -> list[Array]:
    """Lanes in rounds: no two of a round touch the same place."""
    index = piece.place
    order = np.arange(len(index))
    if c.machine.random is not None:
        c.machine.random.shuffle(order)  # type: ignore[arg-type]
    by_place = order[np.argsort(index[order], kind="stable")]
    sorted_index = index[by_place]
    starts = np.flatnonzero(np.r_[True, sorted_index[1:] != sorted_index[:-1]])
    lengths = np.diff(np.r_[starts, len(index)])
    rank = np.arange(len(index)) - np.repeat(starts, lengths)
    return [by_place[rank == turn] for turn in range(int(lengths.max()))]
