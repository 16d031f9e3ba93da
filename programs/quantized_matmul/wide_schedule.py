"""Which kernel of warp groups serves many tokens: a function of the cut, m, n and the machine.

What a turn of a block costs is the larger of reading its words from memory and of decoding and
multiplying them. Where blocks share tiles, sums are handed over besides. The constants are fitted
to times measured on an H100 (benchmarks/results).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from tileloom.vm.diagnostics import VMValueError

from .geometry import Geometry
from .schedule import Machine, Schedule
from .wide_config import LARGEST_TOKENS, WideConfig

SHARED_BYTES = 232448 - 1024  # of a thread block on sm_90a, gaps and barriers taken off
FEWEST_TOKENS = 17
GROUPS = 2  # warp groups that multiply
_WORD = r"n(\d+)g(\d+)h(\d+)a(\d+)(?:c(\d+))?(?:(b|r)(\d+))?(?:p(\d+))?"
_ROWS = 64  # of k that are decoded at a time, as a rule
_ACCUMULATORS = 128  # registers of a thread

# Microseconds of an H100.
_BYTES = 23_100.0  # that one of its multiprocessors reads of memory
_CACHED_BYTES = 54_900.0  # and of the cache, where the rows of x are
_STEP = 0.020  # of any turn
_TURN, _TOKEN = 0.485, 0.0054  # a turn of 256 features and 128 rows of k, and each token of it
_CROWD = 0.0016  # more for each token, where all multiprocessors multiply
_START, _CLUSTER = 4.8, 0.2  # a block, and one of a cluster
_HAND, _COLLECT = 1.3, 0.018  # sums of others, and each token of the sums of one of them
_SEVERAL = 1.06  # turns of blocks that go through several tiles
_STAGES = 4  # more gained nothing
_LEAST_BUSY = 0.7  # of all, who read as much as all together would
_STANDARD = 256 * 128  # weights of that turn
# Blocks of a cluster lie in one of the GPU's clusters of multiprocessors, which are of unlike
# sizes: 32 times four don't fit at once.
_CLUSTER_BLOCKS = 2


@dataclass(frozen=True)
class WideSchedule:
    """Tokens a block, warp groups that multiply, slabs of 64 features of each, stages of operands
    in flight, and blocks that share all tiles evenly (`parts`; 0: a block for each tile), or take
    every so many-th tile `in_rounds`; or in a `cluster` a part of k each of one. `rows` of k are
    decoded at a time."""

    tokens: int
    groups: int
    slabs: int
    stages: int
    parts: int = 0
    rows: int = _ROWS
    in_rounds: bool = False
    cluster: int = 1

    def __str__(self) -> str:
        """In one word, for reports: `n64g2h2a4b132`."""
        parts = f"c{self.cluster}" if self.cluster > 1 else ""
        parts += f"{'r' if self.in_rounds else 'b'}{self.parts}" if self.parts else ""
        span = f"p{self.rows}" if self.rows != _ROWS else ""
        return f"n{self.tokens}g{self.groups}h{self.slabs}a{self.stages}{parts}{span}"

    @property
    def splits(self) -> int:
        """Parts of k that each have a grid of their own: blocks share them instead."""
        return 1

    @classmethod
    def parse(cls, text: str) -> WideSchedule:
        """The schedule that `str` writes so.

        Raises:
            VMValueError: it is no such word.
        """
        match = re.fullmatch(_WORD, text)
        if match is None:
            raise VMValueError(f"`{text}` is no schedule", hint="such as `n64g2h2a4`")
        *numbers, cluster, kind, parts, rows = match.groups()
        tokens, groups, slabs, stages = map(int, numbers)
        return cls(
            tokens, groups, slabs, stages, int(parts or 0), int(rows or _ROWS), kind == "r",
            int(cluster or 1),
        )  # fmt: skip


def parse_schedule(text: str) -> Schedule | WideSchedule:
    """A schedule of either kind.

    Raises:
        VMValueError: it is none.
    """
    return WideSchedule.parse(text) if text.startswith("n") else Schedule.parse(text)


def configure(schedule: WideSchedule, config: WideConfig) -> WideConfig:
    """A configuration under a schedule.

    Raises:
        VMValueError: they don't go together.
    """
    if schedule.cluster > 1 and schedule.parts:
        raise VMValueError(f"`{schedule}` has clusters and shared tiles", hint="leave out one")
    slabs, tiles = schedule.slabs, config.cut.tiles
    columns, rest = divmod(schedule.groups * slabs, tiles)
    if rest or tiles % slabs or columns < 1:
        raise VMValueError(
            f"`{schedule}` doesn't fit weights of {tiles} feature tiles a block",
            hint=f"such as `n16g2h{max(1, tiles // 2)}a2`",
        )
    return replace(
        config,
        tokens=schedule.tokens,
        groups=schedule.groups,
        slabs=schedule.slabs,
        stages=schedule.stages,
        rows=schedule.rows,
        in_rounds=schedule.in_rounds,
        cluster=schedule.cluster,
    )


@lru_cache(maxsize=4096)
def choose_wide(
    geometry: Geometry, m: int, machine: Machine, config: WideConfig
) -> WideSchedule | None:
    """The schedule for m tokens; None where the kernel doesn't fit the problem."""
    if m < FEWEST_TOKENS or not machine.warp_groups or not geometry.cut.contiguous:
        return None
    found = list(wide_candidates(geometry, m, config, machine.multiprocessors))

    def time(schedule: WideSchedule) -> float:
        return _microseconds(geometry, m, machine, configure(schedule, config), schedule.parts)

    return min(found, key=time, default=None)


