"""From a problem to a kernel: which configuration serves it, and the arguments it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Any, TypeAlias

from tileloom.vm import Divisor, Function, Kernel
from tileloom.vm.diagnostics import VMValueError

from .config import Config
from .eight_bit import matmul_eight_bit
from .eight_bit_config import ByteConfig
from .eight_bit_packing import BytePacked
from .eight_bit_plan import BytePlan, byte_arguments
from .geometry import Cut, Geometry
from .packed import PackedTensor, Weights
from .packing import Packed
from .program import quantized_matmul
from .schedule import H100, Machine, Schedule, choose
from .wide import quantized_matmul_wide
from .wide_config import WideConfig
from .wide_schedule import WideSchedule, choose_wide, configure

AnyConfig: TypeAlias = Config | WideConfig | ByteConfig
_PROGRAMS: dict[type[AnyConfig], Kernel] = {
    Config: quantized_matmul,
    WideConfig: quantized_matmul_wide,
    ByteConfig: matmul_eight_bit,
}

# Shared memory of a multiprocessor of sm_90, and what of it the driver keeps for each block.
SHARED_OF_MULTIPROCESSOR, SHARED_OF_BLOCK = 228 * 1024, 1024
LARGEST_SHARE = 4

# Elements of x that one 16-byte load holds, down to one.
VECTORS = (8, 4, 2, 1)


@dataclass(frozen=True)
class Plan:
    """A kernel's configuration and how k is split for one m."""

    config: Config | WideConfig
    schedule: Schedule | WideSchedule
    m: int
    feature_blocks: int  # thread blocks along the features
    shared_by: int = 0  # blocks that share all tiles (wide.py)

    @property
    def blocks(self) -> int:
        """Blocks of the grid, the parts of k not counted."""
        return self.grid[0] * self.grid[1]

    @property
    def grid(self) -> tuple[int, int, int]:
        if isinstance(self.config, WideConfig):
            return self.parts, 1, self.config.cluster
        return -(-self.m // self.config.tokens), self.feature_blocks, self.schedule.splits

    @property
    def parts(self) -> int:
        """Blocks of a kernel of warp groups that share all tiles, or take one each."""
        tiles = -(-self.m // self.config.tokens) * self.feature_blocks
        return self.shared_by or tiles

    def shared_alone(self, multiprocessors: int) -> int:
        """Bytes of shared memory with which a multiprocessor takes no more blocks than its share.

        Blocks of a launch that starts early find the places that the blocks before them leave. If
        there is room for twice a multiprocessor's share, some get two shares and others none, and
        more so from launch to launch. 0 where that doesn't help: blocks of large clusters must fit
        beside each other, and many small blocks even out.
        """
        cluster = self.config.cluster
        share = -(-prod(self.grid) // multiprocessors)
        if cluster > 2 or share > LARGEST_SHARE:
            return 0
        return SHARED_OF_MULTIPROCESSOR // share - SHARED_OF_BLOCK

    @property
    def workspace(self) -> tuple[int, int]:
        """f32 elements of partial sums, and counters; none where k is not split."""
        if not self.config.split:
            return 0, 0
        if isinstance(self.config, WideConfig):
            return self.parts * self.config.sums_of_block, self.parts * self.config.groups
        elements = self.schedule.splits * self.config.features * self.config.tokens
        return self.blocks * elements, self.blocks


AnyPlan: TypeAlias = Plan | BytePlan


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
    schedule: Schedule | WideSchedule | None = None,
    machine: Machine = H100,
    y_aligned: bool = True,
    dependent: bool = False,
) -> Plan:
    """The kernel for m tokens, and its grid; `schedule` overrides the choice for the machine.

    `vector` elements of x may be read at once (`x_vector`), and 16 bytes of y be written if it is
    aligned. Launches that are `dependent` start while the one before them drains.
    """
    if not isinstance(schedule, Schedule):
        wide = _wide(packed, m, activation, out, bias, vector, schedule, machine, y_aligned)
        if wide is not None:
            return wide
        schedule = None
    chosen = schedule or choose(packed.geometry, m, machine, packed.dtype.name, dependent)
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
        span=packed.geometry.cut.span(chosen.tokens),
    )
    blocks = -(-packed.geometry.num_blocks // chosen.feature_warps)
    return Plan(config, chosen, m, blocks)


def _wide(
    packed: Packed,
    m: int,
    activation: str,
    out: str,
    bias: str,
    vector: int,
    schedule: WideSchedule | None,
    machine: Machine,
    y_aligned: bool,
) -> Plan | None:
    """The kernel of warp groups, where it is asked for or chosen."""
    far = activation == "f16" and packed.has_far_zeros
    return None if far else _planned(
        packed.geometry, packed.geometry.cut, packed.dtype.name, packed.zero_point, m, activation,
        out, bias, vector, schedule, machine, y_aligned,
    )  # fmt: skip


@lru_cache(maxsize=4096)
def _planned(
    geometry: Geometry,
    cut: Cut,
    weight: str,
    zero_point: str,
    m: int,
    activation: str,
    out: str,
    bias: str,
    vector: int,
    schedule: WideSchedule | None,
    machine: Machine,
    y_aligned: bool,
) -> Plan | None:
    """The same of what it depends on, kept: a call that was made before finds it at once."""
    config = WideConfig(cut, weight, activation, zero_point, out, bias)
    if schedule is None and vector == 8:
        schedule = choose_wide(geometry, m, machine, config)
    if schedule is None or geometry.num_chunks == 0:
        return None
    if vector != 8 or not cut.contiguous:
        raise VMValueError(
            f"`{schedule}` asks for rows of x at multiples of 16 bytes, and for groups that are "
            "whole chunks of rows",
            notes=[f"x is read {vector} elements at once, groups have {geometry.group} rows"],
            hint="leave `schedule` out: another kernel serves these",
        )
    whole = y_aligned and geometry.n % cut.block_features == 0
    config = replace(configure(schedule, config), whole_blocks=whole)
    features = -(-geometry.num_blocks // config.blocks)
    units = -(-m // config.tokens) * features * geometry.num_chunks
    tiles = units // geometry.num_chunks
    shared_by = min(schedule.parts, tiles if schedule.in_rounds else units)
    split = shared_by > 0 and -(-units // shared_by) % geometry.num_chunks > 0
    split &= not config.in_rounds
    return Plan(replace(config, split=split), schedule, m, features, shared_by)


@lru_cache(maxsize=512)
def traced(config: AnyConfig) -> Function:
    """The VM program of a configuration."""
    return _PROGRAMS[type(config)].trace(
        config=config,
        activation=config.activation,
        out=config.out,
        bias_dtype=config.bias or "f32",
    )


def arguments(
    plan: AnyPlan,
    packed: PackedTensor[Any],
    weights: Weights,
    x: Any,
    bias: Any,
    y: Any,
    workspace: Sequence[Any] | None,
) -> list[Any]:
    """The kernel's arguments in order; x is an array, or `Activations` of 8 bits."""
    room = workspace or (weights.no_floats, weights.no_counters)
    if isinstance(plan, BytePlan):
        assert isinstance(packed, BytePacked)
        return byte_arguments(plan, packed, weights, x, bias, y, room)
    assert isinstance(packed, Packed)
    arrays = [x, weights.words, weights.scales, weights.zeros]
    arrays += [weights.no_floats if bias is None else bias, y, *room]
    sizes = (packed.k, packed.n, packed.geometry.num_chunks)
    if isinstance(plan.config, WideConfig):
        down = packed.scale_down if plan.config.activation == "f16" else 1.0
        return [*arrays, *scalars(plan, *sizes, packed.scale_unit, down)]
    return [*arrays, *scalars(plan, *sizes, packed.scale_unit)]


def scalars(
    plan: Plan, k: int, n: int, chunks: int, scale_unit: float, scale_down: float = 1.0
) -> list[int | float]:
    """The kernel's arguments behind the arrays."""
    sizes: list[int | float] = [plan.m, k, n, chunks]
    if isinstance(plan.config, WideConfig):
        token_tiles = -(-plan.m // plan.config.tokens)
        each = -(-token_tiles * plan.feature_blocks * chunks // plan.parts)
        inverses = Divisor.inverse_of(chunks), Divisor.inverse_of(token_tiles)
        return [*sizes, plan.parts, each, *inverses, scale_down, scale_unit / scale_down]
    return [*sizes, plan.schedule.splits, scale_unit]
