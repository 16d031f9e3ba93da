"""Random shapes, register layouts and memory layouts."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from random import Random

from tileloom.layouts import (
    MemoryLayout,
    RegisterLayout,
    column_major,
    row_major,
    strided,
    swizzled,
)
from tileloom.layouts.modes import REPLICATED, Mode

_EXTENTS = (1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 8, 10, 12, 16, 16, 16, 24, 32)
_MAX_ELEMENTS = 512
_MAX_LOCALS = 24  # elements a thread holds: more make long programs and show nothing new


def draw_shape(random: Random, rank: int | None = None) -> tuple[int, ...]:
    """A shape of rank 1 to 3, mostly of extents that are no powers of two or both are."""
    rank = rank or random.choices((1, 2, 3), (2, 6, 2))[0]
    while True:
        shape = tuple(random.choice(_EXTENTS) for _ in range(rank))
        if prod(shape) <= _MAX_ELEMENTS:
            return shape


def prime_factors(number: int, random: Random) -> list[int]:
    """The number as a product, in random order, some equal factors joined."""
    found: list[int] = []
    prime = 2
    while number > 1:
        if number % prime:
            prime += 1
            continue
        number //= prime
        if found and random.random() < 0.35:
            found[-1] *= prime
        else:
            found.append(prime)
    random.shuffle(found)
    return found


def draw_layout(random: Random, shape: Sequence[int], threads: int, run: int = 1) -> RegisterLayout:
    """A layout of the shape for at most so many threads: any digits in any order.

    The innermost local digit is `run` neighbours along the last dimension (which it must divide).
    """
    modes: list[Mode] = []
    for dim, extent in enumerate(shape):
        stride = run if dim == len(shape) - 1 else 1
        for factor in prime_factors(extent // stride, random):
            modes.append(Mode(dim, factor, stride))
            stride *= factor
    if random.random() < 0.6:
        random.shuffle(modes)
    for eager in (random.choice((0.3, 0.7, 1.0)), 1.0):
        spatial, local = _parted(random, modes, threads, eager)
        if run * prod(mode.extent for mode in local) <= _MAX_LOCALS:
            break
    spatial.reverse()
    local.reverse()
    _replicate(random, spatial, threads)
    if run > 1:
        local.append(Mode(len(shape) - 1, run, 1))
    return RegisterLayout(tuple(shape), tuple(spatial), tuple(local))


def _parted(
    random: Random, modes: Sequence[Mode], threads: int, eager: float
) -> tuple[list[Mode], list[Mode]]:
    """The modes as digits of the thread and of the local number."""
    spatial: list[Mode] = []
    local: list[Mode] = []
    for mode in modes:
        fits = prod(m.extent for m in spatial) * mode.extent <= threads
        (spatial if fits and random.random() < eager else local).append(mode)
    return spatial, local


def _replicate(random: Random, spatial: list[Mode], threads: int) -> None:
    left = threads // prod(mode.extent for mode in spatial)
    if left > 1 and random.random() < 0.5:
        copies = Mode(REPLICATED, random.choice((left, left, 2, random.randint(2, left))), 0)
        spatial.insert(random.randrange(len(spatial) + 1) if random.random() < 0.5 else 0, copies)


def draw_run(random: Random, extent: int, bits: int) -> int:
    """Neighbours a thread holds along an extent: a divisor of it, up to 16 bytes."""
    runs = [n for n in (1, 2, 3, 4, 6, 8, 16, 32) if extent % n == 0 and n * bits <= 128]
    return random.choice(runs) if runs else 1


def byte_run(extent: int, bits: int) -> int | None:
    """The fewest neighbours along an extent that fill whole bytes; None if there are none."""
    for run in (1, 2, 4, 8):
        if run * bits % 8 == 0 and extent % run == 0:
            return run
    return None


def draw_memory_layout(random: Random, shape: Sequence[int], bits: int) -> MemoryLayout | None:
    """Where a shared tile's elements lie: dense, padded, transposed, in boxes or swizzled."""
    kind = random.choice(("none", "dense", "padded", "column", "swizzled", "swizzled", "boxes"))
    if kind == "none":
        return None
    if kind == "column" and len(shape) > 1 and bits % 8 == 0:
        return column_major(*shape)
    if kind == "padded":
        unit = 1 if bits % 8 == 0 else 8
        strides, stride = [1], 1
        for extent in reversed(shape[1:]):
            stride = -(-stride * extent // unit) * unit + unit * random.choice((0, 1, 2, 4, 8))
            strides.insert(0, stride)
        return strided(shape, strides)
    if kind == "swizzled" and len(shape) > 1 and 128 % bits == 0 and bits <= 64:
        return swizzled(shape, bits)
    if kind == "boxes" and len(shape) == 2 and shape[1] % 2 == 0 and shape[1] // 2 * bits % 8 == 0:
        return row_major(1, 2) * row_major(shape[0], shape[1] // 2)
    return row_major(*shape)
