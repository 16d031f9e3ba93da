"""ld and st of all spaces and widths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .cohort import FaultError
from .lane_order import lane_bits
from .linker import filled
from .memory import Piece
from .opcode import Custom, Form, Mods, OpcodeError, opcode
from .races import disagreement
from .step import Step, lane_mask
from .storage import Access
from .syntax import Int, Mem, Operand, Reg, Sink, Symbol
from .types import RAW, Array, Type, any_along

if TYPE_CHECKING:
    from .cohort import Cohort
    from .linker import Linker
    from .syntax import Instruction

Address = Callable[["Cohort"], Array]


# ---- addresses


def link_address(operand: Operand, linker: Linker) -> tuple[Address, tuple[int, ...]]:
    """A closure that gives uint64 addresses [n, 32], and the register slots it reads."""
    if not isinstance(operand, Mem):
        raise OpcodeError("an address in brackets is expected")
    base, offset = operand.base, operand.offset
    if isinstance(base, Reg):
        if base.type.bits not in (32, 64):
            raise OpcodeError(f"`{base.name}` is too narrow for an address")
        return _register_address(base.slot, base.type.bits, offset), (base.slot,)
    value = base.value if isinstance(base, Int) else linker.address(base)
    fixed = np.uint64((value + offset) % (1 << 64))
    return (lambda c: np.full((c.num_warps, 32), fixed)), ()


def _register_address(slot: int, bits: int, offset: int) -> Address:
    displacement = np.uint64(offset % (1 << 64))
    if bits == 64:
        if not offset:
            return lambda c: c.regs[slot]
        return lambda c: c.regs[slot] + displacement
    # The sum is formed in the register's width: a base may lie before 0.
    mask = np.uint64(0xFFFFFFFF)
    return lambda c: (c.regs[slot].astype(np.uint64) + displacement) & mask


# ---- reading and writing


@dataclass(frozen=True, slots=True)
class Site:
    """Where memory is accessed from: PTX `line`, `space`, and how. `strong` accesses (volatile,
    relaxed, acquire, release) cannot race."""

    line: int
    space: str
    access: Access
    strong: bool = False


def read(
    c: Cohort, site: Site, address: Array, on: Array | None
) -> tuple[list[Array], list[Array] | None]:
    """Elements of an access, each [n, 32] (zero where off), and which of their bits are undefined
    (None: none are)."""
    access = site.access
    flat = address if on is None else address[on]
    if not flat.size:
        raw = RAW[8 * access.unit]
        return [np.zeros(c.mask.shape, raw) for _ in range(access.elements)], None
    machine = c.machine
    pieces = machine.memory.resolve(c, site.space, flat, on, access, False)
    for piece in pieces:
        shared = piece.storage is machine.memory.shared
        if machine.races is not None and shared and not site.strong:
            lanes = lanes_of(c, on, piece.where)
            bits = lane_bits(c, lanes)
            machine.races.load(c, site.line, piece.place, access, lanes, bits)
        if machine.traffic is not None:
            lanes = lanes_of(c, on, piece.where)
            machine.traffic.count(c, site.line, shared, piece.place, access, lanes)
    values, bad = _gather(pieces, flat.shape, access)
    return _columns(values, access, on), None if bad is None else _columns(bad, access, on)


def _columns(values: Array, access: Access, on: Array | None) -> list[Array]:
    """The elements one by one, spread over the lanes."""
    if access.elements == 1:
        columns = [values]
    else:
        columns = list(np.ascontiguousarray(np.moveaxis(values, -1, 0)))
    return columns if on is None else [_spread(column, on) for column in columns]


def lanes_of(c: Cohort, on: Array | None, where: Array | None) -> Array | None:
    """The lanes of a piece: `where` counts among the lanes `on`."""
    if where is None:
        return on
    lanes = np.zeros(c.mask.shape, bool)
    places = np.arange(lanes.size) if on is None else np.flatnonzero(on)
    lanes.reshape(-1)[places[where]] = True
    return lanes


def _gather(
    pieces: list[Piece], shape: tuple[int, ...], access: Access
) -> tuple[Array, Array | None]:
    """Elements and their undefined bits, of the lanes `shape`."""
    bad: Array | None = None
    if len(pieces) == 1 and pieces[0].where is None:
        storage, index, _ = pieces[0]
        values = storage.view(access).take(index, axis=0)
        if storage.defined is not None:
            shadow = storage.shadow(access).take(index, axis=0)
            bad = None if undefined_lanes(shadow, access) is None else ~shadow
        return values, bad
    size = int(np.prod(shape))
    tail = (access.elements,) if access.elements > 1 else ()
    values = np.zeros((size, *tail), RAW[8 * access.unit])
    found = np.zeros_like(values)
    for storage, index, where in pieces:
        values[where] = storage.view(access)[index.reshape(-1)]
        if storage.defined is not None:
            found[where] = ~storage.shadow(access)[index.reshape(-1)]
    if found.any():
        bad = found.reshape(*shape, *tail)
    return values.reshape(*shape, *tail), bad


def undefined_lanes(shadow: Array, access: Access) -> Array | None:
    """Lanes with an undefined bit; None if there are none."""
    wrong: Array = shadow != shadow.dtype.type(access.defined)
    if not wrong.any():
        return None
    return any_along(wrong, -1) if access.elements > 1 else wrong


def _spread(values: Array, on: Array) -> Array:
    result = np.zeros(on.shape, values.dtype)
    result[on] = values
    return result


def undefined_bits_of(c: Cohort, slots: tuple[int, ...]) -> list[Array] | None:
    """The undefined bits of registers whose values are stored; None if all are defined."""
    if not any(slot in c.undefined for slot in slots):
        return None
    return [
        np.zeros_like(c.lanes(slot)) if bits is None else bits
        for slot in slots
        for bits in (c.undefined_bits(slot),)
    ]


def _require_defined(c: Cohort, slots: tuple[int, ...], on: Array | None) -> None:
    """Raises FaultError if one of these registers has undefined bits in an active lane."""
    for slot in slots:
        bad = c.undefined.get(slot)
        if bad is not None and (used := bad & (c.mask if on is None else on)).any():
            name = c.machine.register_name(slot)
            raise FaultError(f"`{name}` has no defined value in {c.lane_name(used)}")


def write(
    c: Cohort,
    site: Site,
    address: Array,
    on: Array | None,
    values: list[Array],
    unsure: list[Array] | None = None,
) -> None:
    """Stores elements [n, 32], whose bits `unsure` are undefined. Lanes that hit one place must
    agree, unless the site is strong: then the last wins."""
    access, memory, races = site.access, c.machine.memory, c.machine.races
    flat = address if on is None else address[on]
    if not flat.size:
        return
    data = _together(values, on, access)
    bad = None if unsure is None else _together(unsure, on, access)
    if bad is not None:
        data = data & ~bad
    for storage, index, where in memory.resolve(c, site.space, flat, on, access, True):
        part, hidden = data, bad
        if where is not None:
            part = _rows(data, access)[where]
            hidden = None if bad is None else _rows(bad, access)[where]
        if storage.defined is None and hidden is not None and hidden.any():
            raise FaultError("a value that is not defined is stored to global memory")
        lanes = on if site.strong else lanes_of(c, on, where)
        shared = storage is memory.shared
        if shared and races is not None and not site.strong:
            races.store(c, site.line, index, access, lanes, part, hidden)
        if c.machine.traffic is not None:
            c.machine.traffic.count(c, site.line, shared, index, access, lanes)
        storage.store(access, index, part, hidden)
        if not site.strong and not np.array_equal(stored := storage.view(access)[index], part):
            raise disagreement(c, "shared" if shared else site.space, stored != part, lanes)


def _together(columns: list[Array], on: Array | None, access: Access) -> Array:
    """The elements of the active lanes side by side."""
    chosen = columns if on is None else [column[on] for column in columns]
    data = chosen[0] if access.elements == 1 else np.stack(chosen, -1)
    raw = RAW[8 * access.unit]
    return data if data.dtype == raw else data.astype(raw)


def _rows(data: Array, access: Access) -> Array:
    return data.reshape(-1, access.elements) if access.elements > 1 else data.reshape(-1)


# ---- instructions


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the modifiers of a ld or st say."""

    space: str
    access: Access
    type: Type
    strong: bool
    acquire: bool
    release: bool
    hint: bool


