"""Where a tile's elements lie in a thread's words, as lists the planners use."""

from __future__ import annotations

from functools import lru_cache

from tileloom.vm.packing import CONTIGUOUS, Packing

from .context import LoweringError


@lru_cache(maxsize=1024)
def element_positions(packing: Packing, bits: int, count: int) -> tuple[int, ...]:
    """The first bit of each element; every element's bits must be neighbours.

    Raises:
        LoweringError: the packing spreads an element's bits.
    """
    if packing == CONTIGUOUS:
        return tuple(range(0, count * bits, bits))
    table = packing.positions(bits, count).tolist()
    for row in table:
        if row != list(range(row[0], row[0] + bits)):
            raise LoweringError(
                f"elements of {bits} bits are split in packing `{packing.name}`",
                hint="`repack` the tile to the contiguous packing first, or `view` it as words",
            )
    return tuple(row[0] for row in table)