def wide_candidates(
    geometry: Geometry, m: int, config: WideConfig, multiprocessors: int = 132
) -> Iterator[WideSchedule]:
    """The schedules that fit, each with as many stages as there is room for."""
    cut = geometry.cut
    # The assembler runs the products of more than two slabs one after the other.
    for slabs in (s for s in (1, 2) if cut.tiles % s == 0 and GROUPS * s >= cut.tiles):
        largest = min(LARGEST_TOKENS, 2 * _ACCUMULATORS // slabs // 8 * 8)
        for tiles in sorted({*range(-(-m // largest), -(-m // largest) + 2), -(-m // 64)}):
            each = -(-m // tiles)
            tokens = -(-each // 8) * 8
            schedule = _with_stages(WideSchedule(tokens, GROUPS, slabs, _STAGES), config)
            if schedule is None:
                continue
            yield from _shared_out(schedule, geometry, m, config, multiprocessors)


def _shared_out(
    schedule: WideSchedule, geometry: Geometry, m: int, config: WideConfig, multiprocessors: int
) -> Iterator[WideSchedule]:
    """The ways in which blocks may share the tiles of a schedule."""
    yield schedule
    features = -(-geometry.num_blocks // configure(schedule, config).blocks)
    tiles = -(-m // schedule.tokens) * features
    if tiles > multiprocessors:
        yield replace(schedule, parts=multiprocessors, in_rounds=True)
    if geometry.num_chunks == 1:
        return
    if _CLUSTER_BLOCKS * tiles <= multiprocessors:
        pair = _with_stages(replace(schedule, cluster=_CLUSTER_BLOCKS, stages=_STAGES), config)
        if pair is not None:
            yield pair
    for parts in sorted({multiprocessors, multiprocessors // tiles * tiles}):
        if tiles < 8 * parts and parts != tiles:
            yield replace(schedule, parts=parts)


def _with_stages(schedule: WideSchedule, config: WideConfig) -> WideSchedule | None:
    whole = configure(schedule, config)
    stages = min(schedule.stages, (SHARED_BYTES - whole.leaving_bytes) // whole.stage_bytes)
    return replace(schedule, stages=stages) if stages >= 2 else None


def _microseconds(
    geometry: Geometry, m: int, machine: Machine, config: WideConfig, parts: int
) -> float:
    """About how long the product takes."""
    token_tiles = -(-m // config.tokens)
    tiles = token_tiles * -(-geometry.num_blocks // config.blocks)
    chunks, blocks = geometry.num_chunks, config.cluster * (parts or tiles)
    at_work = min(blocks, machine.multiprocessors)
    turn = _turn(config, at_work / machine.multiprocessors, min(token_tiles, at_work))
    if config.cluster > 1 or not parts:
        waves = -(-blocks // machine.multiprocessors)
        return waves * (_START + -(-chunks // config.cluster) * turn) + _CLUSTER * (
            config.cluster > 1
        )
    if config.in_rounds:
        return _START + -(-tiles // parts) * chunks * turn
    if tiles >= machine.multiprocessors:
        turn *= _SEVERAL
    each = -(-tiles * chunks // parts)
    others = chunks // each - 1 if chunks % each == 0 else -(-(chunks - 1) // each)
    sums = _COLLECT * config.tokens * config.features * config.cut.chunk / _STANDARD
    return _START + each * turn + (_HAND + others * sums if others else 0.0)


def _turn(config: WideConfig, busy: float, sharing: int) -> float:
    """A turn of a block, the share of multiprocessors given that are at work. Blocks of other
    tokens read the same words at about the same time."""
    weights = config.features * config.cut.chunk / _STANDARD
    each = _TURN + _TOKEN * config.tokens
    multiply = _STEP + weights * each * (1 + busy * _CROWD * config.tokens)
    x_bytes = 2 * config.tokens * config.cut.chunk
    # A few multiprocessors don't read as fast as all.
    read = (config.stage_bytes - x_bytes) / _BYTES * max(busy, _LEAST_BUSY) / sharing
    return max(multiply, read, config.stage_bytes / _CACHED_BYTES * busy)
