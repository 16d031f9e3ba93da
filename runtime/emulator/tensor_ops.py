"""The opcodes of tensor copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .access import link_address
from .bulk_ops import active_lanes, destinations, own_place, take_hints, value_of
from .cohort import Cohort, FaultError
from .engine import Bytes
from .opcode import Custom, Form, Mods, OpcodeError
from .step import Step
from .syntax import Operand, TensorMem
from .tensor_maps import Placed, find_map
from .types import U32, U64, Array

if TYPE_CHECKING:
    from .linker import Linker
    from .syntax import Instruction

_ALIGNMENT = 128
Place = Callable[[Cohort, Array], tuple[Placed, tuple[int, ...]]]


def tensor(mods: Mods) -> Form:
    """`cp.async.bulk.tensor` of tiles."""
    mods.flag("tensor")
    rank = int(mods.choice("1d", "2d", "3d", "4d", "5d")[0])
    mods.flag("tile")
    spaces = [part for part in mods.parts if part in ("global", "shared::cta", "shared::cluster")]
    for space in spaces:
        mods.flag(space)
    multicast, hint = mods.flag("multicast::cluster"), mods.flag("L2::cache_hint")
    match spaces:
        case [("shared::cluster" | "shared::cta"), "global"]:
            if not mods.flag("mbarrier::complete_tx::bytes"):
                raise OpcodeError(f"`{mods.text}` needs .mbarrier::complete_tx::bytes")
            return Custom(lambda i, linker: _build_load(i, linker, rank, multicast, hint))
        case ["global", "shared::cta"] if not multicast:
            if not mods.flag("bulk_group"):
                raise OpcodeError(f"`{mods.text}` needs .bulk_group")
            return Custom(lambda i, linker: _build_store(i, linker, rank, hint))
    raise OpcodeError(f"unknown opcode `{mods.text}`")


def _link_place(operand: Operand, linker: Linker, rank: int) -> tuple[Place, tuple[int, ...]]:
    """A closure that gives a lane's map and coordinates, and the registers it reads."""
    if not isinstance(operand, TensorMem) or len(operand.coordinates) != rank:
        raise OpcodeError(f"a tensor map with {rank} coordinates is expected")
    map_slot = linker.source(operand.map, U64)
    slots = [linker.source(each, U32) for each in operand.coordinates]

    def place(c: Cohort, one: Array) -> tuple[Placed, tuple[int, ...]]:
        found = find_map(c.machine.memory, value_of(c, map_slot, one))
        if len(found.map.box) != rank:
            raise FaultError(f"{rank} coordinates for a map of rank {len(found.map.box)}")
        raw = (value_of(c, slot, one) for slot in slots)
        return found, tuple(int(np.uint32(value).astype(np.int32)) for value in raw)

    reads = (map_slot, *slots)
    return place, tuple(slot for slot in reads if not linker.is_constant(slot))


def _box(c: Cohort, found: Placed, slot: int, offset: int) -> Array:
    """The bytes of a box in the shared memory of a block.

    Raises:
        FaultError: it leaves the memory, or starts at no multiple of 128.
    """
    memory = c.machine.memory
    places = found.shared_places(offset)
    if offset % _ALIGNMENT or int(places.max()) >= memory.shared_size:
        raise FaultError(
            f"a box of {len(places)} bytes at shared address {offset}: no multiple of "
            f"{_ALIGNMENT}, or out of bounds"
        )
    return places + slot * memory.shared_stride


def _build_load(
    instruction: Instruction, linker: Linker, rank: int, multicast: bool, hint: bool
) -> Step:
    operands, mask, used = take_hints(instruction, linker, 3, multicast, hint)
    into, reads_into = link_address(operands[0], linker)
    place, reads_place = _link_place(operands[1], linker, rank)
    barrier, reads_barrier = link_address(operands[2], linker)
    line = instruction.line

    def run(c: Cohort) -> None:
        for one in active_lanes(c, instruction):
            found, coordinates = place(c, one)
            source = Bytes(found.storage, found.bytes_at(coordinates))
            ranks = None if mask is None else value_of(c, mask, one)
            for slot, offset, key in destinations(c, one, into, barrier, ranks):
                c.machine.engine.load(c, one, line, _box(c, found, slot, offset), source, key)

    linker.note_access("shared", 4)
    return Step(run, (*reads_into, *reads_place, *reads_barrier, *used), (), strict=True)


def _build_store(instruction: Instruction, linker: Linker, rank: int, hint: bool) -> Step:
    operands, _, used = take_hints(instruction, linker, 2, False, hint)
    place, reads_place = _link_place(operands[0], linker, rank)
    source, reads_source = link_address(operands[1], linker)
    line = instruction.line

    def run(c: Cohort) -> None:
        for one in active_lanes(c, instruction):
            found, coordinates = place(c, one)
            places = _box(c, found, *own_place(c, one, source))
            target = Bytes(found.storage, found.bytes_at(coordinates))
            c.machine.engine.store(c, one, line, places, target)

    return Step(run, (*reads_place, *reads_source, *used), (), strict=True)
