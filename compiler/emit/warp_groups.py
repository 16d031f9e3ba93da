"""Products of warp groups as instructions of 64 rows, n columns and 32 bytes of k.

The accumulator's layout must be `outer * wgmma_d(width)`: `outer`, over the warp groups, says which
of the blocks of 64 rows by `width` columns each of them has, and in which registers. A left operand
in registers is `outer * wgmma_a(dtype)` alike, over blocks of 64 rows by one step of k; each warp
group must have the rows of its accumulator.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd

from tileloom.layouts import LayoutError, RegisterLayout, fragments, local, replicate, spatial

THREADS = fragments.WARP_GROUP
ROWS = fragments.WGMMA_ROWS


@dataclass(frozen=True)
class Blocks:
    """The blocks of an accumulator: `outer` [m / 64, n / width] over the warp groups."""

    width: int
    outer: RegisterLayout

    def left_numbers(self, left: RegisterLayout) -> dict[tuple[int, int], int] | None:
        """For each of our blocks by local number, and each step of k, the local number of the block
        of a left operand [m / 64, steps] that it takes; None if a warp group lacks one."""
        return _left_numbers(self.outer, left)


@lru_cache(maxsize=1024)
def _left_numbers(outer: RegisterLayout, left: RegisterLayout) -> dict[tuple[int, int], int] | None:
    found: dict[tuple[int, int], int] = {}
    for group in range(outer.num_threads):
        if group >= left.num_threads:
            return None
        held = {left(group, number): number for number in range(left.num_locals)}
        for block in range(outer.num_locals):
            row = outer(group, block)[0]
            for step in range(left.shape[1]):
                number = held.get((row, step))
                if number is None or found.setdefault((block, step), number) != number:
                    return None
    return found


def accumulator_blocks(layout: RegisterLayout, dtype: str) -> list[Blocks]:
    """The ways to cut an accumulator into instructions, the widest first."""
    return list(_accumulator_blocks(layout, dtype))


@lru_cache(maxsize=1024)
def _accumulator_blocks(layout: RegisterLayout, dtype: str) -> tuple[Blocks, ...]:
    found = []
    for width in reversed(fragments.wgmma_widths(dtype)):
        if layout.shape[1] % width == 0 and layout.num_threads % THREADS == 0:
            outer = quotient(layout, fragments.wgmma_d(width))
            if outer is not None:
                found.append(Blocks(width, outer))
    return tuple(found)


@lru_cache(maxsize=1024)
def quotient(layout: RegisterLayout, inner: RegisterLayout) -> RegisterLayout | None:
    """The q with q * inner == layout, if there is one."""
    try:
        return layout / inner
    except LayoutError:
        return None


def default_accumulator(shape: tuple[int, ...], num_threads: int) -> RegisterLayout | None:
    """Rows shared out to the warp groups, columns where there are not enough rows, copies where
    neither are; None where there is no warp group. None stays idle: the assembler would run
    products in a branch around it one after the other."""
    groups = num_threads // THREADS
    if groups == 0 or num_threads % THREADS:
        return None
    rows, columns = shape[0] // ROWS, shape[1] // 8
    down = next(d for d in range(groups, 0, -1) if rows % d == 0 and groups % d == 0)
    across = gcd(groups // down, columns)
    copies = replicate(groups // (down * across))
    outer = copies * spatial(down, across) * local(rows // down, 1)
    return outer * spatial(4, 1) * local(1, columns // across) * fragments.MMA_C


def default_left(blocks: Blocks, dtype: str, k: int) -> RegisterLayout:
    """The left operand in registers that an accumulator of these blocks needs."""
    rows = blocks.outer.reduce([1], keepdims=True)
    return rows * local(1, k // fragments.wgmma_depth(dtype)) * fragments.wgmma_a(dtype)
