"""Atomic updates, semaphores, fences and promises."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from tileloom.vm.dtypes import Dtype, dtype
from tileloom.vm.expr import Binary, Const, Expr, Ref, binary
from tileloom.vm.instructions.atomics import Atomic, AtomicScalar
from tileloom.vm.instructions.debug import Assert, Assume, Print, Trap
from tileloom.vm.instructions.dependencies import LaunchDependents, WaitDependencies
from tileloom.vm.instructions.elementwise import Add
from tileloom.vm.instructions.memory import Load, Store
from tileloom.vm.instructions.sync import Fence, Lock, Release
from tileloom.vm.ir import If
from tileloom.vm.types import GlobalType, RegType, ScalarType, row_major_strides

from . import expressions
from .draft import Draft, Scalar, Tile
from .inputs import at_head, packed
from .known import Known, Refusal, added, join, of_integers, rounded, summed
from .memory import choose_layout, load, output
from .shapes import draw_shape

_WORDS = ("i32", "u32", "u64", "f32", "f16")
_MOST_PRINTED = 64  # elements
_ORDERED = ("add", "min", "max", "and", "or", "xor")


def atomic(draft: Draft) -> None:
    """An update that all blocks make of one place: the result depends on no order."""
    random = draft.random
    tile = draft.choose(dtypes=_WORDS)
    element, shape = tile.dtype, tile.shape
    op = "add" if element.is_float else random.choice(_ORDERED)
    if element.name == "u64" and op in ("min", "max"):
        op = "add"
    count = draft.trips * draft.num_blocks
    known = Known(0, 0, 0)
    if element.is_float:
        known = draft.accept(summed(element, tile.known, count, known))
    extents = tuple(max(1, e + random.choice((0, 0, -1, 2))) for e in shape)
    codes = np.zeros(int(np.prod(extents)), np.uint64)
    pointer = draft.pointer("y", element, packed(element, codes), known)
    sizes = tuple(Const(e) for e in extents)
    view = at_head(draft, pointer, GlobalType(element, sizes, row_major_strides(sizes)))
    offsets: tuple[Expr, ...] = tuple(Const(random.choice((0, 0, 1, -1))) for _ in extents)
    tile.used = True
    draft.emit(Atomic, wants_result=False, target=view, offsets=offsets, value=tile.value, op=op)


def atomic_with_result(draft: Draft) -> None:
    """An update of a place of the block's own, with the values before it."""
    random = draft.random
    tile = draft.choose(dtypes=("i32", "u32", "u64", "i64"))
    element = tile.dtype
    known = of_integers(element)
    view, lead = output(draft, element, tile.shape, known)
    op = random.choice((*_ORDERED, "exchange", "cas"))
    if element.name in ("i64", "u64") and op in ("min", "max"):
        op = "xor"
    fields: dict[str, Any] = {}
    if op == "cas":
        fits = [t for t in draft.readable() if (t.dtype, t.shape) == (element, tile.shape)]
        fields["compare"] = random.choice(fits).value
    inside: tuple[Expr, ...] = tuple(Const(0) for _ in tile.shape)
    draft.tile(
        Atomic, known, wants_result=True,
        target=view, offsets=lead + inside, value=tile.value, op=op, **fields,
    )  # fmt: skip


def atomic_scalar(draft: Draft) -> None:
    """One update by the whole block, of a place of its own."""
    random = draft.random
    element = dtype(random.choice(("i32", "u32")))
    view, lead = output(draft, element, (2,), of_integers(element))
    op = random.choice(("add", "max", "min", "exchange", "xor", "cas"))
    fields: dict[str, Any] = {}
    if op == "cas":
        fields["compare"] = expressions.within(draft, 0, 5).expr
    offsets = (*lead, expressions.within(draft, 0, 1, 1).expr)
    number = expressions.within(draft, 0, 100).expr
    value = draft.emit(
        AtomicScalar, wants_result=True, target=view, offsets=offsets, value=number, op=op, **fields
    )
    for shared in draft.shared():
        shared.pending = False
    assert value is not None and isinstance(value.type, ScalarType)
    known = of_integers(element)
    if element.kind == "int":
        draft.scope.scalars.append(Scalar(Ref(value), known.low, known.high, element))


