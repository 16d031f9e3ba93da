"""Which kernel serves which problem: a function of the cut, m, the dtype and the machine alone.

Memory time is what counts at small m: enough blocks for every multiprocessor, each with several
warps' loads in flight, and k split in as few parts as that takes. The number of accumulators
(T feature tiles of tokens / 8 fragments) bounds how many tokens a block can take.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.resources import files
from math import log2
from typing import Any

from tileloom.vm.diagnostics import VMValueError

from .geometry import Geometry

ACCUMULATOR_REGISTERS = 64
SHARED_BYTES = 222 * 1024  # of a multiprocessor of an H100, what the driver keeps taken off
RESIDENT_WARPS = 16  # more leave a thread too few registers
_WORD = r"k(\d+)f(\d+)t(\d+)s(\d+)(c?)(?:d(\d+))?(x?)(?:a(\d+)(w?))?(?:b(\d+))?"


@dataclass(frozen=True)
class Machine:
    """What a choice depends on of a GPU."""

    multiprocessors: int = 132
    clusters: bool = True
    warp_groups: bool = True  # whether there are any, for many tokens (wide.py)


H100 = Machine()


@dataclass(frozen=True)
class Schedule:
    """How a product is cut into blocks: warps along k and n, tokens a block, parts of k.

    `buffers` of words a warp reads that many turns ahead, x and scales one turn if `ahead`; or
    these pass through shared memory, `stages` slots of a turn each, and words too if
    `stage_words` (`buffers` is 0 then).
    `min_blocks` limits registers so that many blocks fit a multiprocessor (0: no limit). In a
    `cluster` the parts of k (2, 4 or 8) meet in distributed shared memory, else in a workspace.
    """

    k_warps: int
    feature_warps: int
    tokens: int
    splits: int
    buffers: int = 1
    ahead: bool = False
    min_blocks: int = 0
    cluster: bool = False
    stages: int = 0
    stage_words: bool = False

    def __str__(self) -> str:
        """In one word, for reports: `k8f1t16s1`, `k8f1t16s1d2xb2`.

        `d2` stands for two buffers (one is the rule), `x` for x read ahead, `a3` for x in three
        slots of shared memory (`a3w`: and words), `b2` for two blocks a multiprocessor, `c` for a
        cluster.
        """
        depth = "" if self.buffers == 1 else f"d{self.buffers}"
        blocks = f"b{self.min_blocks}" if self.min_blocks else ""
        warps = f"k{self.k_warps}f{self.feature_warps}"
        parts = f"s{self.splits}{'c' * self.cluster}"
        x = "x" * self.ahead + (f"a{self.stages}{'w' * self.stage_words}" if self.stages else "")
        return f"{warps}t{self.tokens}{parts}{depth}{x}{blocks}"

    @property
    def warps(self) -> int:
        """Warps of a block."""
        return self.k_warps * self.feature_warps

    def slot_bytes(self, geometry: Geometry) -> int:
        """Bytes of shared memory of one slot, zero points included."""
        cut = geometry.cut
        span = cut.span(self.tokens)
        rows = 2 * self.tokens * (self.k_warps * span * cut.chunk + 8)
        scales = 2 * 2 * cut.block_features * self.warps * span
        words = 4 * 128 * cut.steps * cut.unit_words * self.warps * span
        return rows + scales + words * self.stage_words

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """The schedule that `str` writes so.

        Raises:
            VMValueError: it is no such word.
        """
        match = re.fullmatch(_WORD, text)
        if match is None:
            raise VMValueError(f"`{text}` is no schedule", hint="such as `k8f1t16s1`")
        *numbers, cluster, depth, ahead, stages, staged, blocks = match.groups()
        k_warps, feature_warps, tokens, splits = map(int, numbers)
        buffers = 1 if depth is None else int(depth)
        return cls(
            k_warps,
            feature_warps,
            tokens,
            splits,
            buffers,
            bool(ahead),
            int(blocks or 0),
            bool(cluster),
            int(stages or 0),
            bool(staged),
        )


def largest_tokens(geometry: Geometry) -> int:
    """The most tokens a block may take before its accumulators crowd out everything else."""
    fragments = ACCUMULATOR_REGISTERS // (4 * geometry.cut.tiles)
    return 8 * max(1, min(4, fragments))


@lru_cache(maxsize=4096)
def choose(
    geometry: Geometry, m: int, machine: Machine = H100, weight: str = "", dependent: bool = False
) -> Schedule:
    """The schedule for m tokens. Legal for every geometry and m >= 1.

    Where the machine has a record (schedules/), the fastest schedule of the nearest problem in it,
    as it was measured; else what the rules here say. `weight` is the weights' dtype (default: the
    uN of the width); `dependent` launches start while the one before them drains.
    """
    tokens = 8
    while tokens < min(m, largest_tokens(geometry)):
        tokens *= 2
    if tokens <= 16 and machine == H100 and geometry.cut.contiguous:
        recorded = _nearest(geometry, m, tokens, weight or f"u{geometry.bits}", dependent)
        if recorded is not None:
            return fitting(recorded, geometry)
    chosen = _by_rule(geometry, m, tokens, machine.multiprocessors)
    return staged(chosen, geometry) if tokens <= 16 and machine == H100 else chosen


def staged(schedule: Schedule, geometry: Geometry) -> Schedule:
    """A schedule of the rules with operands by way of shared memory: it takes fewer instructions
    and registers. Words too below 8 bits, where two slots of a turn fit; x has to be shared by two
    feature blocks where its slots would be as large as theirs."""
    in_memory = schedule.splits > 1 and not schedule.cluster
    pairs = geometry.num_blocks % 2 == 0 and schedule.feature_warps == 1 and schedule.warps <= 8
    most = resident_warps(geometry, schedule.tokens)
    if schedule.tokens == 16 and pairs and not in_memory:
        parts = 2 if geometry.num_blocks <= 2 * H100.multiprocessors else schedule.splits
        k_warps = min(schedule.k_warps, most // 2)
        schedule = replace(
            schedule, k_warps=k_warps, feature_warps=2, splits=parts, cluster=parts > 1
        )
    for words in (True, False) if geometry.bits < 8 else (False,):
        # Odd widths leave no registers for words that wait.
        buffers = min(schedule.buffers, 1) if geometry.bits == 8 else 0
        found = replace(schedule, buffers=buffers, ahead=False, stages=2, stage_words=words)
        resident = SHARED_BYTES // (found.stages * found.slot_bytes(geometry) + 1024)
        if resident:
            return replace(found, min_blocks=min(resident, max(1, most // found.warps)))
    return schedule


def fitting(schedule: Schedule, geometry: Geometry) -> Schedule:
    """A schedule with the slots there is room for: a turn of small groups has more scales."""
    if not schedule.stages:
        return schedule
    for stages in (schedule.stages, 2):
        found = replace(schedule, stages=stages)
        resident = SHARED_BYTES // (stages * found.slot_bytes(geometry) + 1024)
        if resident:
            return replace(found, min_blocks=min(schedule.min_blocks, resident))
    return replace(schedule, buffers=1, stages=0, stage_words=False, min_blocks=0)


def resident_warps(geometry: Geometry, tokens: int) -> int:
    """Warps of a multiprocessor whose threads have registers enough: the codes of odd widths leave
    several factors behind, each with sums of its own."""
    return RESIDENT_WARPS // 2 if tokens == 16 and geometry.bits in (3, 5, 6, 7) else RESIDENT_WARPS


@dataclass(frozen=True)
class Entry:
    """A line of a record: the fastest schedule of a problem, and that of dependent launches where
    these were measured."""

    weight: str
    k: int
    n: int
    m: int
    schedule: Schedule
    dependent: Schedule | None = None

    @property
    def tokens(self) -> int:
        """Tokens of a block."""
        return 8 if self.m <= 8 else 16


@cache
def entries() -> tuple[Entry, ...]:
    """The shipped record of the H100."""
    text = files(__package__).joinpath("schedules", "h100.jsonl").read_text("utf-8")
    return tuple(_entry(json.loads(line)) for line in text.splitlines())


def _entry(row: dict[str, Any]) -> Entry:
    dependent = Schedule.parse(row["dependent"]) if "dependent" in row else None
    plain = Schedule.parse(row["schedule"])
    return Entry(row["weight"], row["k"], row["n"], row["m"], plain, dependent)


def _nearest(
    geometry: Geometry, m: int, tokens: int, weight: str, dependent: bool
) -> Schedule | None:
    """The schedule of the nearest recorded problem, if it is within a factor of two and legal. Of
    problems that differ in nothing but tokens it is the one of nearest m: copies of x beyond m cost
    nothing, so that other blocks may be the fastest for one token than for eight. For `dependent`
    launches those come first that were measured so."""
    found = _comparable(geometry, tokens, weight)

    def distance(entry: Entry) -> tuple[float, bool, float]:
        unknown = dependent and entry.dependent is None
        return _distance(entry, geometry), unknown, abs(log2(entry.m / m))

    nearest = min(found, key=distance, default=None)
    if nearest is None or _distance(nearest, geometry) > 1.0:
        return None
    chosen = (nearest.dependent if dependent else None) or nearest.schedule
    spans = geometry.num_spans(tokens)
    if chosen.splits > 1 and not chosen.cluster:
        # Parts that meet in a workspace depend on the number of blocks: the rules count them anew.
        same = _distance(nearest, geometry) == 0.0
        return chosen if same and _all_busy(chosen, spans) else None
    return None if chosen.k_warps * chosen.splits > spans else chosen


def _comparable(geometry: Geometry, tokens: int, weight: str) -> list[Entry]:
    """Entries of the same or the most similar decode, and of feature blocks as wide: the same word
    makes another schedule of other ones."""
    kin, tiles = _kin(weight, geometry.bits), geometry.wanted_tiles
    alike = [each for each in entries() if (each.weight, each.tokens) == (kin, tokens)]
    cuts = (Geometry(geometry.bits, each.k, each.n, each.k) for each in alike)
    return [each for each, cut in zip(alike, cuts, strict=True) if cut.wanted_tiles == tiles]


def _all_busy(schedule: Schedule, spans: int) -> bool:
    """Whether every part of k has turns."""
    turns = -(-spans // schedule.k_warps)
    return (schedule.splits - 1) * -(-turns // schedule.splits) < turns


def _distance(entry: Entry, geometry: Geometry) -> float:
    """How unlike two shapes are: n counts more, for it decides how blocks fill the machine."""
    n, k = max(geometry.n, 1), max(geometry.k, 1)
    return 2 * abs(log2(entry.n / n)) + abs(log2(entry.k / k)) / 2


def _kin(weight: str, bits: int) -> str:
    """The recorded dtype whose decode is most like another's."""
    recorded = {e.weight for e in entries()}
    if weight in recorded:
        return weight
    tables = weight[0] == "e" or weight.startswith("nf")
    floats = {3: "e2m1", 4: "e2m1", 5: "e3m2", 6: "e3m2", 7: "e3m2", 8: "e5m2"}
    return floats[bits] if tables and bits in floats else f"u{bits}"