_SPACES = (
    "global",
    "shared::cta",
    "shared::cluster",
    "shared",
    "local",
    "const",
    "param::entry",
    "param",
)


def space_of(mods: Mods, default: str = "generic") -> str:
    space = mods.choice(*_SPACES, default=default)
    mods.flag("unified")
    if space == "shared::cluster":
        return "cluster"
    space = space.partition("::")[0]
    return "global" if space == "const" else space


def _kind(mods: Mods) -> _Kind:
    acquire, release = mods.flag("acquire"), mods.flag("release")
    strong = any([mods.flag(name) for name in ("volatile", "relaxed", "mmio")])
    mods.flags("weak", "cta", "cluster", "gpu", "sys", "nc", "async")
    space = space_of(mods)
    mods.flags("ca", "cg", "cs", "lu", "cv", "wb", "wt")
    hint = "L2::cache_hint" in mods.parts
    mods.drop("L1::")
    mods.drop("L2::")
    count = int(mods.choice("v2", "v4", "v8", default="v1")[1:])
    type_ = mods.type()
    if type_.bits not in (8, 16, 32, 64) or type_.bits * count > 256:
        raise OpcodeError(f"`{mods.text}`: type `.{type_.name}` is not supported")
    access = Access(type_.bits // 8, count)
    return _Kind(space, access, type_, strong or acquire or release, acquire, release, hint)


def _count_operands(instruction: Instruction, kind: _Kind) -> None:
    found, wanted = len(instruction.operands), 3 if kind.hint else 2
    if found != wanted:
        raise OpcodeError(f"`{instruction.opcode}` takes {wanted} operands, not {found}")


@opcode("ld", "ldu")
def ld(mods: Mods) -> Form:
    kind = _kind(mods)
    return Custom(lambda instruction, linker: _build_ld(instruction, linker, kind))


def _build_ld(instruction: Instruction, linker: Linker, kind: _Kind) -> Step:
    _count_operands(instruction, kind)
    items = linker.vector(instruction.operands[0], kind.access.elements)
    outs = tuple(linker.dest(item, kind.type, wider=True) for item in items)
    widen = [_widening(item, kind.type) for item in items]
    if kind.space == "param":
        return _build_ld_param(instruction, linker, kind, outs, widen)
    address, reads = link_address(instruction.operands[1], linker)
    guard, negated = _guard_of(instruction)
    site = Site(instruction.line, kind.space, kind.access, kind.strong)
    linker.note_access(kind.space, kind.access.unit)

    def run(c: Cohort) -> None:
        on = lane_mask(c, guard, negated)
        columns, bad = read(c, site, address(c), on)
        for number, (slot, change) in enumerate(zip(outs, widen, strict=True)):
            value, unsure = columns[number], None if bad is None else bad[number]
            if change is not None:
                value, unsure = change(value), None if unsure is None else change(unsure)
            c.write(slot, value, on, unsure)
        if site.strong:
            c.spinning = True
            c.order(kind.acquire, release=False)

    return Step(run, reads, outs, strict=True, own=True)


def _guard_of(instruction: Instruction) -> tuple[int | None, bool]:
    guard = instruction.guard
    return (None if guard is None else guard.slot), instruction.negated


def _widening(item: Operand, type_: Type) -> Callable[[Array], Array] | None:
    """Extends a loaded element to a wider register, by its type's sign."""
    if isinstance(item, Sink) or not isinstance(item, Reg) or item.type.bits == type_.bits:
        return None
    wide = item.type.raw
    if type_.signed:
        signed = np.dtype(f"i{item.type.bits // 8}")
        return lambda column: column.view(type_.view).astype(signed).view(wide)
    return lambda column: column.astype(wide)


def _build_ld_param(
    instruction: Instruction,
    linker: Linker,
    kind: _Kind,
    outs: tuple[int, ...],
    widen: list[Callable[[Array], Array] | None],
) -> Step:
    operand = instruction.operands[1]
    if not isinstance(operand, Mem) or not isinstance(operand.base, Symbol):
        raise OpcodeError("`ld.param` needs a parameter's name")
    param = linker.params.get(operand.base.name)
    if param is None:
        raise OpcodeError(f"`{operand.base.name}` is no parameter")
    within = operand.base.offset + operand.offset
    if within < 0 or within + kind.access.width > param.size:
        raise OpcodeError(f"{kind.access.width} bytes at {within} exceed `{param.name}`")
    start, unit, raw = param.offset + within, kind.access.unit, RAW[8 * kind.access.unit]

    def run(c: Cohort) -> None:
        for number, (slot, change) in enumerate(zip(outs, widen, strict=True)):
            place = start + number * unit
            value = c.machine.memory.params[place : place + unit].view(raw)[0]
            column = filled(c.num_warps, value, raw)
            c.regs[slot] = column if change is None else change(column)

    return Step(run, (), outs)


@opcode("st")
def st(mods: Mods) -> Form:
    kind = _kind(mods)
    return Custom(lambda instruction, linker: _build_st(instruction, linker, kind))


def _build_st(instruction: Instruction, linker: Linker, kind: _Kind) -> Step:
    _count_operands(instruction, kind)
    space = kind.space
    if space == "param":
        _check_argument(instruction, linker)
        space = "local"
    address, reads = link_address(instruction.operands[0], linker)
    items = linker.vector(instruction.operands[1], kind.access.elements)
    ins = tuple(linker.source(item, kind.type, wider=True) for item in items)
    guard, negated = _guard_of(instruction)
    site = Site(instruction.line, space, kind.access, kind.strong)
    linker.note_access(space, kind.access.unit)

    def run(c: Cohort) -> None:
        c.order(False, kind.release)
        on = lane_mask(c, guard, negated)
        unsure = undefined_bits_of(c, ins) if c.undefined else None
        if unsure is not None and space == "global":
            _require_defined(c, ins, on)
        write(c, site, address(c), on, [c.lanes(slot) for slot in ins], unsure)

    data = tuple(slot for slot in ins if not linker.is_constant(slot))
    return Step(run, reads, (), strict=True, own=True, data=data)


def _check_argument(instruction: Instruction, linker: Linker) -> None:
    """Only arguments of calls can be stored to; they are variables of the function."""
    place = instruction.operands[0]
    name = place.base.name if isinstance(place, Mem) and isinstance(place.base, Symbol) else ""
    if linker.spaces.get(name) != "local":
        raise OpcodeError(f"`{instruction.opcode}`: parameters can't be stored")
