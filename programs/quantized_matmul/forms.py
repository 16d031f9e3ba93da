"""How weights become operands of the tensor core: by the fast decode where it is exact."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from tileloom.compiler.casts import plan_decode
from tileloom.vm import PAIRED
from tileloom.vm.decode import FORMS, SUBNORMAL_SCALE, DecodeForm, decode_form
from tileloom.vm.diagnostics import VMTypeError
from tileloom.vm.dtypes import dtype
from tileloom.vm.packing import pairs

# Slots are much the same everywhere, and a program does not depend on where it will run.
_TARGET = "sm_90a"


@dataclass(frozen=True)
class WeightForm:
    """What weights are turned into: by `decode` in a form, or by `cast`.

    x must be multiplied by `x_scale`, a power of two, before it meets them.
    """

    left: DecodeForm  # what is left behind, in factors and constants
    name: str = ""
    decoded: bool = True
    x_scale: float = 1.0


@cache
def weight_form(
    weight: str,
    activation: str,
    x_cost: float = float("inf"),
    factor_cost: float = 0.0,
    tiles: int = 1,
) -> WeightForm:
    """The cheapest form of weights of a dtype, in issue slots.

    `x_cost` is what a product with all of x costs, in slots per weight: forms that take one are
    chosen where they save more. So does `factor_cost` stand for the sums of one more factor, where
    every `tiles`-th pair belongs to one product. Floats of 6 exponent bits and more have values
    that no f16 is: those weights are cast, which rounds the smallest of them (quantization scales
    the largest into f16's range).
    """
    source, dest = dtype(weight), dtype(activation)
    count = pairs(source.bits)
    found: list[tuple[float, WeightForm]] = []
    for name in FORMS:
        try:
            left = decode_form(source, dest, PAIRED, name)
        except VMTypeError:
            continue
        slots = plan_decode(source, dest, PAIRED, 2 * count, _TARGET, name).slots_per_element
        x_scale = SUBNORMAL_SCALE if name == "subnormal" else 1.0
        cost = slots + (x_cost if x_scale != 1.0 else 0.0)
        cost += factor_cost * (_factors(left, tiles) - 1)
        found.append((cost, WeightForm(left, name, x_scale=x_scale)))
    if not found:
        return WeightForm(DecodeForm((0,) * count, (0.0,) * count), decoded=False)
    return min(found, key=lambda entry: entry[0])[1]


def _factors(form: DecodeForm, tiles: int) -> int:
    """How many factors meet in one product, at most."""
    return max(len(set(form.exponents[tile::tiles])) for tile in range(tiles))
