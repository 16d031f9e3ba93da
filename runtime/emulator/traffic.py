"""Counts what memory accesses cost: wavefronts of shared memory, sectors of global memory.

Shared memory has 32 banks of 4 bytes. A warp's access is served in passes of at most 128 bytes: all
32 lanes for elements of up to 4 bytes, 16 lanes for 8, 8 lanes for 16 (and so for the rows of an
ldmatrix). A pass takes as many wavefronts as the busiest bank has different words; more than one is
a conflict. Global memory moves sectors of 32 bytes; a warp's access takes as many as it touches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .cohort import Cohort
from .storage import Access
from .types import Array


@dataclass(slots=True)
class LineTraffic:
    """Totals of one PTX line over all warps: what it took and the least its bytes would take."""

    wavefronts: int = 0
    least_wavefronts: int = 0
    sectors: int = 0
    least_sectors: int = 0

    @property
    def conflicts(self) -> int:
        """Wavefronts beyond the least."""
        return self.wavefronts - self.least_wavefronts


class Traffic:
    """`lines` maps a PTX line to its traffic."""

    def __init__(self) -> None:
        self.lines: dict[int, LineTraffic] = {}

    def count(
        self, c: Cohort, line: int, shared: bool, places: Array, access: Access, on: Array | None
    ) -> None:
        """An access of elements `places` (flat over the lanes `on`) of one buffer."""
        warps, lanes = np.nonzero(np.ones(c.mask.shape, bool) if on is None else on)
        first = places.reshape(-1) * access.width
        entry = self.lines.setdefault(line, LineTraffic())
        if shared:
            _count_wavefronts(entry, warps, lanes, first, access.width)
        else:
            _count_sectors(entry, warps, first, access.width)


def _unique(*keys: Array) -> list[Array]:
    """The different tuples of several keys, as columns."""
    rows = np.unique(np.stack(np.broadcast_arrays(*keys), -1).reshape(-1, len(keys)), axis=0)
    return list(rows.T)


def _count_wavefronts(
    entry: LineTraffic, warps: Array, lanes: Array, first: Array, width: int
) -> None:
    lanes_a_pass = max(min(32, 128 // width), 1)
    passes = warps * 32 + lanes // lanes_a_pass
    words = (first[:, None] + np.arange(0, max(width, 4), 4)) // 4
    found, word = _unique(passes[:, None], words)
    _, number = np.unique(found, return_inverse=True)
    banks = np.bincount(number * 32 + word % 32, minlength=(int(number.max()) + 1) * 32)
    entry.wavefronts += int(banks.reshape(-1, 32).max(1).sum())
    entry.least_wavefronts += int((-(-np.bincount(number) // 32)).sum())


def _count_sectors(entry: LineTraffic, warps: Array, first: Array, width: int) -> None:
    sectors = (first[:, None] + np.arange(0, width, 32)) // 32
    entry.sectors += len(_unique(warps[:, None], sectors)[0])
    units = (first[:, None] + np.arange(width)) if width < 4 else first[:, None]
    touched, _ = _unique(warps[:, None], units)
    count = np.bincount(touched) * (1 if width < 4 else width)
    entry.least_sectors += int((-(-count // 32)).sum())
