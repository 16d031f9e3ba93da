"""ldmatrix, stmatrix and movmatrix: 8 x 8 matrices of 16-bit elements.

A matrix is 8 rows of 16 bytes. Lane l of its register holds row l / 4, columns 2 (l % 4) and the
next: the 128 bytes in order, four a lane. With .trans the lane holds the transposed matrix so.
Lanes 8 i .. 8 i + 7 give the row addresses of matrix i.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .access import link_address, undefined_bits_of, undefined_lanes
from .cohort import Cohort
from .lane_order import matrix_bits
from .linker import expect
from .mma import require_whole_warps
from .opcode import Custom, Form, Mods, OpcodeError, Pure, opcode
from .races import disagreement
from .step import Step, lane_mask
from .storage import Access
from .types import B32, Array

if TYPE_CHECKING:
    from .linker import Linker
    from .syntax import Instruction

_ROW = Access(4, 4)
_LANES = np.arange(32)


def transposed(matrices: Array) -> Array:
    """Each matrix of [..., 32] registers transposed."""
    shape = matrices.shape
    halves = np.ascontiguousarray(matrices).view(np.uint16).reshape(*shape[:-1], 8, 8)
    turned = np.ascontiguousarray(np.swapaxes(halves, -1, -2))
    return turned.reshape(*shape[:-1], 64).view(np.uint32)


@opcode("ldmatrix", "stmatrix")
def matrix(mods: Mods) -> Form:
    if not (mods.flag("sync") and mods.flag("aligned")):
        raise OpcodeError(f"`{mods.text}` needs .sync.aligned")
    mods.choice("m8n8")
    count = int(mods.choice("x1", "x2", "x4")[1:])
    trans = mods.flag("trans")
    mods.choice("shared", "shared::cta", default="shared")
    mods.type("b16")
    build = _build_load if mods.base == "ldmatrix" else _build_store
    return Custom(lambda instruction, linker: build(instruction, linker, count, trans))


def _row_lanes(c: Cohort, on: Array | None, count: int) -> Array | None:
    """Lanes whose address counts; None for all of them."""
    if count == 4:
        return on
    used = np.broadcast_to(8 * count > _LANES, c.mask.shape)
    return used if on is None else used & on


def _executing(c: Cohort, instruction: Instruction) -> Array | None:
    guard = instruction.guard
    on = lane_mask(c, None if guard is None else guard.slot, instruction.negated)
    if on is not None:
        require_whole_warps(c, on, allow_none=guard is not None)
    return on


def _build_load(instruction: Instruction, linker: Linker, count: int, trans: bool) -> Step:
    expect(instruction, 2)
    outs = tuple(linker.dest(item, B32) for item in linker.vector(instruction.operands[0], count))
    address, reads = link_address(instruction.operands[1], linker)

    def run(c: Cohort) -> None:
        on = _executing(c, instruction)
        lanes = _row_lanes(c, on, count)
        whole = address(c)
        flat = whole if lanes is None else whole[lanes]
        if not flat.size:
            loaded, bad = np.zeros((c.num_warps, count, 32), np.uint32), None
        else:
            (piece,) = c.machine.memory.resolve(c, "shared", flat, lanes, _ROW, False)
            races = c.machine.races
            if races is not None:
                bits = matrix_bits(c, lanes, races.unit, trans)
                races.load(c, instruction.line, piece.place, _ROW, lanes, bits)
            if c.machine.traffic is not None:
                c.machine.traffic.count(c, instruction.line, True, piece.place, _ROW, lanes)
            loaded, bad = _rows(c, piece.place, piece.storage.view(_ROW), on, count, trans)
            shadow = piece.storage.shadow(_ROW).take(piece.place, axis=0)
            if undefined_lanes(shadow, _ROW) is not None:
                state, _ = _rows(c, piece.place, piece.storage.shadow(_ROW), on, count, trans)
                bad = ~state
        for number, slot in enumerate(outs):
            unsure = None if bad is None else np.ascontiguousarray(bad[:, number])
            c.write(slot, loaded[:, number], on, unsure)

    return Step(run, reads, outs, strict=True, own=True)


def _rows(
    c: Cohort, places: Array, rows: Array, on: Array | None, count: int, trans: bool
) -> tuple[Array, None]:
    """Registers [n, count, 32] from the rows at `places` (of the warps that execute)."""
    loaded = rows.take(places.reshape(-1), axis=0).reshape(-1, count, 32)
    if on is not None:
        spread = np.zeros((c.num_warps, count, 32), np.uint32)
        spread[on.all(1)] = loaded
        loaded = spread
    return (transposed(loaded) if trans else loaded), None


def _build_store(instruction: Instruction, linker: Linker, count: int, trans: bool) -> Step:
    expect(instruction, 2)
    address, reads = link_address(instruction.operands[0], linker)
    ins = tuple(linker.source(item, B32) for item in linker.vector(instruction.operands[1], count))

    def run(c: Cohort) -> None:
        on = _executing(c, instruction)
        lanes = _row_lanes(c, on, count)
        whole = address(c)
        flat = whole if lanes is None else whole[lanes]
        if not flat.size:
            return
        (piece,) = c.machine.memory.resolve(c, "shared", flat, lanes, _ROW, True)
        rows = _as_rows([c.lanes(slot) for slot in ins], on, trans)
        unsure = undefined_bits_of(c, ins)
        bad = None if unsure is None else _as_rows(unsure, on, trans)
        if bad is not None:
            rows = rows & ~bad
        places = piece.place.reshape(-1)
        races = c.machine.races
        if races is not None:
            bits = matrix_bits(c, lanes, races.unit, trans)
            races.store(c, instruction.line, places, _ROW, lanes, rows, bad, bits)
        if c.machine.traffic is not None:
            c.machine.traffic.count(c, instruction.line, True, places, _ROW, lanes)
        piece.storage.store(_ROW, places, rows, bad)
        if not np.array_equal(stored := piece.storage.view(_ROW)[places], rows):
            at = np.ones(c.mask.shape, bool) if lanes is None else lanes
            raise disagreement(c, "shared", stored != rows, at)

    data = tuple(slot for slot in ins if not linker.is_constant(slot))
    return Step(run, reads, (), strict=True, own=True, data=data)


def _as_rows(registers: list[Array], on: Array | None, trans: bool) -> Array:
    """The rows [rows, 4] that registers hold, of the warps that execute."""
    values = np.stack(registers, 1)
    if trans:
        values = transposed(values)
    if on is not None:
        values = values[on.all(1)]
    return values.reshape(-1, 4)


@opcode("movmatrix")
def movmatrix(mods: Mods) -> Form:
    for name in ("sync", "aligned", "m8n8", "trans"):
        mods.choice(name)
    mods.type("b16")
    return Pure((B32,), (B32,), transposed)
