"""Each operation by its defining equation, over the whole domain of drawn layouts."""

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tileloom.layouts import LayoutError, RegisterLayout, column_spatial, local, replicate, spatial
from tileloom.layouts.modes import REPLICATED, Mode

from .strategies import divisions, drawn, pairs, register_layouts

Table = npt.NDArray[np.int64]


def composed(outer: Table, inner: Table, shape: tuple[int, ...]) -> Table:
    """The table of f * g by the definition; `shape` is g's."""
    threads, locals_ = inner.shape[:2]
    t = np.arange(outer.shape[0] * threads)[:, None]
    i = np.arange(outer.shape[1] * locals_)[None, :]
    scale = np.array(shape, dtype=np.int64)
    whole: Table = outer[t // threads, i // locals_] * scale + inner[t % threads, i % locals_]
    return whole


@drawn(300)
@given(pairs())
def test_compose(both: tuple[RegisterLayout, RegisterLayout]) -> None:
    f, g = both
    h = f * g
    assert h.shape == tuple(np.multiply(f.shape, g.shape))
    assert np.array_equal(h.table(), composed(f.table(), g.table(), g.shape))


@drawn(100)
@given(pairs(12), st.data())
def test_compose_is_associative_with_identity(
    both: tuple[RegisterLayout, RegisterLayout], data: st.DataObject
) -> None:
    f, g = both
    h = data.draw(register_layouts(f.rank, 12))
    assert (f * g) * h == f * (g * h)
    assert local() * f == f == f * local()
    assert local([1] * f.rank) * f == f


def test_compose_refuses_other_ranks() -> None:
    with pytest.raises(LayoutError, match="rank 2 and 1: `local\\(2, 3\\)` and `spatial\\(4\\)`"):
        local(2, 3) * spatial(4)
    assert replicate(4) * local(2, 3) == local(2, 3) * replicate(4)


# Division. A quotient's function is determined: q(t, i) = f(t T_g, i L_g) / S_g. It exists if
# that q solves the equation on the whole domain, which is checked here without any modes.


def right_quotient(f: RegisterLayout, g: RegisterLayout) -> Table | None:
    if not _divides(f, g):
        return None
    picked = f.table()[:: g.num_threads, :: g.num_locals]
    scale = np.array(g.shape, dtype=np.int64)
    if np.any(picked % scale):
        return None
    quotient = picked // scale
    return quotient if np.array_equal(composed(quotient, g.table(), g.shape), f.table()) else None


def left_quotient(f: RegisterLayout, g: RegisterLayout) -> Table | None:
    if not _divides(f, g):
        return None
    shape = tuple(np.floor_divide(f.shape, g.shape))
    quotient = f.table()[: f.num_threads // g.num_threads, : f.num_locals // g.num_locals]
    return quotient if np.array_equal(composed(g.table(), quotient, shape), f.table()) else None


def _divides(f: RegisterLayout, g: RegisterLayout) -> bool:
    whole = (*f.shape, f.num_threads, f.num_locals)
    part = (*g.shape, g.num_threads, g.num_locals)
    return not np.any(np.array(whole) % np.array(part))


@st.composite
def parts(draw: st.DrawFn, from_left: bool) -> tuple[RegisterLayout, RegisterLayout]:
    """A layout, and one made of some of its modes from one end: often a factor of it; often
    not, for the modes' order in a list or in a dimension is sometimes another."""
    f = draw(register_layouts(size=100))

    def take(modes: tuple[Mode, ...]) -> list[Mode]:
        taken = list(modes if from_left else modes[::-1])[: draw(st.integers(0, len(modes)))]
        split = draw(st.booleans())
        if taken and split:  # the one at the cut
            dim, extent, stride = taken.pop()
            outer, inner = draw(st.sampled_from(list(divisions(extent))))
            cut = Mode(dim, outer, stride * inner) if from_left else Mode(dim, inner, stride)
            taken.append(cut)
        if draw(st.integers(0, 3)) == 0:
            taken = draw(st.permutations(taken))
        return taken if from_left else taken[::-1]

    lists = take(f.spatial), take(f.local)
    strides = [1] * f.rank
    renewed: dict[Mode, Mode] = {}
    inside_first = sorted((*lists[0], *lists[1]), key=lambda mode: mode.stride)
    if draw(st.integers(0, 3)) == 0:
        inside_first = draw(st.permutations(inside_first))
    for mode in inside_first:
        if mode.dim != REPLICATED:
            renewed[mode] = mode._replace(stride=strides[mode.dim])
            strides[mode.dim] *= mode.extent
    spatial_modes, local_modes = ([renewed.get(m, m) for m in modes] for modes in lists)
    return f, RegisterLayout(tuple(strides), tuple(spatial_modes), tuple(local_modes))


@drawn(500)
@given(parts(from_left=False))
@example((local(4, 4), local(1, 3)))
def test_divide(both: tuple[RegisterLayout, RegisterLayout]) -> None:
    f, g = both
    expected = right_quotient(f, g)
    if expected is None:
        with pytest.raises(LayoutError, match="no layout q has q \\* "):
            f / g
    else:
        assert np.array_equal((f / g).table(), expected)
        assert (f / g) * g == f


@drawn(500)
@given(parts(from_left=True))
@example((local(4, 4), local(1, 3)))
def test_left_divide(both: tuple[RegisterLayout, RegisterLayout]) -> None:
    f, g = both
    expected = left_quotient(f, g)
    if expected is None:
        with pytest.raises(LayoutError, match=r"no layout q has .* \* q = "):
            f.left_divide(g)
    else:
        assert np.array_equal(f.left_divide(g).table(), expected)
        assert g * f.left_divide(g) == f


@drawn(300)
@given(pairs())
def test_products_divide_by_their_factors(both: tuple[RegisterLayout, RegisterLayout]) -> None:
    f, g = both
    assert (f * g) / g == f
    assert (f * g).left_divide(f) == g


@drawn(300)
@given(pairs(12))
def test_unrelated_layouts_divide_only_where_the_function_does(
    both: tuple[RegisterLayout, RegisterLayout],
) -> None:
    f, g = both
    for divide, quotient in ((RegisterLayout.__truediv__, right_quotient),
                             (RegisterLayout.left_divide, left_quotient)):  # fmt: skip
        expected = quotient(f, g)
        try:
            found = divide(f, g).table()
        except LayoutError:
            assert expected is None
        else:
            assert expected is not None and np.array_equal(found, expected)


def test_fragments_divide() -> None:
    a = local(4, 2) * spatial(8, 4) * local(1, 2)
    assert a / (spatial(8, 4) * local(1, 2)) == local(4, 2)
    with pytest.raises(LayoutError, match="no layout q has"):
        a / (column_spatial(4, 8) * local(2, 1))


# Reduction, and the rearrangements of dimensions.


def dims_of(layout: RegisterLayout) -> st.SearchStrategy[list[int]]:
    every = list(range(layout.rank))
    return st.lists(st.sampled_from(every), unique=True) if every else st.just([])


@drawn(300)
@given(register_layouts(), st.data())
def test_reduce_keeps_what_each_thread_contributes_to(
    layout: RegisterLayout, data: st.DataObject
) -> None:
    """Each thread holds the projections of its elements, once each, in order of appearance."""
    dims = data.draw(dims_of(layout))
    reduced, kept = layout.reduce(dims), layout.reduce(dims, keepdims=True)
    others = [dim for dim in range(layout.rank) if dim not in dims]
    assert reduced.shape == tuple(layout.shape[dim] for dim in others)
    assert kept.shape == tuple(1 if d in dims else n for d, n in enumerate(layout.shape))
    assert kept.squeeze(dims) == reduced and reduced.unsqueeze(dims) == kept
    for thread, held in enumerate(layout.table()[..., others].tolist()):
        once = list(dict.fromkeys(map(tuple, held)))
        assert list(map(tuple, reduced.table()[thread].tolist())) == once


@drawn(200)
@given(register_layouts(), st.data())
def test_permute(layout: RegisterLayout, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(layout.rank)))
    permuted = layout.permute(order)
    assert permuted.shape == tuple(layout.shape[dim] for dim in order)
    assert np.array_equal(permuted.table(), layout.table()[..., order])
    assert layout.permute(*order) == permuted


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[RegisterLayout, tuple[int, ...]]:
    layout = draw(register_layouts(size=120))
    left = int(np.prod(layout.shape, dtype=np.int64))
    shape = []
    for _ in range(draw(st.integers(0, 3))):
        extent, left = draw(st.sampled_from(list(divisions(left))))
        shape.append(extent)
    return layout, (*shape, left)


@drawn(400)
@given(reshapes())
def test_reshape(case: tuple[RegisterLayout, tuple[int, ...]]) -> None:
    """Equal in row-major order; refused only where no modes compute the reshaped function."""
    layout, shape = case
    flat = np.zeros(layout.table().shape[:2], dtype=np.int64)
    if layout.rank:
        flat = np.ravel_multi_index(tuple(np.moveaxis(layout.table(), -1, 0)), layout.shape)
    expected = np.stack(np.unravel_index(flat, shape), axis=-1)
    try:
        reshaped = layout.reshape(shape)
    except LayoutError:
        assert not _is_additive(expected) or not _has_modes(expected, shape)
    else:
        assert np.array_equal(reshaped.table(), expected)
        assert reshaped.reshape(layout.shape) == layout


def _is_additive(table: Table) -> bool:
    """f(t, i) = f(t, 0) + f(0, i), which every layout satisfies."""
    return np.array_equal(table[:, :1] + table[:1, :], table)


def _has_modes(table: Table, shape: tuple[int, ...]) -> bool:
    """Read modes off the function, innermost first, and see whether they are a layout."""
    lists = [_read_modes(table[:, 0]), _read_modes(table[0])]
    try:
        layout = RegisterLayout(shape, *lists)
    except LayoutError:
        return False
    return np.array_equal(layout.table(), table)


def _read_modes(values: Table) -> tuple[Mode, ...]:
    modes: list[Mode] = []
    step, number = 1, len(values)
    while step < number:
        move = values[step]
        extent = next(
            (n for n in range(2, number // step) if np.any(values[n * step] != n * move)),
            number // step,
        )
        dims = np.flatnonzero(move)
        if len(dims) > 1 or number % (step * extent):
            return ()
        dim = int(dims[0]) if len(dims) else REPLICATED
        modes.insert(0, Mode(dim, extent, int(move[dim]) if len(dims) else 0))
        step *= extent
    return tuple(modes)


@drawn(100)
@given(register_layouts(), st.data())
def test_unsqueeze_and_squeeze(layout: RegisterLayout, data: st.DataObject) -> None:
    dims = data.draw(st.lists(st.integers(0, layout.rank), unique=True, max_size=2))
    wider = layout.unsqueeze(dims)
    table = np.expand_dims(np.empty(layout.shape), tuple(dims))
    assert wider.shape == table.shape
    assert wider.squeeze(dims) == layout
    others = [dim for dim in range(wider.rank) if dim not in dims]
    assert np.array_equal(wider.table()[..., others], layout.table())


@drawn(150)
@given(register_layouts(size=40), st.data())
def test_expand(layout: RegisterLayout, data: st.DataObject) -> None:
    """Local numbers count the copies outermost, in row-major order of the new indices."""
    dims = data.draw(dims_of(layout))
    narrow = layout.reduce(dims, keepdims=True)
    shape = [3 if narrow.shape[d] == 1 else narrow.shape[d] for d in range(layout.rank)]
    wide = narrow.expand(shape)
    copies = list(product(*(range(a // b) for a, b in zip(shape, narrow.shape, strict=True))))
    expected = np.concatenate([narrow.table() + np.array(c, dtype=int) for c in copies], axis=1)
    assert wide.shape == tuple(shape)
    assert np.array_equal(wide.table(), expected)


@drawn(150)
@given(register_layouts(size=40), register_layouts(size=40))
def test_concat(f: RegisterLayout, g: RegisterLayout) -> None:
    h = f.concat(g)
    assert h.shape == f.shape + g.shape
    t, i = np.arange(h.num_threads)[:, None], np.arange(h.num_locals)[None, :]
    left = f.table()[t // g.num_threads, i // g.num_locals]
    right = g.table()[t % g.num_threads, i % g.num_locals]
    assert np.array_equal(h.table(), np.concatenate([left, right], axis=-1))


@drawn(400)
@given(register_layouts(size=60).filter(lambda layout: layout.rank > 0), st.data())
def test_sub_layout(layout: RegisterLayout, data: st.DataObject) -> None:
    dim = data.draw(st.integers(0, layout.rank - 1))
    start = data.draw(st.integers(0, layout.shape[dim] - 1))
    size = data.draw(st.integers(1, layout.shape[dim] - start))
    position = layout.table()[..., dim]
    inside = (start <= position) & (position < start + size)
    try:
        sub, kept = layout.sub_layout(dim, start, size)
    except LayoutError:
        # Some threads hold more of the box than others, or the box cuts a digit of the locals.
        uneven = np.any(inside != inside[:1])
        assert uneven or len(layout.local_modes_of(dim)) > 1
        return
    assert np.array_equal(inside, np.broadcast_to(np.isin(np.arange(inside.shape[1]), kept),
                                                  inside.shape))  # fmt: skip
    moved = layout.table()[:, kept]
    moved = moved - np.eye(layout.rank, dtype=np.int64)[dim] * start
    assert np.array_equal(sub.table(), moved)


@drawn(100)
@given(register_layouts(rank=2, size=40), st.integers(1, 5), st.integers(0, 4), st.integers(1, 5))
def test_sub_layout_takes_outer_local_tiles(
    inner: RegisterLayout, count: int, first: int, number: int
) -> None:
    first, number = min(first, count - 1), min(number, count - min(first, count - 1))
    rows = inner.shape[0]
    sub, kept = (local(count, 1) * inner).sub_layout(0, first * rows, number * rows)
    assert sub == local(number, 1) * inner
    assert kept == list(range(first * inner.num_locals, (first + number) * inner.num_locals))


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda f: f.permute(0, 0), r"\[0, 0\] is no order of 2 dimensions"),
        (lambda f: f.reduce(2), r"no dimensions \[2\] in a layout of rank 2"),
        (lambda f: f.reshape(5, 5), r"cannot reshape .* from \[6, 4\] to \[5, 5\]"),
        (lambda f: f.squeeze(0), r"cannot squeeze \[0\] of \[6, 4\]: not 1"),
        (lambda f: f.unsqueeze([1, 1]), r"cannot insert dimensions \[1, 1\] into rank 2"),
        (lambda f: f.unsqueeze(4), r"cannot insert dimensions \[4\] into rank 2"),
        (lambda f: f.expand(6, 8), r"cannot expand .* from \[6, 4\] to \[6, 8\]"),
        (lambda f: f.expand(6), r"cannot expand"),
        (lambda f: f.sub_layout(0, 4, 3), r"box \[4, 7\) outside extent 6"),
        (lambda f: f.sub_layout(1, 0, 2), r"\[0, 2\) of dimension 1 is no layout by itself"),
    ],
)
def test_errors_show_what_was_asked(attempt, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LayoutError, match=message):
        attempt(local(2, 1) * spatial(3, 4))
