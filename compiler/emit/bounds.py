"""Which elements of a tile lie inside the memory's extents: by dimension, and by mask class."""

from __future__ import annotations

from dataclasses import dataclass

from tileloom.layouts import RegisterLayout

from ..ptx import Register, RegisterKind
from .context import Context, GlobalBinding, SharedBinding
from .linear import Linear, gcd

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
        values = sorted(set(layout.local_table[:, dim].tolist()))
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
        scalars = self.context.scalars
        if self.context.facts.is_nonnegative(base + value):
            bound = extent + -(base.const + value)
            return scalars.compare("<", base.without_const(), bound)
        # As unsigned numbers, negative indices lie beyond every extent.
        wide = scalars.is_wide(base) or scalars.is_wide(extent)
        index = scalars.in_register(base + value, wide)
        opcode = f"setp.lt.u{64 if wide else 32}"
        pure = self.context.builder.pure
        return pure(opcode, RegisterKind.PRED, index, scalars.register(extent, wide))

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
