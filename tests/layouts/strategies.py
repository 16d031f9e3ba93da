"""Random layouts for hypothesis: any factoring, any order, replication, sizes that are no powers
of two."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tileloom.layouts import MemoryLayout, RegisterLayout, Swizzle, replicate
from tileloom.layouts.memory_layout import Digit

EXTENTS = (1, 2, 3, 4, 5, 6, 7, 12)


def drawn(examples: int) -> settings:
    """The settings of a test over this many drawn examples, the same in every run."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


@dataclass(frozen=True)
class Spec:
    """A register layout as data: factors of each dimension and the two lists of their places.

    A negative entry -n of `spatial` is a replication by n.
    """

    factors: tuple[tuple[int, ...], ...]
    spatial: tuple[tuple[int, int] | int, ...]
    local: tuple[tuple[int, int], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(map(prod, self.factors))

    def layout(self) -> RegisterLayout:
        spatial = [replicate(-mode) if isinstance(mode, int) else mode for mode in self.spatial]
        return RegisterLayout.from_modes(self.shape, self.factors, spatial, self.local)

    def extents(self, modes: tuple[tuple[int, int] | int, ...]) -> list[int]:
        return [-m if isinstance(m, int) else self.factors[m[0]][m[1]] for m in modes]

    def table(self) -> npt.NDArray[np.int64]:
        """The values of the layout, by numpy's own mixed-radix functions."""
        lists = (self.spatial, self.local)
        counts = [prod(self.extents(modes)) for modes in lists]
        digits: dict[tuple[int, int], npt.NDArray[np.int64]] = {}
        for axis, modes in enumerate(lists):
            if not modes:
                continue
            numbers = np.arange(counts[axis]).reshape((-1, 1) if axis == 0 else (1, -1))
            values = np.unravel_index(numbers, self.extents(modes))
            digits |= {m: v for m, v in zip(modes, values, strict=True) if not isinstance(m, int)}
        out = np.zeros((*counts, len(self.factors)), dtype=np.int64)
        for dim, factors in enumerate(self.factors):
            if factors:
                parts = [np.broadcast_to(digits[dim, i], counts) for i in range(len(factors))]
                out[..., dim] = np.ravel_multi_index(parts, factors)
        return out


@st.composite
def factorings(draw: st.DrawFn, budget: int, most: int = 3) -> tuple[int, ...]:
    """Up to `most` extents with a product within `budget`."""
    factors: list[int] = []
    for _ in range(draw(st.integers(0, most))):
        fitting = [extent for extent in EXTENTS if extent * prod(factors) <= budget]
        factors.append(draw(st.sampled_from(fitting)))
    return tuple(factors)


@st.composite
def specs(draw: st.DrawFn, rank: int | None = None, size: int = 400) -> Spec:
    """A spec of at most `size` indices."""
    rank = draw(st.integers(0, 3)) if rank is None else rank
    factors: list[tuple[int, ...]] = []
    for _ in range(rank):
        factors.append(draw(factorings(size // prod(map(prod, factors)))))
    modes = [(dim, place) for dim, each in enumerate(factors) for place in range(len(each))]
    spatial: list[tuple[int, int] | int] = []
    local: list[tuple[int, int]] = []
    for mode in draw(st.permutations(modes)):
        (spatial if draw(st.booleans()) else local).append(mode)
    for copies in draw(st.lists(st.sampled_from((2, 3, 4)), max_size=2)):
        spatial.insert(draw(st.integers(0, len(spatial))), -copies)
    return Spec(tuple(factors), tuple(spatial), tuple(local))


def register_layouts(rank: int | None = None, size: int = 400) -> st.SearchStrategy[RegisterLayout]:
    """A layout of at most `size` indices."""
    return specs(rank, size).map(Spec.layout)


@st.composite
def pairs(draw: st.DrawFn, size: int = 40) -> tuple[RegisterLayout, RegisterLayout]:
    """Two layouts of one rank."""
    rank = draw(st.integers(0, 3))
    return draw(register_layouts(rank, size)), draw(register_layouts(rank, size))


@st.composite
def memory_layouts(draw: st.DrawFn, size: int = 300) -> MemoryLayout:
    """An injective memory layout: digits in any order, with gaps, perhaps a swizzle."""
    factors: list[tuple[int, ...]] = []
    for _ in range(draw(st.integers(1, 3))):
        factors.append(draw(factorings(size // prod(map(prod, factors)))))
    places = [(dim, at) for dim, each in enumerate(factors) for at in range(len(each))]
    strides: dict[tuple[int, int], int] = {}
    span = 1
    for dim, at in draw(st.permutations(places)):
        strides[dim, at] = span * draw(st.sampled_from((1, 1, 1, 2, 3)))
        span = strides[dim, at] * factors[dim][at]
    digits = tuple(
        tuple(Digit(extent, strides[dim, at]) for at, extent in enumerate(each))
        for dim, each in enumerate(factors)
    )
    swizzle = draw(st.sampled_from((None, Swizzle(3, 4, 3), Swizzle(1, 4, 3), Swizzle(2, 5, 4))))
    start = draw(st.sampled_from((0, 0, 5, 64)))
    return MemoryLayout(tuple(map(prod, factors)), digits, swizzle, start)


def indices(shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """All indices of a tile in row-major order: [size, rank]."""
    return np.indices(shape).reshape(len(shape), prod(shape)).T.astype(np.int64)


def divisions(number: int) -> Iterator[tuple[int, int]]:
    """All (a, b) with a * b == number."""
    for a in range(1, number + 1):
        if number % a == 0:
            yield a, number // a
