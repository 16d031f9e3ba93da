"""Two register layouts of one tile, written in the same digits.

Each dimension is cut wherever a mode of either layout begins or ends, and the parts into primes.
Then every digit of an index is one digit of the thread or the local number under each layout, and a
change of layout is a rearrangement of digits:

    before  spatial(8, 4) * local(1, 2)     after  local(2, 1) * spatial(4, 8)
    row     2 x 4                           local x lane        (from lane x lane)
    column  2 x 2 x 2                       lane x lane x lane  (from lane x lane x local)
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from tileloom.layouts import RegisterLayout
from tileloom.layouts.modes import REPLICATED, Mode, Modes, steps

LANES = 32


class Spot(NamedTuple):
    """A digit's place: in the `local` number, the `lane` number or the `warp`'s, the last two
    counted in threads; number // step % extent is the digit."""

    where: str
    step: int


class Digit(NamedTuple):
    """A digit of index[dim], and its place before and after."""

    dim: int
    stride: int
    extent: int
    before: Spot
    after: Spot

    def spot(self, after: bool) -> Spot:
        """Its place after, or before."""
        return self.after if after else self.before


@lru_cache(maxsize=1024)
def common_digits(before: RegisterLayout, after: RegisterLayout) -> tuple[Digit, ...] | None:
    """The digits of a tile, by dimension, innermost first.

    None where there are none: extents cut at 2 and at 3, or a digit that straddles warps.
    """
    found: list[Digit] = []
    for dim, extent in enumerate(before.shape):
        first, second = _spots(before, dim), _spots(after, dim)
        cuts = sorted({1, extent, *_cuts(first), *_cuts(second)})
        for low, high in pairwise(cuts):
            if high % low:
                return None
            stride = low
            for prime in _primes(high // low):
                spots = [_spot_at(spots, stride, prime) for spots in (first, second)]
                if spots[0] is None or spots[1] is None:
                    return None
                found.append(Digit(dim, stride, prime, spots[0], spots[1]))
                stride *= prime
    return tuple(found)


def replicas(layout: RegisterLayout) -> list[tuple[int, int]] | None:
    """(step, prime extent) of the replicated digits within a warp; None if one straddles warps."""
    found: list[tuple[int, int]] = []
    for step, mode in steps(layout.spatial):
        if mode.dim != REPLICATED:
            continue
        for prime in _primes(mode.extent):
            if step < LANES < step * prime:
                return None
            if step < LANES:
                found.append((step, prime))
            step *= prime
    return found


_Spots = list[tuple[Mode, str, int]]


def _spots(layout: RegisterLayout, dim: int) -> _Spots:
    """(mode, thread or local, step) of a dimension."""
    lists: tuple[tuple[str, Modes], ...] = (("thread", layout.spatial), ("local", layout.local))
    return [
        (mode, where, step)
        for where, modes in lists
        for step, mode in steps(modes)
        if mode.dim == dim
    ]


def _cuts(spots: _Spots) -> set[int]:
    return {cut for mode, _, _ in spots for cut in (mode.stride, mode.stride * mode.extent)}


def _spot_at(spots: _Spots, stride: int, extent: int) -> Spot | None:
    for mode, where, step in spots:
        if not mode.stride <= stride < mode.stride * mode.extent:
            continue
        if stride % mode.stride:
            return None
        own = step * (stride // mode.stride)
        if where == "local":
            return Spot("local", own)
        if own < LANES < own * extent:
            return None
        return Spot("lane" if own < LANES else "warp", own)
    raise AssertionError("every digit has a mode")


def _primes(number: int) -> list[int]:
    """Prime factors, the smallest first."""
    found, factor = [], 2
    while number > 1:
        while number % factor == 0:
            found.append(factor)
            number //= factor
        factor += 1
    return found
