"""How undefined bits pass through instructions that only move or combine bits.

A store of part of a byte reads the byte, replaces some bits and writes it back; what the other bits
are doesn't matter if nobody reads them. So instructions with a `Flow` are followed bit by bit: a
bit of a result is undefined if it changes with the undefined bits of the sources.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from .step import Spread, Step
from .types import RAW, Array

if TYPE_CHECKING:
    from .cohort import Cohort


def flowing(c: Cohort, step: Step) -> list[Array] | None:
    """The undefined bits of each result [n, 32]; None if no rule tells, or all sources are defined.
    To be called before the step runs."""
    spread = step.spread
    if spread is None:
        return None
    unsure = [slot for slot in dict.fromkeys(spread.ins) if slot in c.undefined]
    if not unsure:
        return None
    if spread.flow.halves:
        return _by_halves(c, spread, unsure)
    movers, controls = spread.ins[: spread.flow.count], spread.ins[spread.flow.count :]
    if any(slot in controls or slot not in movers for slot in unsure):
        return None
    return _by_trial(c, spread, unsure)


def _by_trial(c: Cohort, spread: Spread, unsure: list[int]) -> list[Array]:
    """Bits that differ between trials in which undefined bits are 0 and 1. Where a bit of the
    result depends on one bit only, all sources can change at once."""
    masks = {slot: c.undefined_bits(slot) for slot in unsure}
    choices = product((False, True), repeat=len(unsure)) if spread.flow.mixes else None
    trials = list(choices or ((False,) * len(unsure), (True,) * len(unsure)))
    first: list[Array] = []
    found: list[Array] = []
    for trial in trials:
        sources = []
        for slot in spread.ins:
            value, bits = c.regs[slot], masks.get(slot)
            if bits is not None:
                value = value | bits if trial[unsure.index(slot)] else value & ~bits
            sources.append(value)
        results = spread.fn(*sources)
        results = list(results) if isinstance(results, tuple) else [results]
        if not first:
            first, found = results, [np.zeros_like(result) for result in results]
        found = [old | (a ^ b) for old, a, b in zip(found, first, results, strict=True)]
    return [np.broadcast_to(bits, (c.num_warps, 32)) for bits in found]


def _by_halves(c: Cohort, spread: Spread, unsure: list[int]) -> list[Array]:
    """Packed pairs: a half of the result is undefined where that half of a source is."""
    low, high = np.zeros((2, c.num_warps, 32), bool)
    for slot in unsure:
        bits = c.undefined_bits(slot)
        assert bits is not None
        middle = bits.dtype.itemsize * 4
        low = low | (bits & bits.dtype.type((1 << middle) - 1) != 0)
        high = high | (bits >> bits.dtype.type(middle) != 0)
    found = []
    for width in spread.widths:
        raw, half = RAW[width].type, (1 << width // 2) - 1
        found.append(low * raw(half) | high * raw(half << width // 2))
    return found
