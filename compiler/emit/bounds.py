"""Which elements of a tile lie inside the memory's extents: by dimension, and by mask class."""

from __future__ import annotations

from dataclasses import dataclass

from tileloom.layouts import RegisterLayout

from ..ptx import Register, RegisterKind
from .context import Context, GlobalBinding, SharedBinding
from .linear import FactTable, Linear, gcd
from .tiles import local_values

B32 = RegisterKind.B32
Condition = Register | bool


class Masks:
    """Bounds conditions by memory dimension."""

    def __init__(
        self,
        context: Context,
        binding: GlobalBinding | SharedBinding,
        bases: list[Linear],
        in_bounds: bool,
    ) -> None:
        self.context = context
        self.bases = bases
        self.in_bounds = in_bounds
        if isinstance(binding, GlobalBinding):
            self.extents = list(binding.shape)
        else:
            self.extents = [Linear({}, extent) for extent in binding.layout.shape]

    def classes(self, memory_dim: int, layout: RegisterLayout, dim: int) -> dict[int, int] | None:
        """Per local value the value that stands for its class; None if all are proven inside."""
        values = local_values(layout, dim)
        if self.in_bounds or self._proven(memory_dim, values[0], values[-1]):
            return None
        facts = self.context.facts
        base, extent = self.bases[memory_dim], self.extents[memory_dim]
        grain = gcd(facts.divisor(base), facts.divisor(extent)) or 1
        return {value: value // grain * grain for value in values}

    def of(self, memory_dim: int, value: int) -> Condition:
        """0 <= base + value < extent"""
        if self.in_bounds or self._proven(memory_dim, value, value):
            return True
        base, extent = self.bases[memory_dim], self.extents[memory_dim]
        scalars, facts = self.context.scalars, self.context.facts
        index, bound = base.without_const(), extent + -(base.const + value)
        wide = scalars.is_wide(base) or scalars.is_wide(extent)
        if facts.is_nonnegative(base + value):
            decided = scalars.decided("<", index, bound)
            if decided is not None:
                return decided
            if wide or _fits(facts, index):
                return scalars.compare("<", index, bound)
            # An offset near 2**31 and a thread's share make a sum that looks negative. Constants
            # go to the extent's side where that costs nothing, or less in a loop.
            stays = bound.const >= extent.const
            known = bound.is_const or facts.is_nonnegative(bound)
            if stays or (facts.is_nonnegative(index) and (known or _depth(bound) < _depth(index))):
                return self._below_unsigned(index, self._natural(bound, extent), False)
        # As unsigned numbers, negative indices lie beyond every extent.
        return self._below_unsigned(base + value, scalars.register(extent, wide), wide)

    def _below_unsigned(self, index: Linear, bound: Register | int, wide: bool) -> Condition:
        register = self.context.scalars.in_register(index, wide)
        opcode = f"setp.lt.u{64 if wide else 32}"
        return self.context.builder.pure(opcode, RegisterKind.PRED, register, bound)

    def _natural(self, bound: Linear, extent: Linear) -> Register | int:
        """A bound made of an extent, or 0 where it would be less."""
        scalars = self.context.scalars
        limit = scalars.register(bound)
        if isinstance(limit, int):
            return max(limit, 0)
        if bound.const >= extent.const or self.context.facts.is_nonnegative(bound):
            return limit
        return self.context.builder.pure("max.s32", B32, limit, 0)

    def _proven(self, memory_dim: int, low: int, high: int) -> bool:
        nonnegative = self.context.facts.is_nonnegative
        base, extent = self.bases[memory_dim], self.extents[memory_dim]
        return nonnegative(base + low) and nonnegative(extent - base + -(high + 1))

    def reaches(self, memory_dim: int, low: int, high: int) -> Condition:
        """Whether some index of base + low .. base + high may be inside the extent."""
        base, extent = self.bases[memory_dim], self.extents[memory_dim]
        compare = self.context.scalars.compare
        return self.context.scalars.conjunction(
            compare("<=", Linear({}, 0), base + high), compare("<", base + low, extent)
        )


def _depth(form: Linear) -> int:
    """Of the innermost loop that a form changes in."""
    regions = [register.region for register in form.terms]
    return max((1 << 30 if region is None else region for region in regions), default=0)


def _fits(facts: FactTable, form: Linear) -> bool:
    """Whether 31 bits hold a sum of natural numbers, provably."""
    highest = facts.upper(form)
    return list(form.terms.values()) == [1] or (highest is not None and highest < 1 << 31)


@dataclass(frozen=True, eq=False)
class Bounds:
    """Conditions of elements by their mask class: a number for each memory dimension in `dims`."""

    masks: Masks
    dims: list[int]

    def inside(self, mask: tuple[int, ...]) -> Condition:
        """Whether the class lies inside along all of them."""
        parts = [self.masks.of(dim, value) for dim, value in zip(self.dims, mask, strict=True)]
        return self.masks.context.scalars.conjunction(*parts)

    def reaches(self, low: tuple[int, ...], high: tuple[int, ...]) -> Condition:
        """Whether one of the classes from `low` to `high` may lie inside."""
        spans = zip(self.dims, low, high, strict=True)
        return self.masks.context.scalars.conjunction(*(self.masks.reaches(*s) for s in spans))
