"""Register layouts: which thread holds which elements of a tile, in which of its registers.

A layout is a function f(thread, local) -> index in the tile. Its two arguments are written in
mixed radix, one list of modes (modes.py) for each, outermost digit first:

    spatial     the digits of the thread number
    local       the digits of the local number (the thread's elements, in register order)

and the index is the sum of what all digits contribute. Every digit of every dimension is in
exactly one of the lists, once; so each index has an owner, and all have equally many. Several
threads hold one index where `spatial` has replicated digits. `local` has none: a thread never
holds an element twice.

Example, the accumulator of an m16n8 mma, `local(2, 1) * spatial(8, 4) * local(1, 2)`:

    f(t, i) = (8 * (i // 2) + t // 4,  2 * (t % 4) + i % 2)
    spatial = Mode(0, 8, 1), Mode(1, 4, 2)      t = 4 * row + column pair
    local   = Mode(0, 2, 8), Mode(1, 2, 1)      i = 2 * upper or lower half + column in the pair

Extents are any positive integers. A thread group may have more threads than the layout: threads
numbered `num_threads` and up hold nothing.

Layouts are stored in canonical form (merged lists), so `==` and hash compare functions: f == g
exactly when shapes, thread counts, local counts and all values agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product
from math import prod
from typing import Union

import numpy as np
import numpy.typing as npt

from . import modes as digits
from .errors import LayoutError
from .modes import REPLICATED, Ints, Mode, Modes, as_ints
from .register_text import format_layout
from .tracebacks import user_errors

IntTable = npt.NDArray[np.int64]
ModeReference = Union[tuple[int, int], "RegisterLayout"]


@dataclass(frozen=True)
class RegisterLayout:
    """A tile of `shape` spread over `num_threads` threads of `num_locals` elements each.

    Raises LayoutError if the modes do not give every index exactly one choice of digits.
    """

    shape: tuple[int, ...]
    spatial: Modes
    local: Modes

    def __post_init__(self) -> None:
        if any(extent < 1 for extent in self.shape):
            raise LayoutError(f"extents must be positive: shape {list(self.shape)}")
        object.__setattr__(self, "spatial", digits.merge(self.spatial))
        object.__setattr__(self, "local", digits.merge(self.local))
        if any(mode.dim == REPLICATED for mode in self.local):
            raise LayoutError("a thread cannot hold an element twice: replicated local mode")
        digits.check_exact(self.shape, self.spatial + self.local)
        object.__setattr__(self, "_hash", hash((self.shape, self.spatial, self.local)))

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined,no-any-return]  # tables by layout are hot

    @staticmethod
    @user_errors()
    def from_modes(
        shape: Sequence[int],
        mode_shapes: Sequence[Sequence[int]],
        spatial: Sequence[ModeReference],
        local: Sequence[tuple[int, int]],
    ) -> "RegisterLayout":
        """Build from factored dimensions.

        `mode_shapes[d]` are the extents, outermost first, into which dimension d is factored.
        `spatial` and `local` list modes, outermost first, as (dim, position in mode_shapes[dim]);
        `spatial` may also contain `replicate(n)`. Each mode is listed exactly once.
        """
        if len(mode_shapes) != len(shape):
            raise LayoutError(f"modes of {len(mode_shapes)} dimensions in shape {list(shape)}")

        def mode(reference: ModeReference) -> Mode:
            if isinstance(reference, RegisterLayout):
                if reference.rank or reference.num_locals != 1:
                    raise LayoutError(f"only `replicate(n)` can be listed as a mode: {reference}")
                return Mode(REPLICATED, reference.num_threads, 0)
            dim, position = reference
            if not 0 <= dim < len(mode_shapes) or not 0 <= position < len(mode_shapes[dim]):
                raise LayoutError(f"no mode ({dim}, {position}) in {mode_shapes}")
            inner = mode_shapes[dim][position + 1 :]
            return Mode(dim, mode_shapes[dim][position], prod(inner))

        return RegisterLayout(tuple(shape), tuple(map(mode, spatial)), tuple(map(mode, local)))

    @property
    def rank(self) -> int:
        return len(self.shape)

    @cached_property
    def num_threads(self) -> int:
        return digits.count(self.spatial)

    @cached_property
    def num_locals(self) -> int:
        """Elements a thread holds."""
        return digits.count(self.local)

    @property
    def num_replicas(self) -> int:
        """Threads that hold each index."""
        return digits.count(mode for mode in self.spatial if mode.dim == REPLICATED)

    def canonical(self) -> "RegisterLayout":
        """The layout itself: it is always stored in canonical form."""
        return self

    def __str__(self) -> str:
        return format_layout(self.shape, self.spatial, self.local)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """The picture that notebooks show."""
        from .page import register_html

        return register_html(self)

    # The function, and its inverse image

    @user_errors()
    def __call__(self, thread: int, local: int) -> tuple[int, ...]:
        """The index that `thread` holds as its element number `local`."""
        return tuple(
            a + b for a, b in zip(self.spatial_part(thread), self.local_part(local), strict=True)
        )

    def spatial_part(self, thread: int) -> tuple[int, ...]:
        """The thread's share of the index: f(thread, local) = spatial_part + local_part."""
        if not 0 <= thread < self.num_threads:
            raise LayoutError(f"thread {thread} of a layout of {self.num_threads} threads: {self}")
        return digits.index_of(thread, self.spatial, self.rank)

    def local_part(self, local: int) -> tuple[int, ...]:
        """The local number's share of the index."""
        if not 0 <= local < self.num_locals:
            raise LayoutError(f"local {local} of a layout of {self.num_locals} locals: {self}")
        return digits.index_of(local, self.local, self.rank)

    @cached_property
    def spatial_table(self) -> IntTable:
        """spatial_part of all threads: [num_threads, rank], read-only."""
        return digits.indices_of(self.spatial, self.rank)

    @cached_property
    def local_table(self) -> IntTable:
        """local_part of all local numbers: [num_locals, rank], read-only."""
        return digits.indices_of(self.local, self.rank)

    @cached_property
    def _table(self) -> IntTable:
        table = self.spatial_table[:, None, :] + self.local_table[None, :, :]
        table.setflags(write=False)
        return table

    def table(self) -> IntTable:
        """All values: [num_threads, num_locals, rank], read-only."""
        return self._table

    def spatial_modes_of(self, dim: int) -> list[tuple[int, int, int]]:
        """(step, extent, stride) of the modes by which the thread number moves index[dim]:
        its share is the sum of thread // step % extent * stride. Outermost first; REPLICATED
        (-1) lists the copies, with stride 0."""
        return digits.modes_of(dim, self.spatial)

    def local_modes_of(self, dim: int) -> list[tuple[int, int, int]]:
        """As spatial_modes_of, for the local number."""
        return digits.modes_of(dim, self.local)

    @user_errors()
    def owners(self, index: Sequence[int]) -> list[tuple[int, int]]:
        """All (thread, local) that hold `index`, by rising thread number."""
        if len(index) != self.rank or not all(
            0 <= i < extent for i, extent in zip(index, self.shape, strict=True)
        ):
            raise LayoutError(f"index {tuple(index)} is outside the tile {list(self.shape)}")
        local = sum(
            index[mode.dim] // mode.stride % mode.extent * step
            for step, mode in digits.steps(self.local)
        )
        choices = [
            range(0, step * mode.extent, step)
            if mode.dim == REPLICATED
            else [index[mode.dim] // mode.stride % mode.extent * step]
            for step, mode in digits.steps(self.spatial)
        ]
        return [(thread, local) for thread in sorted(map(sum, product(*choices)))]

    def locate(self, indices: IntTable) -> tuple[IntTable, IntTable]:
        """The first owner of each of `indices` [..., rank]: thread and local numbers [...]."""
        thread, local = (
            sum(
                (
                    indices[..., mode.dim] // mode.stride % mode.extent * step
                    for step, mode in digits.steps(modes)
                    if mode.dim != REPLICATED
                ),
                start=np.zeros(indices.shape[:-1], dtype=np.int64),
            )
            for modes in (self.spatial, self.local)
        )
        return thread, local

    # The algebra. S is a shape, T and L are numbers of threads and locals; indices are added and
    # multiplied dimension by dimension.

    @user_errors()
    def __mul__(self, inner: "RegisterLayout") -> "RegisterLayout":
        """Compose: each element of this layout becomes a tile laid out by `inner`.

        (f * g)(t, i) = f(t // T_g, i // L_g) * S_g + g(t % T_g, i % L_g), of shape S_f * S_g.
        Ranks must agree; a layout of rank 0 (`replicate(n)`) composes with any.
        """
        outer, inner = _same_rank("compose", self, inner)
        return RegisterLayout(
            tuple(a * b for a, b in zip(outer.shape, inner.shape, strict=True)),
            digits.scale(outer.spatial, inner.shape) + inner.spatial,
            digits.scale(outer.local, inner.shape) + inner.local,
        )

    @user_errors()
    def __truediv__(self, inner: "RegisterLayout") -> "RegisterLayout":
        """The q with q * inner == self; LayoutError if there is none."""
        whole, inner = _same_rank("divide", self, inner)
        spatial = digits.strip_suffix(whole.spatial, inner.spatial)
        local = digits.strip_suffix(whole.local, inner.local)
        if spatial is None or local is None:
            raise LayoutError(f"no layout q has q * `{inner}` = `{self}`")
        # Both lists end in inner's: its modes fill the inside of each dimension.
        return RegisterLayout(
            tuple(a // b for a, b in zip(whole.shape, inner.shape, strict=True)),
            digits.unscale(spatial, inner.shape),
            digits.unscale(local, inner.shape),
        )

    @user_errors()
    def left_divide(self, outer: "RegisterLayout") -> "RegisterLayout":
        """The q with outer * q == self; LayoutError if there is none."""
        whole, outer = _same_rank("divide", self, outer)
        inner_shape = tuple(a // b for a, b in zip(whole.shape, outer.shape, strict=True))
        spatial = digits.strip_prefix(whole.spatial, digits.scale(outer.spatial, inner_shape))
        local = digits.strip_prefix(whole.local, digits.scale(outer.local, inner_shape))
        if spatial is None or local is None:
            raise LayoutError(f"no layout q has `{outer}` * q = `{self}`")
        return RegisterLayout(inner_shape, spatial, local)

    @user_errors()
    def reduce(self, dims: Ints, keepdims: bool = False) -> "RegisterLayout":
        """The layout of a tile reduced over `dims`: each thread holds what its elements reduce to.

        Spatial digits of those dimensions become replication, local ones vanish; the dimensions
        become extent 1 (`keepdims`) or vanish.
        """
        reduced = _dims(self, dims)
        spatial = tuple(
            Mode(REPLICATED, m.extent, 0) if m.dim in reduced else m for m in self.spatial
        )
        shape = tuple(1 if dim in reduced else n for dim, n in enumerate(self.shape))
        local = tuple(mode for mode in self.local if mode.dim not in reduced)
        kept = RegisterLayout(shape, spatial, local)
        return kept if keepdims else kept.squeeze(sorted(reduced))

    @user_errors()
    def permute(self, *order: Ints) -> "RegisterLayout":
        """Dimension d of the result is dimension order[d] of this one, as in numpy's transpose."""
        dims = as_ints(order)
        if sorted(dims) != list(range(self.rank)):
            raise LayoutError(f"{list(dims)} is no order of {self.rank} dimensions")
        return _renumbered(self, dims)

    @user_errors()
    def squeeze(self, dims: Ints) -> "RegisterLayout":
        """Drop dimensions of extent 1."""
        dropped = _dims(self, dims)
        if any(self.shape[dim] != 1 for dim in dropped):
            raise LayoutError(f"cannot squeeze {sorted(dropped)} of {list(self.shape)}: not 1")
        return _renumbered(self, tuple(d for d in range(self.rank) if d not in dropped))

    @user_errors()
    def unsqueeze(self, dims: Ints) -> "RegisterLayout":
        """Insert dimensions of extent 1, at these places of the result."""
        places = as_ints((dims,))
        rank = self.rank + len(places)
        if len(set(places)) != len(places) or not all(0 <= place < rank for place in places):
            raise LayoutError(f"cannot insert dimensions {list(places)} into rank {self.rank}")
        rest = iter(range(self.rank))
        sources = tuple(REPLICATED if d in places else next(rest) for d in range(rank))
        return _renumbered(self, sources)

    @user_errors()
    def reshape(self, *shape: Ints) -> "RegisterLayout":
        """The same elements in row-major order under another shape.

        LayoutError where the sizes differ or a digit would have to be cut inside a step.
        """
        return _reshaped(self, as_ints(shape))

    @user_errors()
    def expand(self, *shape: Ints) -> "RegisterLayout":
        """Repeat dimensions of extent 1: each thread holds all copies, outermost in local order."""
        extents = as_ints(shape)
        pairs = list(zip(self.shape, extents, strict=False))
        if len(extents) != self.rank or any(a not in (1, b) for a, b in pairs):
            raise LayoutError(f"cannot expand `{self}` from {list(self.shape)} to {list(extents)}")
        copies = tuple(b // a for a, b in pairs)
        strides = tuple(Mode(dim, n, 1) for dim, n in enumerate(copies))
        return RegisterLayout(copies, (), strides) * self

    def concat(self, other: "RegisterLayout") -> "RegisterLayout":
        """Side by side: h(t, i) = (f(t // T_g, i // L_g), g(t % T_g, i % L_g)), dimensions of
        this layout first."""
        left = self.unsqueeze(range(self.rank, self.rank + other.rank))
        return left * other.unsqueeze(range(self.rank))

    def sub_layout(self, dim: int, start: int, size: int) -> tuple["RegisterLayout", list[int]]:
        """The layout of the box index[dim] in [start, start + size), and the local numbers kept.

        Exists where the box takes whole inner digits, a run of values of one local digit, and
        one value of each digit outside it, all local: every thread keeps the same local numbers,
        kept[i] being the old number of the box's local i. Otherwise LayoutError.
        """
        layout, kept = _box(self, dim, start, size)
        return layout, list(kept)


@lru_cache(maxsize=4096)
def _box(
    layout: RegisterLayout, dim: int, start: int, size: int
) -> tuple[RegisterLayout, tuple[int, ...]]:
    _dims(layout, dim)
    if start < 0 or size < 1 or start + size > layout.shape[dim]:
        raise LayoutError(f"box [{start}, {start + size}) outside extent {layout.shape[dim]}")
    runs = digits.box_digits(dim, start, size, layout.spatial, layout.local)
    if runs is None:
        raise LayoutError(
            f"[{start}, {start + size}) of dimension {dim} is no layout by itself: `{layout}`"
        )
    shape = tuple(size if d == dim else extent for d, extent in enumerate(layout.shape))
    local = tuple(m._replace(extent=len(run)) for m, run in zip(layout.local, runs, strict=True))
    kept = [0]
    for mode, run in zip(layout.local, runs, strict=True):
        kept = [number * mode.extent + digit for number in kept for digit in run]
    return RegisterLayout(shape, layout.spatial, local), tuple(kept)


@lru_cache(maxsize=4096)
def _renumbered(layout: RegisterLayout, sources: tuple[int, ...]) -> RegisterLayout:
    """Dimension d of the result is sources[d] of the layout's, or new (extent 1) if REPLICATED."""
    target = {source: dim for dim, source in enumerate(sources)} | {REPLICATED: REPLICATED}

    def renumber(modes: Modes) -> Modes:
        return tuple(mode._replace(dim=target[mode.dim]) for mode in modes)

    shape = tuple(1 if source == REPLICATED else layout.shape[source] for source in sources)
    return RegisterLayout(shape, renumber(layout.spatial), renumber(layout.local))


@lru_cache(maxsize=4096)
def _reshaped(layout: RegisterLayout, extents: tuple[int, ...]) -> RegisterLayout:
    spatial = digits.unflatten(digits.flatten(layout.spatial, layout.shape), extents)
    local = digits.unflatten(digits.flatten(layout.local, layout.shape), extents)
    if prod(extents) != prod(layout.shape) or spatial is None or local is None:
        raise LayoutError(f"cannot reshape `{layout}` from {list(layout.shape)} to {list(extents)}")
    return RegisterLayout(extents, spatial, local)


def _dims(layout: RegisterLayout, dims: Ints) -> set[int]:
    chosen = set(as_ints((dims,)))
    if not all(0 <= dim < layout.rank for dim in chosen):
        raise LayoutError(f"no dimensions {sorted(chosen)} in a layout of rank {layout.rank}")
    return chosen


def _same_rank(
    verb: str, left: RegisterLayout, right: RegisterLayout
) -> tuple[RegisterLayout, RegisterLayout]:
    """Both at one rank: a layout of rank 0 stands for one element in any rank."""
    if left.rank == right.rank:
        return left, right
    if left.rank == 0:
        return left.unsqueeze(range(right.rank)), right
    if right.rank == 0:
        return left, right.unsqueeze(range(left.rank))
    ranks = f"{left.rank} and {right.rank}"
    raise LayoutError(f"cannot {verb} layouts of rank {ranks}: `{left}` and `{right}`")
