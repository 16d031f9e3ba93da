"""Which kernel of warp groups serves many tokens: a function of the cut, m, n and the machine.

What a turn costs a multiprocessor is the largest of three: reading its operands from memory,
products on the tensor cores, and instructions of the decode. A block's turns are split over a
cluster where too few blocks would fill the machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from tileloom.vm.diagnostics import VMValueError

from .geometry import Geometry
from .schedule import Machine, Schedule
from .wide_config import LARGEST_TOKENS, WARPS, WideConfig

SHARED_BYTES = 232448 - 1024  # of a thread block on sm_90a, gaps and barriers taken off
FEWEST_TOKENS = 17
GROUPS = 2  # warp groups that multiply
_WORD = r"n(\d+)g(\d+)h(\d+)a(\d+)(?:c(\d+))?(?:b(\d+))?(?:p(\d+))?"
_ACCUMULATORS = 128  # registers of a thread

# Of one multiprocessor of an H100, a clock.
_FROM_MEMORY, _FROM_L2, _PRODUCTS, _ISSUES = 13.2, 24.0, 2048, 4 * 32
_SLOTS = 2.2  # issue slots a weight, decode and scales
_START, _LEAVE, _MEET, _TURN = 2500, 2500, 2500, 150  # clocks


@dataclass(frozen=True)
class WideSchedule:
    """Tokens a block, warp groups that multiply, slabs of 64 features of each, stages of operands
    in flight, and blocks of a cluster that split k, or blocks that share all tiles evenly (`parts`;
    0: a block for each tile). `rows` of k are decoded at a time."""

    tokens: int
    groups: int
    slabs: int
    stages: int
    cluster: int = 1
    parts: int = 0
    rows: int = 32

    def __str__(self) -> str:
        """In one word, for reports: `n64g2h2a4c2`."""
        parts = f"c{self.cluster}" if self.cluster > 1 else ""
        parts += f"b{self.parts}" if self.parts else ""
        span = f"p{self.rows}" if self.rows != 32 else ""
        return f"n{self.tokens}g{self.groups}h{self.slabs}a{self.stages}{parts}{span}"

    @property
    def splits(self) -> int:
        """Parts of k."""
        return self.cluster

    @classmethod
    def parse(cls, text: str) -> WideSchedule:
        """The schedule that `str` writes so.

        Raises:
            VMValueError: it is no such word.
        """
        match = re.fullmatch(_WORD, text)
        if match is None:
            raise VMValueError(f"`{text}` is no schedule", hint="such as `n64g2h2a4`")
        *numbers, cluster, parts, rows = match.groups()
        return cls(*map(int, numbers), int(cluster or 1), int(parts or 0), int(rows or 32))


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
    slabs, tiles = schedule.slabs, config.cut.tiles
    columns, rest = divmod(schedule.groups * slabs, tiles)
    if rest or tiles % slabs or columns < 1 or WARPS * columns % schedule.cluster:
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
        cluster=schedule.cluster,
        rows=schedule.rows,
    )


@lru_cache(maxsize=4096)
def choose_wide(
    geometry: Geometry, m: int, machine: Machine, config: WideConfig
) -> WideSchedule | None:
    """The schedule for m tokens; None where the kernel doesn't fit the problem."""
    if m < FEWEST_TOKENS or not machine.warp_groups or not geometry.cut.contiguous:
        return None
    found = list(wide_candidates(geometry, m, config))

    def clocks(schedule: WideSchedule) -> float:
        return _clocks(geometry, m, machine, configure(schedule, config))

    return min(found, key=clocks, default=None)


def wide_candidates(geometry: Geometry, m: int, config: WideConfig) -> Iterator[WideSchedule]:
    """The schedules that fit, each with as many stages as there is room for."""
    cut = geometry.cut
    # The assembler runs the products of more than two slabs one after the other.
    for slabs in (s for s in (1, 2) if cut.tiles % s == 0 and GROUPS * s >= cut.tiles):
        largest = min(LARGEST_TOKENS, 2 * _ACCUMULATORS // slabs // 8 * 8)
        for tiles in range(-(-m // largest), -(-m // largest) + 2):
            tokens = -(-m // tiles // 8) * 8 if m % tiles == 0 else -(-(m // tiles + 1) // 8) * 8
            for cluster in (1, 2, 4):
                schedule = WideSchedule(tokens, GROUPS, slabs, 6, cluster)
                fitting = _with_stages(schedule, config)
                if fitting and (cluster == 1 or geometry.num_chunks >= 2 * cluster):
                    yield fitting


def _with_stages(schedule: WideSchedule, config: WideConfig) -> WideSchedule | None:
    if WARPS * schedule.slabs * schedule.groups // config.cut.tiles % schedule.cluster:
        return None
    whole = configure(schedule, config)
    room = SHARED_BYTES - whole.leaving_bytes
    stages = min(schedule.stages, room // whole.stage_bytes)
    return replace(schedule, stages=stages) if stages >= 2 else None


def _clocks(geometry: Geometry, m: int, machine: Machine, config: WideConfig) -> float:
    """About how long the product takes."""
    blocks = -(-geometry.num_blocks // config.blocks) * -(-m // config.tokens) * config.cluster
    waves = -(-blocks // machine.multiprocessors)
    turns = -(-geometry.num_chunks // config.cluster)
    weights = config.features * config.cut.chunk
    busy = min(blocks, machine.multiprocessors) / machine.multiprocessors
    x_bytes = 2 * config.tokens * config.cut.chunk
    turn = max(
        # Blocks of other tokens read the same weights at about the same time.
        (config.stage_bytes - x_bytes) / _FROM_MEMORY * busy,
        config.stage_bytes / _FROM_L2 * busy,
        weights * config.tokens / _PRODUCTS,
        weights * _SLOTS / _ISSUES,
    )
    ends = _LEAVE * config.tokens / 64 + (_MEET if config.cluster > 1 else 0)
    return waves * (_START + turns * (turn + _TURN) + ends)