def ordered_section(draft: Draft) -> None:
    """Blocks take turns: each adds to what the one before it left in memory."""
    random = draft.random
    if len(draft.scopes) > 1:
        raise Refusal("only once a block")
    element = dtype(random.choice(("i32", "f32", "u32")))
    fits = [t for t in draft.readable() if t.dtype == element]
    tile = random.choice(fits) if fits else _fresh(draft, element)
    known = Known(0, 0, 0)
    for _ in range(draft.num_blocks):  # in the order of their numbers
        known = join(known, rounded(element, added(known, tile.known)))
    size = int(np.prod(tile.shape))
    pointer = draft.pointer("y", element, packed(element, np.zeros(size, np.uint64)), known)
    sizes = tuple(Const(e) for e in tile.shape)
    view = at_head(draft, pointer, GlobalType(element, sizes, row_major_strides(sizes)))
    turns = draft.pointer("y", dtype("i32"), np.zeros(4, np.uint8), Known(0, 99, 0))
    one = (Const(1),)
    semaphore = at_head(draft, turns, GlobalType(dtype("i32"), one, one), 4)
    zeros: tuple[Expr, ...] = (Const(0),) * len(tile.shape)
    place = draft.block_number()
    draft.emit(Lock, semaphore=semaphore, offsets=(Const(0),), value=place)
    layout = choose_layout(draft, tile.shape, element.bits)
    annotation = RegType(element, tile.shape, layout)
    old = draft.tile(Load, known, annotation, source=view, offsets=zeros)
    new = draft.tile(Add, known, lhs=old.value, rhs=tile.value)
    new.used = old.used = True
    draft.emit(Store, target=view, offsets=zeros, value=new.value)
    draft.emit(Release, semaphore=semaphore, offsets=(Const(0),), value=place + 1)


def _fresh(draft: Draft, element: Dtype) -> Tile:
    return load(draft, element, draw_shape(draft.random), "grid")


def fence(draft: Draft) -> None:
    """A fence, a barrier, or a word to launches before and after, of which there are none."""
    kind = draft.random.choice(("barrier", "barrier", "fence", "fence", "wait", "launch"))
    if kind == "barrier":
        draft.barrier()
    elif kind == "fence":
        draft.emit(Fence, scope=draft.random.choice(("block", "gpu", "system")))
    else:
        draft.emit(WaitDependencies if kind == "wait" else LaunchDependents)


def trap(draft: Draft) -> None:
    """An error that never happens."""
    known = [s for s in draft.scalars() if s.dtype.kind in ("int", "uint")]
    if not known:
        raise Refusal("no scalar")
    scalar = draft.random.choice(known)
    with draft.block() as scope:
        draft.emit(Trap, message="never")
    beyond = binary(">", scalar.expr, int(scalar.high))
    draft.append(If(beyond, tuple(scope.statements)))


def show(draft: Draft) -> None:
    """Prints a tile or a scalar of which every digit is certain."""
    random = draft.random
    label = random.choice(("", "x", "100%", "tile of"))
    scalars = [s for s in draft.scalars() if s.dtype.kind in ("int", "uint", "bool")]
    if scalars and random.random() < 0.4:
        draft.emit(Print, value=random.choice(scalars).expr, label=label)
        return
    tile = draft.choose()
    if not tile.known.exact or tile.known.special or not tile.known.signed:
        raise Refusal("uncertain digits")
    if prod(tile.shape) > _MOST_PRINTED:
        raise Refusal("a long text")
    draft.use(tile.value)
    draft.emit(Print, value=tile.value, label=label)


def promise(draft: Draft) -> None:
    """A fact about a scalar that holds, assumed or asserted."""
    random = draft.random
    known = [s for s in draft.scalars() if s.dtype.kind in ("int", "uint")]
    if not known:
        raise Refusal("no scalar")
    scalar = random.choice(known)
    low, high = int(scalar.low), int(scalar.high)
    facts: list[Expr] = [
        binary("<=", scalar.expr, high + random.choice((0, 0, 1))),
        binary(">=", scalar.expr, low),
        binary("<", scalar.expr, high + 1),
        binary(">", scalar.expr, low - 1),
    ]
    if low == high and low:
        divisors = [d for d in (2, 3, 4, 8, 16, 5, 7) if low % d == 0]
        facts += [binary("==", binary("%", scalar.expr, d), 0) for d in divisors] * 3
        facts.append(binary("==", scalar.expr, low))
    fact = random.choice(facts)
    if random.random() < 0.3:
        fact = Binary("and", fact, random.choice(facts))
    if random.random() < 0.2 and isinstance(fact, Binary):
        draft.emit(Assert, condition=fact, message="holds")
    else:
        draft.emit(Assume, condition=fact)
