"""Equal layouts are equal functions, and the other way round."""

from collections.abc import Iterator
from itertools import permutations, product
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tileloom.layouts import RegisterLayout

from .strategies import Spec, divisions, drawn, specs

Place = tuple[int, int] | int


def _key(layout: RegisterLayout) -> tuple[object, ...]:
    table = layout.table()
    return layout.shape, table.shape, table.tobytes()


def _factorings(extent: int) -> list[tuple[int, ...]]:
    if extent == 1:
        return [()]
    return [
        (first, *rest)
        for first, left in divisions(extent)
        if first > 1
        for rest in _factorings(left)
    ]


@pytest.mark.parametrize("shape", [(1,), (4,), (6,), (8,), (12,), (2, 2), (2, 4), (3, 4), (2, 1)])
def test_every_layout_of_a_small_tile(shape: tuple[int, ...]) -> None:
    """All factorings, assignments and orders: as many layouts as functions, name for name."""
    by_function: dict[tuple[object, ...], RegisterLayout] = {}
    layouts = set()
    for factors in product(*map(_factorings, shape)):
        modes: list[Place] = [
            (dim, i) for dim, each in enumerate(factors) for i in range(len(each))
        ]
        for order in permutations([*modes, -2]):
            for cut in range(len(order) + 1):
                if -2 in order[cut:]:
                    continue
                local = cast(tuple[tuple[int, int], ...], order[cut:])
                layout = Spec(factors, order[:cut], local).layout()
                layouts.add(layout)
                assert by_function.setdefault(_key(layout), layout) == layout
    assert len(layouts) == len(by_function)


@st.composite
def refactored(draw: st.DrawFn) -> tuple[Spec, Spec]:
    """A spec, and the same function with its modes split into finer ones."""
    spec = draw(specs())
    splits = [[draw(st.sampled_from(list(divisions(n)))) for n in each] for each in spec.factors]
    fine = tuple(tuple(part for pair in each for part in pair) for each in splits)

    def refine(modes: tuple[Place, ...]) -> Iterator[Place]:
        for mode in modes:
            if isinstance(mode, int):
                yield from (mode, -1)
            else:
                yield from ((mode[0], 2 * mode[1]), (mode[0], 2 * mode[1] + 1))

    return spec, Spec(
        fine,
        tuple(refine(spec.spatial)),
        cast(tuple[tuple[int, int], ...], tuple(refine(spec.local))),
    )


@drawn(300)
@given(refactored())
def test_finer_modes_of_one_function_are_equal(both: tuple[Spec, Spec]) -> None:
    one, other = (spec.layout() for spec in both)
    assert np.array_equal(both[0].table(), both[1].table())
    assert one == other and hash(one) == hash(other) and str(one) == str(other)
    assert one.canonical() == one


@drawn(300)
@given(specs(size=12), specs(size=12))
def test_equal_iff_the_functions_are(one: Spec, other: Spec) -> None:
    assert (one.layout() == other.layout()) == (_key(one.layout()) == _key(other.layout()))
