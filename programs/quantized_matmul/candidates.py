"""The schedules worth measuring for a problem: what was ever the fastest, and its neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

from .geometry import Geometry
from .schedule import SHARED_BYTES, Schedule, choose, resident_warps

# Warps along k and features. Many along features share rows of x, which cost as much as words do
# where tokens are many or bits few; small blocks meet sooner, and even out.
_SHAPES = ((4, 1), (8, 1), (16, 1), (2, 2), (4, 2), (8, 2), (1, 4), (2, 4), (1, 8))
_FEWEST_BLOCKS, _MOST_BLOCKS = 64, 1200
_SMALL_BLOCK = 4  # warps


def candidates(geometry: Geometry, m: int) -> list[Schedule]:
    """The schedules worth measuring for m tokens, the default first."""
    default = choose(geometry, m)
    found = {default: None}
    if not geometry.cut.contiguous:
        return list(found)
    found |= dict.fromkeys(_in_registers(geometry, default))
    found |= dict.fromkeys(_staged(geometry, default.tokens))
    return list(found)


def _in_registers(geometry: Geometry, default: Schedule) -> Iterator[Schedule]:
    """Words and x come straight from memory."""
    tokens, chunks = default.tokens, max(geometry.num_spans(default.tokens), 1)
    depths = [d for d in (0, 1, 2) if d * geometry.bits <= 8 or d < 2]
    widest = 16 if tokens == 8 or geometry.bits <= 2 else 8
    for k_warps, depth, ahead in product((4, 8, 16), depths, (False, True)):
        if k_warps <= min(chunks, widest):
            splits = default.splits if k_warps == default.k_warps else 1
            yield Schedule(k_warps, 1, tokens, splits, depth, ahead)
    for (k_warps, parts), depth in product(((8, 2), (4, 2), (4, 4), (4, 8)), depths[1:]):
        if 2 * k_warps * parts <= chunks and geometry.num_blocks * parts <= 1024:
            yield Schedule(k_warps, 1, tokens, parts, depth, cluster=True)


def _staged(geometry: Geometry, tokens: int) -> Iterator[Schedule]:
    """Words, x and scales pass through shared memory; words of 8 bits also past it."""
    for (k_warps, features), parts in product(_SHAPES, (1, 2, 4, 8)):
        blocks = -(-geometry.num_blocks // features) * parts
        turns = geometry.num_spans(tokens) // (k_warps * parts)
        # Few blocks leave multiprocessors idle, many gain nothing from a cluster.
        if turns < 2 or (parts > 1 and blocks > _MOST_BLOCKS):
            continue
        if blocks < _FEWEST_BLOCKS and parts < 8:
            continue
        schedule = Schedule(k_warps, features, tokens, parts, 0, cluster=parts > 1)
        for stages in _stages(schedule.warps, parts):
            staged = replace(schedule, stages=stages, stage_words=True)
            yield from _resident(staged, geometry, turns)
        if geometry.bits == 8:
            in_registers = replace(schedule, buffers=1, stages=2)
            yield from _resident(in_registers, geometry, turns)


def _stages(warps: int, parts: int) -> tuple[int, ...]:
    """Two read a turn ahead; small blocks have few words on their way then."""
    if warps <= _SMALL_BLOCK:
        return 2, 3, 4
    return (2, 3) if parts == 1 else (2,)


def _resident(schedule: Schedule, geometry: Geometry, turns: int) -> Iterator[Schedule]:
    """The schedule with as many blocks a multiprocessor as there is room for."""
    resident = SHARED_BYTES // (schedule.stages * schedule.slot_bytes(geometry) + 1024)
    wanted = max(1, resident_warps(geometry, schedule.tokens) // schedule.warps)
    least = 1 if schedule.stages == 2 else max(1, wanted // 2)
    if resident >= least and schedule.stages <= turns:
        yield replace(schedule, min_blocks=min(resident, wanted))
