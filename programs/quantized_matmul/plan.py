"""From a problem to a kernel: which configuration serves it, and the arguments it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from tileloom.vm import Function

from .config import Config
from .packing import Packed
from .program import quantized_matmul
from .schedule import H100, Machine, Schedule, choose

# Elements of x that one 16-byte load holds, down to one.
VECTORS = (8, 4, 2, 1)


@dataclass(frozen=True)
class Plan:
    """A kernel's configuration and how k is split for one m."""

    config: Config
    schedule: Schedule
    m: int
    feature_blocks: int  # thread blocks along the features

    @property
    def blocks(self) -> int:
        """Blocks of the grid, the parts of k not counted."""
        return self.grid[0] * self.grid[1]

    @property
    def grid(self) -> tuple[int, int, int]:
        tokens = -(-self.m // self.config.tokens)
        return tokens, self.feature_blocks, self.schedule.splits

    @property
    def workspace(self) -> tuple[int, int]:
        """f32 elements of partial sums, and counters; none where k is not split."""
        if not self.config.split:
            return 0, 0
        elements = self.schedule.splits * self.config.features * self.config.tokens
        return self.blocks * elements, self.blocks


def x_vector(k: int, address: int) -> int:
    """How many elements of x may be read at once, from its row length and its address."""
    return next(v for v in VECTORS if k % v == 0 and address % (2 * v) == 0)


def plan(
    packed: Packed,
    m: int,
    activation: str,
    out: str,
    bias: str = "",
    vector: int = 8,
    schedule: Schedule | None = None,
    machine: Machine = H100,
) -> Plan:
    """The kernel for m tokens, and its grid; `schedule` overrides the choice for the machine."""
    chosen = schedule or choose(packed.geometry, m, machine, packed.dtype.name)
    config = Config(
        packed.geometry.cut,
        packed.dtype.name,
        activation,
        packed.zero_point,
        out,
        bias,
        chosen.k_warps,
        chosen.feature_warps,
        chosen.tokens,
        split=chosen.splits > 1 and not chosen.cluster,
        cluster=chosen.splits if chosen.cluster else 1,
        x_vector=vector,
        buffers=chosen.buffers,
        ahead=chosen.ahead,
        min_blocks=chosen.min_blocks,
        stages=chosen.stages,
        stage_words=chosen.stage_words,
        warp_groups=chosen.warp_groups,
    )
    blocks = -(-packed.geometry.num_blocks // chosen.feature_warps)
    return Plan(config, chosen, m, blocks)


@lru_cache(maxsize=512)
def traced(config: Config) -> Function:
    """The VM program of a configuration."""
    return quantized_matmul.trace(
        config=config,
        activation=config.activation,
        out=config.out,
        bias_dtype=config.bias or "f32",
    )


@dataclass(frozen=True)
class Weights:
    """The arrays of a packed tensor in one memory, with stand-ins for what a kernel won't read."""

    words: Any
    scales: Any
    zeros: Any
    no_floats: Any  # f32, stands for a bias or for partial sums
    no_counters: Any  # u32


def host_weights(packed: Packed) -> Weights:
    """The arrays as they are: in the host's memory."""
    zeros = packed.scales if packed.zeros is None else packed.zeros
    return Weights(
        packed.words, packed.scales, zeros, np.zeros(4, np.float32), np.zeros(4, np.uint32)
    )


def arguments(
    plan: Plan,
    packed: Packed,
    weights: Weights,
    x: Any,
    bias: Any,
    y: Any,
    workspace: Sequence[Any] | None,
) -> list[Any]:
    """The kernel's arguments in order."""
    partials, counters = workspace or (weights.no_floats, weights.no_counters)
    return [
        x,
        weights.words,
        weights.scales,
        weights.zeros,
        weights.no_floats if bias is None else bias,
        y,
        partials,
        counters,
        plan.m,
        packed.k,
        packed.n,
        packed.geometry.num_chunks,
        plan.schedule.splits,
        packed.scale_unit,
    ]
