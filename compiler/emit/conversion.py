"""Chooses how a tile gets from one register layout to another, and says what that costs.

Where each thread holds what it wants, nothing moves. Otherwise a tile travels by lane exchanges
(lane_exchange.py) or through shared memory (shared_exchange.py), whichever is estimated to take
fewer cycles of an SM that runs one block: its load/store unit serves a wavefront or a `shfl` each
cycle, two warps a cycle do arithmetic on all lanes, and a trip has a latency that nothing hides.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tileloom.layouts import RegisterLayout

from .digits import LANES
from .lane_exchange import Exchange, Own, carry_out, plan_exchange
from .locals import matching_locals
from .shared_exchange import SharedRoute, plan_shared_route

_SHUFFLE_LATENCY = 25
# Two barriers, a store and a load that waits for it.
_SHARED_LATENCY = 90


@dataclass(frozen=True)
class Conversion:
    """The way a tile takes, and its estimated cycles. One of the three is there.

    `kept` are the numbers of the own elements that a thread keeps.
    """

    cycles: int
    kept: tuple[int, ...] | None = None
    exchange: Exchange | None = None
    shared: SharedRoute | None = None
    counts: _Counts | None = None

    @property
    def scratch_bytes(self) -> int:
        """Bytes of shared memory that it needs for a moment."""
        return self.shared.num_bytes if self.shared is not None else 0

    def __str__(self) -> str:
        if self.kept is not None:
            return "free: each thread holds what it wants"
        about = f"about {self.cycles} cycles"
        if self.counts is not None:
            return f"by lane exchange: {self.counts}, {about}"
        route = self.shared
        assert route is not None
        conflicts = f"{route.conflicts} wavefronts of bank conflicts"
        return (
            f"through {route.num_bytes} bytes of shared memory `{route.memory}`: "
            f"{route.writes.wavefronts} + {route.reads.wavefronts} wavefronts, "
            f"{conflicts if route.conflicts else 'no bank conflicts'}, {about}"
        )


def container_bits(bits: int) -> int:
    """The width at which elements travel through memory: whole bytes."""
    return max(8, 1 << (bits - 1).bit_length())


@lru_cache(maxsize=1024)
def plan_conversion(before: RegisterLayout, after: RegisterLayout, bits: int) -> Conversion:
    """The cheapest way for elements of `bits` bits, in the whole warps that have a part in it."""
    num_threads = -(-max(before.num_threads, after.num_threads) // LANES) * LANES
    kept = matching_locals(after, before, num_threads)
    if kept is not None:
        return Conversion(0, kept=kept)
    shared = _by_memory(before, after, bits, num_threads)
    exchange = plan_exchange(before, after, bits, num_threads)
    if exchange is None or not _serves(exchange, before, after, bits, num_threads):
        return shared
    counts = _counted(exchange, after, num_threads)
    warps = -(-after.num_threads // LANES)
    cycles = warps * (counts.shuffles + counts.others / 2) + _SHUFFLE_LATENCY
    if cycles > shared.cycles:
        return shared
    return Conversion(round(cycles), exchange=exchange, counts=counts)


def _by_memory(
    before: RegisterLayout, after: RegisterLayout, bits: int, num_threads: int
) -> Conversion:
    route = plan_shared_route(before, after, container_bits(bits), num_threads)
    sides = (route.writes, route.reads)
    cycles = sum(max(side.wavefronts, side.instructions) for side in sides) + _SHARED_LATENCY
    if bits % 8:  # widened, and narrowed again
        cycles += (before.num_locals + after.num_locals) * num_threads // LANES // 2
    return Conversion(cycles, shared=route)


@dataclass
class _Counts:
    """A machine for exchanges that counts what a warp does: its units are the bits at which they
    lie in a register (and the register, by number)."""

    unit_bits: int
    shuffles: int = 0
    selects: int = 0
    joins: int = 0
    _registers: int = 0

    @property
    def others(self) -> int:
        return self.selects + self.joins

    def fresh(self) -> tuple[int, int]:
        self._registers += 1
        return -self._registers, 0

    def select(self, own: Own, value: int, then: Any, otherwise: Any) -> Any:
        if then == otherwise:
            return then
        self.selects += 1 + (then[1] != otherwise[1])
        return self.fresh()

    def move(self, exchange: Exchange, index: tuple[int, ...], units: list[Any]) -> list[Any]:
        self.shuffles += 1
        register, bit = units[0]
        in_place = [(register, bit + i * self.unit_bits) for i in range(len(units))]
        if units != in_place:
            self.joins += len(units) - 1
        register, _ = self.fresh()
        return [(register, i * self.unit_bits) for i in range(len(units))]

    def __str__(self) -> str:
        parts = [(self.shuffles, "shuffle"), (self.selects, "select"), (self.joins, "permute")]
        named = [f"{n} {name}{'s' if n > 1 else ''}" for n, name in parts if n]
        return ", ".join(named) + " a warp"


def _counted(exchange: Exchange, after: RegisterLayout, num_threads: int) -> _Counts:
    bits = exchange.unit_bits
    words = 32 // bits
    counts = _Counts(bits)
    numbers = max(
        1, sum((n - 1) * s for n, s in zip(exchange.shape, exchange.sent, strict=True)) + 1
    )
    units = [divmod(number, words) for number in range(numbers)]
    fields = [(register, place * bits) for register, place in units]
    landed = carry_out(exchange, fields, min(num_threads, after.num_threads), counts)
    wanted = [(landed[i - i % words][0], i % words * bits) for i in range(len(landed))]
    counts.joins += sum(a != b for a, b in zip(landed, wanted, strict=True))
    return counts


@dataclass(frozen=True)
class _Traced:
    """Carries exchanges out on the numbers of elements: units are [threads, elements]."""

    num_threads: int

    def select(self, own: Own, value: int, then: Any, otherwise: Any) -> Any:
        digit = np.arange(self.num_threads) // own[0] % own[1]
        return np.where((digit == value)[:, None], then, otherwise)

    def move(self, exchange: Exchange, index: tuple[int, ...], units: list[Any]) -> list[Any]:
        sources = exchange.sources(index, self.num_threads)
        return [unit[sources] for unit in units]


def _serves(
    exchange: Exchange, before: RegisterLayout, after: RegisterLayout, bits: int, num_threads: int
) -> bool:
    """Whether every thread gets its elements: lanes that read from each other must agree on the
    digits by which the other one chooses, and may not where a digit changes inside a warp."""
    sent, landed = (_fields(layout, bits // exchange.bits) for layout in (before, after))
    held = np.full((num_threads, sent.shape[1]), -1)
    held[: len(sent)] = sent
    units = list(np.moveaxis(held.reshape(num_threads, -1, exchange.unit), 1, 0))
    found = carry_out(exchange, units, min(num_threads, len(landed)), _Traced(num_threads))
    return np.array_equal(np.concatenate(found, 1)[: len(landed)], landed)


def _fields(layout: RegisterLayout, parts: int) -> npt.NDArray[np.int64]:
    """The numbers of the elements [threads, locals], or of their words."""
    indices = np.moveaxis(layout.table(), -1, 0)
    numbers = np.ravel_multi_index(tuple(indices), layout.shape)
    fields: npt.NDArray[np.int64] = numbers[..., None] * parts + np.arange(parts)
    return fields.reshape(len(numbers), -1)
