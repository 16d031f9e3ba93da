"""From a problem of 8-bit activations to a kernel: its configuration, and its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tileloom.programs.activations.activations import Activations

from .eight_bit_config import GROUPS, ByteConfig
from .eight_bit_packing import BytePacked
from .eight_bit_schedule import ByteSchedule, choose_bytes, configure, tiles_of
from .packed import Weights
from .schedule import H100, Machine


@dataclass(frozen=True)
class BytePlan:
    """A kernel's configuration for one m, and how many blocks or clusters run it."""

    config: ByteConfig
    schedule: ByteSchedule
    m: int
    parts: int

    @property
    def grid(self) -> tuple[int, int, int]:
        return self.parts, 1, self.config.cluster

    @property
    def workspace(self) -> tuple[int, int]:
        """f32 elements of partial sums, and flags; none where no tile is cut between blocks."""
        if not self.config.split:
            return 0, 0
        return self.parts * self.config.features * self.config.tokens, self.parts * GROUPS


def plan_bytes(
    packed: BytePacked,
    m: int,
    out: str,
    bias: str = "",
    vector: int = 4,
    schedule: ByteSchedule | None = None,
    machine: Machine = H100,
) -> BytePlan:
    """The kernel for m tokens; `schedule` overrides the choice for the machine."""
    geometry = packed.geometry
    vector = next(v for v in (4, 2, 1) if v <= vector and packed.n % v == 0)
    config = ByteConfig(geometry.cut, packed.form, packed.activation, out, bias, vector=vector)
    chosen = schedule or choose_bytes(geometry, m, machine, config)
    config = configure(chosen, config)
    return BytePlan(config, chosen, m, chosen.parts or tiles_of(geometry, m, config))


def byte_arguments(
    plan: BytePlan,
    packed: BytePacked,
    weights: Weights,
    x: Activations,
    bias: Any,
    y: Any,
    workspace: Sequence[Any],
) -> list[Any]:
    """The kernel's arguments in order."""
    arrays = [x.codes, x.scales, weights.words, weights.scales]
    arrays += [weights.no_floats if bias is None else bias, y, *workspace]
    numbers = (x.m, x.stride, packed.n, packed.geometry.num_chunks, plan.parts)
    return [*arrays, *numbers, packed.scale_unit * 2.0**-packed.form.exponent]
