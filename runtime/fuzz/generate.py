"""From a seed to a case: which productions a program is made of.

A quarter of the programs are free: their sums are not exact, and their results are compared within
a bound. A production that refuses is followed by another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from tileloom.vm.dtypes import dtype
from tileloom.vm.expr import Const, Expr
from tileloom.vm.ir import walk
from tileloom.vm.types import PointerType

from . import (
    control,
    conversions,
    elementwise,
    engine,
    gemm_rings,
    inputs,
    memory,
    movement,
    products,
    rings,
    staging,
    updates,
    warp_groups,
)
from .case import TARGETS, Argument, Case
from .draft import Draft, Parameter
from .known import Refusal
from .parsing import parsed

_FREE = 0.25
_MAX_STATEMENTS = 60

Production = Callable[[Draft], None]

# Productions by weight; those of the first table make tiles out of nothing.
_SOURCES: dict[Production, int] = {
    memory.load_input: 8,
    memory.make_full: 2,
    memory.gather: 2,
    memory.far: 1,
    memory.at_the_edge: 2,
    control.ragged_loop: 3,
    conversions.narrow_load: 5,
    conversions.narrowing: 5,
    conversions.paired_codes: 3,
    staging.async_copies: 3,
    staging.matrix_moves: 3,
    staging.pipeline: 1,
    products.mma: 5,
    products.simt_dot: 2,
    products.outer_product: 1,
    rings.ring: 4,
    warp_groups.product: 4,
    engine.engine_load: 4,
    gemm_rings.gemm_ring: 4,
    engine.within_warps: 2,
}
_STEPS: dict[Production, int] = {
    elementwise.numbers: 12,
    elementwise.integer: 4,
    elementwise.compare: 3,
    elementwise.where: 3,
    elementwise.approximate: 6,
    conversions.cast: 7,
    conversions.view: 3,
    movement.relabel: 12,
    movement.reduce: 5,
    movement.scan: 4,
    movement.shuffle: 2,
    movement.item: 2,
    staging.round_trip: 6,
    staging.touch: 3,
    staging.free_one: 1,
    engine.engine_store: 3,
    memory.store_any: 2,
    memory.scatter: 2,
    memory.load_scalar: 2,
    updates.atomic: 2,
    updates.atomic_with_result: 1,
    updates.atomic_scalar: 1,
    updates.fence: 2,
    updates.trap: 1,
    updates.show: 2,
    updates.promise: 3,
    updates.ordered_section: 1,
    staging.through_other_block: 2,
    control.overwrite: 2,
    control.mutate_after: 3,
    control.allocate: 1,
    control.variable: 3,
    control.accumulate: 3,
}
# Themes: what a program has more of, and how often its inputs are floats, words, codes of few
# bits, small floats, bools and odd widths. Mistakes show where many like things meet.
_MORE = 6
_THEMES: tuple[tuple[tuple[Production, ...], tuple[int, ...]], ...] = (
    ((), inputs.USUAL),
    ((), inputs.USUAL),
    ((elementwise.numbers, elementwise.approximate, elementwise.compare), (90, 10, 0, 0, 0, 0)),
    ((elementwise.integer, elementwise.numbers, elementwise.compare, elementwise.where,
      memory.load_scalar), (10, 85, 0, 0, 5, 0)),
    ((conversions.cast, conversions.narrowing, conversions.paired_codes, conversions.narrow_load,
      conversions.view), (30, 20, 25, 25, 0, 0)),
    ((staging.round_trip, staging.touch, staging.async_copies, staging.matrix_moves,
      staging.pipeline), inputs.USUAL),
    ((products.mma, products.simt_dot), (50, 30, 10, 10, 0, 0)),
    ((movement.relabel, movement.shuffle, memory.scatter, memory.gather), (25, 30, 20, 20, 3, 2)),
    ((movement.reduce, movement.scan, updates.atomic, updates.atomic_with_result, movement.item),
     (45, 50, 0, 0, 5, 0)),
    ((control.variable, control.mutate_after, control.accumulate, control.ragged_loop,
      memory.at_the_edge, updates.promise),
     (50, 40, 5, 5, 0, 0)),
)  # fmt: skip
# Programs of a newer GPU: more warps, so that they can take roles, and more clusters.
_ROLES: tuple[Production, ...] = (
    rings.ring, warp_groups.product, engine.engine_load, engine.engine_store, gemm_rings.gemm_ring,
    engine.within_warps, staging.through_other_block,
)  # fmt: skip
_THEMES += ((_ROLES, inputs.USUAL), (_ROLES, inputs.USUAL))
_BLOCKS: dict[Callable[[Draft, control.Fill], None], int] = {
    control.for_loop: 4,
    control.while_loop: 1,
    control.branch: 2,
}


@dataclass(frozen=True)
class Drawn:
    """A case, and for each statement of its program (in `walk` order) what production made it."""

    case: Case
    productions: tuple[int, ...]


def generate(seed: int) -> Drawn:
    """The case of a seed: always the same one.

    Raises:
        CheckError: its program doesn't read back from its text.
    """
    random = Random(seed)
    draft = Draft(random, free=random.random() < _FREE)
    draft.more, draft.families = random.choice(_THEMES)
    if draft.more is _ROLES:
        draft.num_warps = random.choice((4, 4, 8, 8, 5, 5, 2, 3, 9))
    _start(draft)
    attempt(draft, lambda d: _pick(d, _SOURCES))
    fill(draft, random.choice((1, 2, 3, 4, 6)))
    control.settle(draft)
    memory.store_leaves(draft, 4)
    if not any(p.known is not None for p in draft.parameters):
        _store_something(draft)
    function = draft.function(f"fuzz_{seed}")
    arguments = tuple(_argument(p) for p in draft.parameters)
    case = Case(function, arguments, seed, draft.free, TARGETS[-1])
    case = replace(case, function=parsed(case, function))
    case = replace(case, target=random.choice(case.targets))
    return Drawn(case, tuple(draft.productions[id(s)] for s in walk(function.body)))


def _start(draft: Draft) -> None:
    """The grid, and a few scalars."""
    random = draft.random
    counts = random.choice(((1,), (1,), (2,), (3,), (2, 2), (1, 3), (2, 1, 2)))
    for count in counts:
        extent: Expr = Const(count)
        if random.random() < 0.4:
            unit = random.choice((1, 8, 16))
            number = (count - 1) * unit + random.randint(1, unit)
            scalar = draft.scalar_parameter(draft.name("n"), dtype("i32"), number)
            extent = (scalar.expr + (unit - 1)) // unit if unit > 1 else scalar.expr
        draft.grid.append((extent, count))
    if draft.num_blocks > 1 and random.random() < (0.6 if draft.more is _ROLES else 0.25):
        draft.cluster = tuple(random.choice((1, n)) for n in counts)
    inputs.draw_scalars(draft)


def fill(draft: Draft, count: int) -> None:
    """Adds `count` productions to the current block."""
    for _ in range(count):
        if sum(len(scope.statements) for scope in draft.scopes) > _MAX_STATEMENTS:
            return
        attempt(draft, _one)
        if not draft.scope.in_loop:
            control.settle(draft)


def _one(draft: Draft) -> None:
    choice = draft.random.random()
    if choice < 0.14:
        block = _weighted(draft.random, _BLOCKS)
        block(draft, fill)
    elif choice < 0.36 or not draft.readable():
        _pick(draft, _SOURCES)
    else:
        _pick(draft, _STEPS)


def _pick(draft: Draft, table: dict[Production, int]) -> None:
    weights = [w * (_MORE if p in draft.more else 1) for p, w in table.items()]
    draft.random.choices(list(table), weights)[0](draft)


def _weighted(random: Random, table: dict[Callable[..., None], int]) -> Callable[..., None]:
    return random.choices(list(table), list(table.values()))[0]


def attempt(draft: Draft, production: Production, tries: int = 8) -> None:
    """One production that doesn't refuse; what refused ones have added so far stays."""
    depth = len(draft.scopes)
    outer = draft.production
    for _ in range(tries):
        try:
            draft.production = len(draft.productions)
            production(draft)
            return
        except Refusal:
            assert len(draft.scopes) == depth, "a block left open"
        finally:
            draft.production = outer


def _store_something(draft: Draft) -> None:
    tile = memory.load(draft, dtype("u8"), (8,))
    memory.store_tile(draft, tile)


def _argument(parameter: Parameter) -> Argument:
    known = parameter.known
    assert isinstance(parameter.value.type, PointerType) == isinstance(
        parameter.argument, np.ndarray
    )
    if known is None:
        return Argument(parameter.argument)
    return Argument(parameter.argument, True, known.error, known.signed)
