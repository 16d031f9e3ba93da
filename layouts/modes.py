"""Modes: the digits from which register layouts are built.

A mode is one digit of a number written in mixed radix. It moves the index of one tile dimension:
digit value v adds v * stride to index[dim]. A list of modes, outermost first, turns a number (of
a thread, or of a local element) into an index:

    modes of the thread number      Mode(0, 8, 1), Mode(1, 4, 2)      8 * 4 = 32 threads
    thread 13 = 3 * 4 + 1           digits 3 and 1
    index                           (3 * 1, 1 * 2) = (3, 2)

A mode of REPLICATED counts copies: its digit moves nothing, so all its values hold one index.

Lists are kept merged: no extent 1, and no two neighbours that are one longer digit. A merged list
is determined by the function it computes (read it from the inside: the first step gives the
innermost mode's dimension and stride, the first place where the function leaves that line gives
its extent, and so on), so comparing merged lists compares functions.
"""

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import LayoutError

REPLICATED = -1

Ints = int | Sequence[int]


class Mode(NamedTuple):
    """A digit of `extent` values, each moving index[dim] by `stride` (0 for a replication)."""

    dim: int
    extent: int
    stride: int


Modes = tuple[Mode, ...]


def merge(modes: Iterable[Mode]) -> Modes:
    """The shortest list that computes the same function."""
    merged: list[Mode] = []
    for mode in modes:
        if mode.extent == 1:
            continue
        if merged and merged[-1].dim == mode.dim and merged[-1].stride == mode.extent * mode.stride:
            mode = Mode(mode.dim, merged.pop().extent * mode.extent, mode.stride)
        merged.append(mode)
    return tuple(merged)


def count(modes: Iterable[Mode]) -> int:
    """How many numbers the list's digits form."""
    return prod(mode.extent for mode in modes)


def steps(modes: Sequence[Mode]) -> Iterator[tuple[int, Mode]]:
    """Each mode, innermost first, with its step in the number: digit = number // step % extent."""
    step = 1
    for mode in reversed(modes):
        yield step, mode
        step *= mode.extent


def check_exact(shape: tuple[int, ...], modes: Iterable[Mode]) -> None:
    """Every index of `shape` must come from exactly one choice of digits; else LayoutError."""
    by_dim: list[list[tuple[int, int]]] = [[] for _ in shape]
    for dim, extent, stride in modes:
        if dim != REPLICATED:
            if not 0 <= dim < len(shape):
                raise LayoutError(f"mode of dimension {dim} in a layout of rank {len(shape)}")
            by_dim[dim].append((stride, extent))
    for dim, extent in enumerate(shape):
        covered = 1
        for stride, mode_extent in sorted(by_dim[dim]):
            if stride != covered:
                raise LayoutError(
                    f"the modes of dimension {dim} do not tile it: stride {stride} where "
                    f"{covered} is next"
                )
            covered *= mode_extent
        if covered != extent:
            raise LayoutError(f"the modes of dimension {dim} give {covered} of extent {extent}")


def scale(modes: Iterable[Mode], factors: Sequence[int]) -> Modes:
    """Multiply each stride by its dimension's factor."""
    return tuple(
        mode if mode.dim == REPLICATED else mode._replace(stride=mode.stride * factors[mode.dim])
        for mode in modes
    )