def _by_rule(geometry: Geometry, m: int, tokens: int, multiprocessors: int) -> Schedule:
    if not geometry.cut.contiguous:
        # Warps can split k only where the chunks of a turn are evenly spaced in x.
        k_warps, feature_warps = 1, 4
    elif tokens <= 16:
        k_warps, feature_warps = _k_warps(geometry, tokens, multiprocessors), 1
    else:
        k_warps, feature_warps = 4, 1
    blocks = -(-m // tokens) * -(-geometry.num_blocks // feature_warps)
    turns = -(-geometry.num_spans(tokens) // k_warps)
    splits = _splits(blocks, turns, multiprocessors)
    # Many accumulators leave no registers for a buffer.
    return Schedule(k_warps, feature_warps, tokens, splits, buffers=0 if tokens > 16 else 1)


def _k_warps(geometry: Geometry, tokens: int, multiprocessors: int) -> int:
    """Warps that split k: 16 where a block has a multiprocessor to itself, 8 where two share it."""
    blocks, bits = geometry.num_blocks, geometry.bits
    several_waves = blocks > 2 * multiprocessors
    alone = blocks <= multiprocessors or (several_waves and bits in (3, 5, 6, 7))
    wanted = 16 if tokens == 8 and alone else 8
    # More warps than spans would have nothing to do.
    while wanted > 1 and wanted > geometry.num_spans(tokens):
        wanted //= 2
    return wanted


def _splits(blocks: int, turns: int, multiprocessors: int) -> int:
    """Parts of k. Blocks that split k meet in memory, which costs as much as a small product: only
    where half the multiprocessors would idle, and with two turns at least for every part."""
    wanted = max(1, multiprocessors // max(blocks, 1))
    splits = max(1, min(wanted, turns // 2, 32))
    # The same number of turns in every part, or one less: no part may be empty.
    each = -(-turns // splits) if turns else 1
    return -(-turns // each) if turns else 1
