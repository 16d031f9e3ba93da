"""Plans shared memory: an offset for every tile, and one scratch area for conversions.

Tiles live from their allocation to `free_shared` or the function's end. Memory of freed tiles is
used again; an allocation that reuses it, or that stands in a loop, starts with a barrier, because
other threads may still read. A scratch area serves the reductions and layout conversions of a group
of threads, one at a time (each starts with a barrier).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

from tileloom.layouts import row_major
from tileloom.vm.diagnostics import Location, ResourceError
from tileloom.vm.instruction import Instruction
from tileloom.vm.instructions.mbarrier import AllocMbarrier
from tileloom.vm.instructions.memory import AllocShared, FreeShared
from tileloom.vm.ir import (
    Block,
    For,
    Function,
    Part,
    Value,
    While,
    blocks_of,
    instructions,
    instructions_by_part,
)
from tileloom.vm.types import BarrierType, SharedType

from ..lowering.registry import SCRATCH
from ..targets import Target

_ALIGNMENT = 128


@dataclass
class SharedPlan:
    """Byte offsets of tiles and scratch, the bytes used, and the tiles that reuse memory."""

    offsets: dict[Value, int] = field(default_factory=dict)
    scratch: dict[Instruction, int] = field(default_factory=dict)
    reusing: set[Value] = field(default_factory=set)
    total: int = 0
    alignment: int = _ALIGNMENT  # of all shared memory, in bytes


def _allocated_in_loops(block: Block, in_loop: bool = False) -> Iterator[Value]:
    """Tiles that are allocated anew in every turn of a loop."""
    for statement in block:
        if isinstance(statement, AllocShared) and in_loop:
            assert statement.result is not None
            yield statement.result
        inside = in_loop or isinstance(statement, For | While)
        for inner in blocks_of(statement):
            yield from _allocated_in_loops(inner, inside)


@dataclass
class _Extent:
    """A tile's bytes and the time it lives."""

    value: Value
    start: int
    size: int
    born: int
    dies: int


def tile_bytes(type_: SharedType | BarrierType) -> int:
    """Bytes a shared tile, or an array of barriers, takes."""
    if isinstance(type_, BarrierType):
        return 8 * prod(type_.shape)
    layout = type_.layout or row_major(type_.shape)
    return -(-layout.size * type_.dtype.bits // 8)


def _alignment(type_: SharedType | BarrierType) -> int:
    if isinstance(type_, BarrierType):
        return 8
    swizzle = type_.layout.swizzle if type_.layout is not None else None
    return max(_ALIGNMENT, swizzle.period if swizzle is not None else 0)


def plan_shared(function: Function, target: Target) -> SharedPlan:
    """Places all shared tiles and the scratch area.

    Raises:
        ResourceError: they don't fit the target's shared memory.
    """
    order = list(instructions(function.body))
    deaths = {
        instruction.tile: time
        for time, instruction in enumerate(order)
        if isinstance(instruction, FreeShared)
    }
    plan = SharedPlan()
    placed: list[_Extent] = []
    for time, instruction in enumerate(order):
        if isinstance(instruction, AllocShared):
            value = instruction.result
            assert value is not None
            _place(plan, placed, value, time, deaths.get(value, len(order)))
        elif isinstance(instruction, AllocMbarrier):
            # Barriers never share memory, so that nothing has to be done at their end.
            assert instruction.result is not None
            _place(plan, placed, instruction.result, 0, len(order))
    plan.reusing.update(_allocated_in_loops(function.body))
    largest = _place_scratch(plan, function)
    _check_limit(plan, placed, largest, target, function)
    return plan


def _place_scratch(plan: SharedPlan, function: Function) -> int:
    """Gives each group of threads a scratch area; the bytes of all.

    Groups run at the same time, and a part of a group may be ahead of the rest of it.
    """
    wanted: dict[Part, list[tuple[Instruction, int]]] = {}
    for instruction, part in instructions_by_part(function.body, function.threads):
        rule = SCRATCH.get(type(instruction))
        size = rule(instruction, part.num_threads) if rule is not None else 0
        if size:
            wanted.setdefault(part, []).append((instruction, size))
    before = plan.total
    for users in wanted.values():
        start = _round_up(plan.total, 16)
        plan.scratch.update((instruction, start) for instruction, _ in users)
        plan.total = start + max(size for _, size in users)
    return plan.total - before


def _place(plan: SharedPlan, placed: list[_Extent], value: Value, born: int, dies: int) -> None:
    """First fit among the tiles that live at the same time."""
    assert isinstance(value.type, SharedType | BarrierType)
    size, alignment = tile_bytes(value.type), _alignment(value.type)
    plan.alignment = max(plan.alignment, alignment)
    living = [e for e in placed if e.born <= dies and born <= e.dies]
    start = 0
    for extent in sorted(living, key=lambda e: e.start):
        if start + size <= extent.start:
            break
        start = max(start, _round_up(extent.start + extent.size, alignment))
    if any(e.start < start + size and start < e.start + e.size for e in placed):
        plan.reusing.add(value)
    placed.append(_Extent(value, start, size, born, dies))
    plan.offsets[value] = start
    plan.total = max(plan.total, start + size)


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def _largest_scratch(function: Function) -> Location | None:
    """The place of the instruction that needs the most for a moment."""
    sizes = {
        instruction: SCRATCH[type(instruction)](instruction, part.num_threads)
        for instruction, part in instructions_by_part(function.body, function.threads)
        if type(instruction) in SCRATCH
    }
    return max(sizes, key=lambda instruction: sizes[instruction]).location


def _check_limit(
    plan: SharedPlan, placed: list[_Extent], scratch: int, target: Target, function: Function
) -> None:
    if plan.total <= target.max_shared_bytes:
        return
    notes = [(f"`%{e.value.name}` takes {e.size} bytes", e.value.location) for e in placed]
    if scratch:
        place = _largest_scratch(function)
        notes.append((f"reductions and layout conversions take {scratch} bytes", place))
    raise ResourceError(
        f"`@{function.name}` needs {plan.total} bytes of shared memory, `{target.name}` has "
        f"{target.max_shared_bytes}",
        placed[-1].value.location if placed else function.location,
        notes=notes,
        hint="use smaller tiles or fewer stages",
    )
