"""cp.async of 4, 8 and 16 bytes, its groups and waits.

Bounds and alignment are checked when a copy is issued. From then until it lands its destination is
undefined: whoever reads it without waiting computes with undefined values and is reported. It lands
in the `wait` that covers it, the latest moment allowed, and reads its source only then; with
`asynchronous="early"` it lands at once, the earliest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .access import Address, lanes_of, link_address
from .asynchronous import Group, Move
from .bulk_ops import bulk
from .cohort import Cohort, FaultError
from .memory import Piece
from .opcode import Custom, Form, Mods, OpcodeError, opcode
from .step import Step, lane_mask
from .storage import Access
from .syntax import Int, Reg
from .types import PRED, U32, Array

if TYPE_CHECKING:
    from .linker import Linker
    from .syntax import Instruction

_BYTE = Access(1, 1)


@opcode("cp")
def cp(mods: Mods) -> Form:
    if mods.flag("async") and "bulk" in mods.parts:
        return bulk(mods)
    if "async" not in mods.text.split(".") or "mbarrier" in mods.parts:
        raise OpcodeError(f"unknown opcode `{mods.text}`")
    if mods.flag("commit_group"):
        return Custom(_build_commit)
    if mods.flag("wait_group"):
        return Custom(_build_wait_group)
    if mods.flag("wait_all"):
        return Custom(_build_wait_all)
    caching = mods.choice("ca", "cg")
    mods.choice("shared", "shared::cta")
    mods.choice("global")
    hint = "L2::cache_hint" in mods.parts
    mods.drop("L2::")
    return Custom(lambda instruction, linker: _build_copy(instruction, linker, caching, hint))


def _build_copy(instruction: Instruction, linker: Linker, caching: str, hint: bool) -> Step:
    operands = list(instruction.operands)
    if hint and len(operands) > 3:
        operands.pop()
    if len(operands) not in (3, 4) or not isinstance(operands[2], Int):
        raise OpcodeError(f"`{instruction.opcode}` takes two addresses and a constant size")
    size = operands[2].value
    if size not in ((16,) if caching == "cg" else (4, 8, 16)):
        raise OpcodeError(f"`{instruction.opcode}` can't copy {size} bytes")
    target, target_reads = link_address(operands[0], linker)
    source, source_reads = link_address(operands[1], linker)
    limit, ignores = -1, False
    if len(operands) == 4:
        third = operands[3]
        ignores = isinstance(third, Reg) and third.type.bits == 1
        limit = linker.source(third, PRED if ignores else U32)
    copy = _Copy(instruction.line, target, source, Access(4, size // 4), limit, ignores)
    guard = None if instruction.guard is None else instruction.guard.slot
    negated = instruction.negated

    def run(c: Cohort) -> None:
        copy.issue(c, lane_mask(c, guard, negated))

    reads = (*target_reads, *source_reads)
    if limit >= 0 and not linker.is_constant(limit):
        reads = (*reads, limit)
    return Step(run, reads, (), strict=True)


class _Copy:
    """One cp.async instruction: `limit` is the slot of the source size, or of ignore-src."""

    def __init__(
        self,
        line: int,
        target: Address,
        source: Address,
        access: Access,
        limit: int,
        ignores: bool,
    ) -> None:
        self.line = line
        self.target, self.source = target, source
        self.access = access
        self.limit, self.ignores = limit, ignores

    def issue(self, c: Cohort, on: Array | None) -> None:
        lanes = np.ones(c.mask.shape, bool) if on is None else on
        if not lanes.any():
            return
        memory = c.machine.memory
        flat = self.target(c)[lanes]
        (piece,) = memory.resolve(c, "shared", flat, lanes, self.access, True)
        moves = self._moves(c, lanes, piece.place)
        if c.machine.races is not None:
            c.machine.races.store(c, self.line, piece.place, self.access, lanes, None)
        if c.machine.traffic is not None:
            c.machine.traffic.count(c, self.line, True, piece.place, self.access, lanes)
        if c.machine.early:
            for move in moves:
                move.land(memory.shared)
            return
        memory.shared.shadow(self.access)[piece.place] = 0
        c.open_group.moves += moves

    def _moves(self, c: Cohort, lanes: Array, places: Array) -> list[Move]:
        width = self.access.width
        if self.limit < 0:
            return self._full(c, lanes, places)
        sizes = c.lanes(self.limit)
        if self.ignores:
            sizes = np.where(sizes, np.uint32(0), np.uint32(width))
        if (sizes[lanes] > width).any():
            raise FaultError(
                f"a source size above {width} ({c.lane_name(lanes & (sizes > width))})"
            )
        full, none = sizes == width, sizes == 0
        moves: list[Move] = []
        if (full & lanes).any():
            moves += self._full(c, full & lanes, places[full[lanes]])
        if (none & lanes).any():
            warps, lane = np.nonzero(none & lanes)
            zero = places[none[lanes]]
            moves.append(Move(c.rows[warps], lane, self.access, zero, None, zero, self.line))
        rest = lanes & ~full & ~none
        if rest.any():
            moves += self._partial(c, rest, places[rest[lanes]], sizes)
        return moves

    def _full(self, c: Cohort, lanes: Array, places: Array) -> list[Move]:
        flat = self.source(c)[lanes]
        pieces = c.machine.memory.resolve(c, "global", flat, lanes, self.access, False)
        if c.machine.traffic is not None:
            for piece in pieces:
                on = lanes_of(c, lanes, piece.where)
                c.machine.traffic.count(c, self.line, False, piece.place, self.access, on)
        return [_move(c, self.line, lanes, self.access, places, piece) for piece in pieces]

    def _partial(self, c: Cohort, lanes: Array, places: Array, sizes: Array) -> list[Move]:
        """Byte by byte: `sizes` bytes come from the source, the others are zero."""
        moves = []
        width = self.access.width
        address = self.source(c)
        if (address[lanes] % np.uint64(width)).any():
            raise FaultError(f"a source address is not aligned to {width} bytes")
        for byte in range(width):
            place = places * width + byte
            read = lanes & (sizes > byte)
            if read.any():
                flat = address[read] + np.uint64(byte)
                for piece in c.machine.memory.resolve(c, "global", flat, read, _BYTE, False):
                    moves.append(_move(c, self.line, read, _BYTE, place[read[lanes]], piece))
            fill = lanes & ~read
            if fill.any():
                warps, lane = np.nonzero(fill)
                zero = place[fill[lanes]]
                moves.append(Move(c.rows[warps], lane, _BYTE, zero, None, zero, self.line))
        return moves


def _move(c: Cohort, line: int, lanes: Array, access: Access, places: Array, piece: Piece) -> Move:
    warps, lane = np.nonzero(lanes)
    rows = c.rows[warps]
    if piece.where is not None:
        rows, lane, places = rows[piece.where], lane[piece.where], places[piece.where]
    return Move(rows, lane, access, places, piece.storage, piece.place, line)


# ---- groups


def _whole(c: Cohort, instruction: Instruction) -> bool:
    """Whether a guarded commit or wait acts; it must act for all or for none."""
    if instruction.guard is None:
        return True
    on = lane_mask(c, instruction.guard.slot, instruction.negated)
    assert on is not None
    if not on.any():
        return False
    if (on != c.mask).any():
        raise FaultError("a guarded commit or wait must be on for all warps that run together")
    return True


def _build_commit(instruction: Instruction, linker: Linker) -> Step:
    del linker

    def run(c: Cohort) -> None:
        if _whole(c, instruction):
            c.groups.append(c.open_group)
            c.open_group = Group()

    return Step(run, (), (), strict=True)


def _build_wait_group(instruction: Instruction, linker: Linker) -> Step:
    del linker
    if len(instruction.operands) != 1 or not isinstance(instruction.operands[0], Int):
        raise OpcodeError("`cp.async.wait_group` takes a constant")
    kept = instruction.operands[0].value

    def run(c: Cohort) -> None:
        if _whole(c, instruction):
            _land(c, max(len(c.groups) - kept, 0))

    return Step(run, (), (), strict=True)


def _build_wait_all(instruction: Instruction, linker: Linker) -> Step:
    del linker

    def run(c: Cohort) -> None:
        if _whole(c, instruction):
            c.groups.append(c.open_group)
            c.open_group = Group()
            _land(c, len(c.groups))

    return Step(run, (), (), strict=True)


def _land(c: Cohort, count: int) -> None:
    for group in c.groups[:count]:
        group.land(c.machine)
    del c.groups[:count]
