"""The function that a layout is, its inverse image, and what is refused."""

import numpy as np
import pytest
from hypothesis import given

from tileloom.layouts import (
    LayoutError,
    RegisterLayout,
    auto,
    column_local,
    column_spatial,
    local,
    replicate,
    spatial,
)
from tileloom.layouts.register_layout import IntTable

from .strategies import Spec, drawn, indices, register_layouts, specs


@drawn(300)
@given(specs())
def test_table_is_the_mixed_radix_function(spec: Spec) -> None:
    layout = spec.layout()
    assert layout.shape == spec.shape
    assert np.array_equal(layout.table(), spec.table())


@drawn(60)
@given(register_layouts(size=60))
def test_call_agrees_with_table(layout: RegisterLayout) -> None:
    table = layout.table()
    assert table.shape == (layout.num_threads, layout.num_locals, layout.rank)
    assert not table.flags.writeable
    for thread in range(layout.num_threads):
        for i in range(layout.num_locals):
            assert layout(thread, i) == tuple(table[thread, i])


@drawn(150)
@given(register_layouts())
def test_parts_add_up(layout: RegisterLayout) -> None:
    total = layout.spatial_table[:, None, :] + layout.local_table[None, :, :]
    assert np.array_equal(total, layout.table())
    last_thread, last_local = layout.num_threads - 1, layout.num_locals - 1
    assert layout.spatial_part(last_thread) == tuple(layout.spatial_table[-1])
    assert layout.local_part(last_local) == tuple(layout.local_table[-1])


@drawn(150)
@given(register_layouts())
def test_modes_of_give_the_parts(layout: RegisterLayout) -> None:
    threads, locals_ = np.arange(layout.num_threads), np.arange(layout.num_locals)
    for dim in range(layout.rank):
        by_thread = _moved(threads, layout.spatial_modes_of(dim))
        by_local = _moved(locals_, layout.local_modes_of(dim))
        assert np.array_equal(by_thread, layout.spatial_table[:, dim])
        assert np.array_equal(by_local, layout.local_table[:, dim])


def _moved(numbers: IntTable, modes: list[tuple[int, int, int]]) -> IntTable:
    shares = [numbers // step % extent * stride for step, extent, stride in modes]
    return sum(shares, start=np.zeros_like(numbers))


@drawn(150)
@given(register_layouts(size=60))
def test_owners_are_the_inverse_image(layout: RegisterLayout) -> None:
    holders: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for thread, row in enumerate(layout.table().tolist()):
        for i, index in enumerate(row):
            holders.setdefault(tuple(index), []).append((thread, i))
    every = list(map(tuple, indices(layout.shape).tolist()))
    assert sorted(holders) == every
    for index in every:
        assert layout.owners(index) == holders[index]
        assert len(holders[index]) == layout.num_replicas
    threads, locals_ = layout.locate(indices(layout.shape))
    located = list(zip(threads.tolist(), locals_.tolist(), strict=True))
    assert located == [holders[index][0] for index in every]


@drawn(100)
@given(register_layouts(size=60))
def test_no_thread_holds_an_element_twice(layout: RegisterLayout) -> None:
    for held in layout.table().tolist():
        assert len(set(map(tuple, held))) == layout.num_locals


def test_atoms_number_their_elements() -> None:
    rows = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    columns = [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]
    assert [spatial(2, 3)(t, 0) for t in range(6)] == rows
    assert [local(2, 3)(0, i) for i in range(6)] == rows
    assert [column_spatial(2, 3)(t, 0) for t in range(6)] == columns
    assert [column_local(2, 3)(0, i) for i in range(6)] == columns
    assert (spatial(2, 3).num_threads, spatial(2, 3).num_locals) == (6, 1)
    assert (local(2, 3).num_threads, local(2, 3).num_locals) == (1, 6)
    assert [(replicate(3) * local(1, 1))(t, 0) for t in range(3)] == [(0, 0)] * 3


def test_accumulator_of_m16n8() -> None:
    layout = local(2, 1) * spatial(8, 4) * local(1, 2)
    for t in range(32):
        for i in range(4):
            assert layout(t, i) == (8 * (i // 2) + t // 4, 2 * (t % 4) + i % 2)


@pytest.mark.parametrize(
    ("num_threads", "shape", "expected"),
    [
        (32, (16, 64), local(16, 2) * spatial(1, 32)),
        (32, (16, 8), local(4, 1) * spatial(4, 8)),
        (32, (3, 5), replicate(32) * local(3, 5)),
        (96, (48, 5), replicate(2) * local(1, 5) * spatial(48, 1)),
        (12, (6, 10), local(1, 5) * spatial(6, 2)),
        (128, (7,), replicate(128) * local(7)),
    ],
)
def test_auto(num_threads: int, shape: tuple[int, ...], expected: RegisterLayout) -> None:
    assert auto(num_threads, shape) == expected
    assert auto(num_threads, *shape).num_threads == num_threads


def test_surplus_threads_hold_nothing() -> None:
    layout = spatial(5, 4) * local(1, 3)  # 20 of a warp's 32 lanes
    assert layout.num_threads == 20
    owners = {thread for index in indices(layout.shape) for thread, _ in layout.owners(index)}
    assert owners == set(range(20))
    with pytest.raises(LayoutError, match="thread 20 of a layout of 20 threads"):
        layout(20, 0)
    with pytest.raises(LayoutError, match="local 3 of a layout of 3 locals"):
        layout(0, 3)
    with pytest.raises(LayoutError, match="thread -1"):
        layout(-1, 0)


@pytest.mark.parametrize(
    ("factors", "spatial_modes", "local_modes", "message"),
    [
        ([[2, 3]], [(0, 0)], [], "do not tile|give"),
        ([[2, 3]], [(0, 0)], [(0, 0), (0, 1)], "do not tile|give"),
        ([[2, 2]], [(0, 0)], [(0, 1)], "give 4 of extent 6"),
        ([[2, 3]], [(0, 0), (0, 2)], [(0, 1)], r"no mode \(0, 2\)"),
        ([[2, 3]], [(0, 0), local(2)], [(0, 1)], r"only `replicate\(n\)`"),
    ],
)
def test_incomplete_modes_are_refused(factors, spatial_modes, local_modes, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(LayoutError, match=message):
        RegisterLayout.from_modes([6], factors, spatial_modes, local_modes)


def test_bad_extents_are_refused() -> None:
    with pytest.raises(LayoutError, match="extents must be positive"):
        local(2, 0)
    with pytest.raises(LayoutError, match="cannot replicate 0 times"):
        replicate(0)
    with pytest.raises(LayoutError, match="outside the tile"):
        local(2, 3).owners((0, 3))