def unscale(modes: Iterable[Mode], factors: Sequence[int]) -> Modes:
    """Divide each stride by its dimension's factor, which must divide it."""
    return tuple(
        mode if mode.dim == REPLICATED else mode._replace(stride=mode.stride // factors[mode.dim])
        for mode in modes
    )


def strip_suffix(modes: Modes, suffix: Modes) -> Modes | None:
    """The list r with merge(r + suffix) == modes, or None. Both lists are merged.

    Concatenation can merge at one place only, between r's last and the suffix's first mode: all
    later modes must agree, and that one may be a multiple of the suffix's.
    """
    if not suffix:
        return modes
    kept = len(modes) - len(suffix)
    if kept < 0 or modes[kept + 1 :] != suffix[1:]:
        return None
    whole, inner = modes[kept], suffix[0]
    rest, odd = divmod(whole.extent, inner.extent)
    if odd or whole.dim != inner.dim or whole.stride != inner.stride:
        return None
    return merge((*modes[:kept], Mode(whole.dim, rest, inner.extent * inner.stride)))


def strip_prefix(modes: Modes, prefix: Modes) -> Modes | None:
    """The list r with merge(prefix + r) == modes, or None. Both lists are merged."""
    if not prefix:
        return modes
    kept = len(prefix)
    if kept > len(modes) or modes[: kept - 1] != prefix[:-1]:
        return None
    whole, outer = modes[kept - 1], prefix[-1]
    rest, odd = divmod(whole.extent, outer.extent)
    if odd or whole.dim != outer.dim or outer.stride != rest * whole.stride:
        return None
    return merge((Mode(whole.dim, rest, whole.stride), *modes[kept:]))


def index_of(number: int, modes: Sequence[Mode], rank: int) -> tuple[int, ...]:
    """What `number`'s digits contribute to the index."""
    index = [0] * rank
    for step, (dim, extent, stride) in steps(modes):
        if dim != REPLICATED:
            index[dim] += number // step % extent * stride
    return tuple(index)


def indices_of(modes: Sequence[Mode], rank: int) -> npt.NDArray[np.int64]:
    """index_of for all numbers at once: int64 [count, rank], read-only."""
    numbers = np.arange(count(modes), dtype=np.int64)
    table = np.zeros((len(numbers), rank), dtype=np.int64)
    for step, (dim, extent, stride) in steps(modes):
        if dim != REPLICATED:
            table[:, dim] += numbers // step % extent * stride
    table.setflags(write=False)
    return table


def flatten(modes: Iterable[Mode], shape: tuple[int, ...]) -> Modes:
    """The modes, merged, as those of the tile's single row-major dimension."""
    flat_steps = [prod(shape[dim + 1 :]) for dim in range(len(shape))]
    return merge(mode._replace(dim=min(mode.dim, 0)) for mode in scale(modes, flat_steps))


def unflatten(modes: Iterable[Mode], shape: tuple[int, ...]) -> Modes | None:
    """Spread modes of one flat dimension over `shape`, splitting those that span several.

    None where a mode would have to be cut inside one of its steps.
    """
    spread: list[Mode] = []
    for mode in modes:
        if mode.dim == REPLICATED:
            spread.append(mode)
            continue
        inside, rest, stride = prod(shape), mode.extent, mode.stride
        for dim, extent in enumerate(shape):
            inside //= extent  # flat step of this dimension
            if rest == 1 or stride * rest <= inside:
                continue
            cut = max(stride, inside)  # digits below it belong to later dimensions
            if cut % stride or cut % inside or rest % (cut // stride):
                return None
            below = cut // stride
            spread.append(Mode(dim, rest // below, cut // inside))
            rest = below
    return tuple(spread)


def box_digits(dim: int, start: int, size: int, spatial: Modes, local: Modes) -> list[range] | None:
    """The digit values of each local mode for index[dim] in [start, start + size).

    None unless the box consists of whole inner digits, a run of one local digit and single
    values of the digits outside it, all of them local.
    """
    runs = [range(mode.extent) for mode in local]
    of_dim = [mode for mode in (*spatial, *local) if mode.dim == dim]
    for mode in sorted(of_dim, key=lambda mode: -mode.stride):
        if start == 0 and size == mode.extent * mode.stride:
            break
        if mode not in local:
            return None
        first, last = start // mode.stride, (start + size - 1) // mode.stride
        runs[local.index(mode)] = range(first, last + 1)
        start -= first * mode.stride
        if first != last:
            if start or size % mode.stride:
                return None
            break
    return runs


def modes_of(dim: int, modes: Modes) -> list[tuple[int, int, int]]:
    """The modes of a dimension as (step, extent, stride), outermost first."""
    found = [(step, m.extent, m.stride) for step, m in steps(modes) if m.dim == dim]
    return found[::-1]


def as_ints(values: Sequence[Ints]) -> tuple[int, ...]:
    """Arguments given as (1, 2) or as ([1, 2],)."""
    flat: list[int] = []
    for value in values:
        flat.extend([value] if isinstance(value, int) else value)
    return tuple(flat)
