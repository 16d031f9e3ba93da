"""Which kernel of 8-bit activations serves a problem: a function of the packed weight, m and the
machine.

What a turn costs a multiprocessor is the largest of four: reading its operands from memory and
from the L2, products on the tensor cores, and what a warp group does one thing after the other (as
measured where warp groups don't take turns).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from tileloom.vm.diagnostics import VMValueError

from .eight_bit_config import GROUPS, ByteConfig
from .eight_bit_packing import SLAB, ByteGeometry
from .schedule import Machine

SHARED_BYTES = 232448 - 1024  # of a thread block on sm_90a, gaps and barriers taken off
_WORD = r"b(\d+)h(\d+)a(\d+)(?:c(\d+))?(?:([rs])(\d+))?(t?)"
_COLUMNS = 256  # tokens times slabs: registers of sums
_CLUSTER_COLUMNS = 128
_STAGES = 8

# Of one multiprocessor of an H100, a clock.
_FROM_MEMORY, _FROM_L2, _PRODUCTS = 13.2, 36.0, 4096
_START, _LEAVE, _MEET, _EXCHANGE, _PIECE = 2500, 1500, 2500, 5000, 20  # clocks
_FEWEST = 8  # chunks of a part
# What a turn takes at least: by itself, for a second slab, and for each token of a slab. Sums that
# are scaled take longer.
_SCALING, _RUNNING = (430, 200, 4.4), (250, 250, 2.2)
# Clusters of four leave some multiprocessors out, whose neighbours are too few.
_IN_FOURS = 10 / 11


@dataclass(frozen=True)
class ByteSchedule:
    """Tokens a block, slabs of 64 features for each warp group, stages of operands in flight, and
    blocks of a cluster that split k, or blocks that share the chunks of all tiles evenly (`parts`;
    0: a block or cluster for each tile), or take whole tiles `in_rounds`. Warp groups may multiply
    `in_turn`: while one has the tensor cores, the other one decodes and scales."""

    tokens: int
    slabs: int
    stages: int
    cluster: int = 1
    parts: int = 0
    in_turn: bool = False
    in_rounds: bool = False

    def __str__(self) -> str:
        """In one word, for reports: `b64h2a4c2`, `b64h2a4s132t`, `b256h1a4r132t`."""
        shared = f"c{self.cluster}" if self.cluster > 1 else ""
        if self.parts:
            shared += f"{'r' if self.in_rounds else 's'}{self.parts}"
        turns = "t" if self.in_turn else ""
        return f"b{self.tokens}h{self.slabs}a{self.stages}{shared}{turns}"

    @classmethod
    def parse(cls, text: str) -> ByteSchedule:
        """The schedule that `str` writes so.

        Raises:
            VMValueError: it is no such word.
        """
        match = re.fullmatch(_WORD, text)
        if match is None:
            raise VMValueError(f"`{text}` is no schedule", hint="such as `b64h2a4`")
        tokens, slabs, stages, cluster = (int(number or 0) for number in match.groups()[:4])
        parts, rounds = int(match[6] or 0), match[5] == "r"
        return cls(tokens, slabs, stages, cluster or 1, parts, bool(match[7]), rounds)


def configure(schedule: ByteSchedule, config: ByteConfig) -> ByteConfig:
    """A configuration under a schedule.

    Raises:
        VMValueError: no kernel has this schedule.
    """
    tokens, slabs = schedule.tokens, schedule.slabs
    step = 16 if config.activation == "i8" and tokens > 24 else 8
    limit = _COLUMNS if schedule.cluster == 1 else _CLUSTER_COLUMNS
    whole = replace(
        config,
        tokens=tokens,
        slabs=slabs,
        stages=schedule.stages,
        cluster=schedule.cluster,
        in_rounds=schedule.in_rounds,
        split=schedule.parts > 0 and not schedule.in_rounds,
        in_turn=schedule.in_turn,
    )
    legal = tokens >= 8 and tokens % step == 0 and slabs in (1, 2) and tokens * slabs <= limit
    legal = legal and schedule.stages >= 2 and schedule.cluster in (1, 2, 4)
    legal = legal and (schedule.cluster == 1 or not schedule.parts)
    if not legal or whole.shared_bytes > SHARED_BYTES:
        raise VMValueError(
            f"`{schedule}` is no schedule of {config.activation} activations",
            hint=f"tokens are multiples of {step}, at most {limit} for one slab, and the stages "
            f"fit {SHARED_BYTES} bytes, not {whole.shared_bytes}: such as `b32h1a4`",
        )
    return whole


@lru_cache(maxsize=4096)
def choose_bytes(
    geometry: ByteGeometry, m: int, machine: Machine, config: ByteConfig
) -> ByteSchedule:
    """The schedule for m tokens."""

    def clocks(schedule: ByteSchedule) -> float:
        return _clocks(geometry, m, machine, configure(schedule, config), schedule.parts)

    return min(candidates(geometry, m, machine, config), key=clocks)


def candidates(
    geometry: ByteGeometry, m: int, machine: Machine, config: ByteConfig
) -> Iterator[ByteSchedule]:
    """The schedules that fit, each with as many stages as there is room for."""
    for slabs in (1, 2):
        for cluster in (1, 2, 4):
            largest = (_COLUMNS if cluster == 1 else _CLUSTER_COLUMNS) // slabs
            if cluster > 1 and geometry.num_chunks < 4 * cluster:
                continue
            fewest = -(-m // largest)
            sizes = {_padded(-(-m // tiles), config.activation) for tiles in (fewest, fewest + 1)}
            for tokens in sorted(sizes):
                schedule = ByteSchedule(tokens, slabs, _STAGES, cluster, in_turn=config.promotes)
                found = _with_stages(schedule, config)
                if tokens > largest or found is None:
                    continue
                yield found
                tiled = tiles_of(geometry, m, configure(found, config))
                every = min(machine.multiprocessors, tiled * geometry.num_chunks // _FEWEST)
                # Of many tiles of tokens, blocks would read the same weights at other times.
                few = -(-m // tokens) <= 2
                if cluster == 1 and few and every and tiled % every:
                    yield replace(found, parts=every)
                if cluster == 1 and tiled > machine.multiprocessors:
                    yield replace(found, parts=machine.multiprocessors, in_rounds=True)


def tiles_of(geometry: ByteGeometry, m: int, config: ByteConfig) -> int:
    """Tiles of the product."""
    return -(-geometry.n // config.features) * -(-m // config.tokens)


def _padded(tokens: int, activation: str) -> int:
    """The next number of tokens that products have."""
    step = 16 if activation == "i8" and tokens > 24 else 8
    return -(-tokens // step) * step


def _with_stages(schedule: ByteSchedule, config: ByteConfig) -> ByteSchedule | None:
    whole = replace(config, tokens=schedule.tokens, slabs=schedule.slabs, cluster=schedule.cluster)
    stages = min(schedule.stages, (SHARED_BYTES - 4 * whole.sums().size) // whole.stage_bytes)
    return replace(schedule, stages=stages) if stages >= 2 else None


def _clocks(
    geometry: ByteGeometry, m: int, machine: Machine, config: ByteConfig, parts: int
) -> float:
    """About how long the product takes."""
    tiles = tiles_of(geometry, m, config)
    blocks, room = parts or tiles * config.cluster, float(machine.multiprocessors)
    if config.cluster == 4:
        room *= _IN_FOURS
    waves = -(-blocks // int(room))
    turns = -(-geometry.num_chunks // config.cluster)
    columns = config.tokens * config.slabs
    ends = _LEAVE * columns / 64 + (_MEET if config.cluster > 1 else 0)
    if config.in_rounds:
        # The next tile's operands come while results leave.
        rounds = -(-tiles // parts)
        waves, turns, ends = 1, turns * rounds, ends * (rounds + 1) / 2
    elif parts:
        shared = -(-tiles * geometry.num_chunks // parts)
        whole, turns = -(-shared // turns), shared
        # A block's first and last tile may be other blocks' too.
        ends = ends * whole + _EXCHANGE + _PIECE * columns * parts / tiles
    busy = min(blocks, machine.multiprocessors) / machine.multiprocessors
    return waves * (_START + turns * _turn(config, busy) + ends)


def _turn(config: ByteConfig, busy: float) -> float:
    """Clocks of a turn."""
    chunk, columns = config.cut.chunk, config.tokens * config.slabs
    once, second, each = _SCALING if config.promotes else _RUNNING
    return max(
        # Blocks of other tokens read the same weights at about the same time.
        (config.stage_bytes - config.tokens * chunk) / _FROM_MEMORY * busy,
        config.stage_bytes / _FROM_L2 * busy,
        GROUPS * SLAB * chunk * columns / _PRODUCTS,
        once + second * (config.slabs - 1) + each * columns,
    )
