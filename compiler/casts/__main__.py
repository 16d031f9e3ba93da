"""Prints the issue slots per element of every planned cast and decode.

python -m tileloom.compiler.casts [target]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import Dtype, dtype
from tileloom.vm.dtypes.names import predefined
from tileloom.vm.packing import CONTIGUOUS, PAIRED, Packing, pairs

from ..targets import target_named
from .planner import plan_cast, plan_decode

# The verb, with the form of a decode; the destination; the packing.
_COLUMNS: tuple[tuple[str, str, Packing], ...] = (
    ("decode", "f16", PAIRED),
    ("decode", "bf16", PAIRED),
    ("subnormal", "bf16", PAIRED),
    ("cast", "f16", PAIRED),
    ("cast", "bf16", PAIRED),
    ("cast", "f32", PAIRED),
    ("cast", "i8", PAIRED),
    ("cast", "f16", CONTIGUOUS),
    ("cast", "bf16", CONTIGUOUS),
    ("cast", "f32", CONTIGUOUS),
    ("cast", "i8", CONTIGUOUS),
)


def slots_per_element(
    verb: str, source: Dtype, dest: Dtype, packing: Packing, target: str
) -> float | None:
    """Issue slots per element of a plan for 64 elements or more; None where there is no plan.

    The verb is "cast", "decode", or a form of `decode`.
    """
    unit = 2 * pairs(source.bits)
    count = unit * max(1, 64 // unit)
    try:
        if verb == "cast":
            return plan_cast(source, dest, packing, count, target).slots_per_element
        form = "" if verb == "decode" else verb
        return plan_decode(source, dest, packing, count, target, form).slots_per_element
    except VMError:
        return None


def slots_table(target: str) -> Iterator[str]:
    """The lines of the table."""
    heads = [(verb, name, packing.name) for verb, name, packing in _COLUMNS]
    for row in range(3):
        yield "".join(f"{head[row]:>11}" for head in [("", "", "dtype"), *heads])
    kinds = ("uint", "int", "bipolar", "float", "codebook")
    sources = [d for d in predefined() if d.bits <= 8 and d.specials != "scale"]
    for source in sorted(
        (d for d in sources if d.kind in kinds),
        key=lambda d: (kinds.index(d.kind), d.bits, d.exponent_bits),
    ):
        cells = [
            slots_per_element(verb, source, dtype(name), packing, target)
            for verb, name, packing in _COLUMNS
        ]
        numbers = "".join(f"{'-' if cell is None else f'{cell:.3f}':>11}" for cell in cells)
        yield f"{source.name:>11}{numbers}"


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else "sm_90a"
    print(f"issue slots per element on {target_named(name).name}, constants in registers")
    print("\n".join(slots_table(name)))
