"""Loops, branches, variables, and tiles that are written in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tileloom.vm.dtypes import dtype
from tileloom.vm.expr import Const, Expr, Ref, as_expr, binary
from tileloom.vm.instructions.create import AllocRegisters, Full
from tileloom.vm.instructions.elementwise import Add, FusedMultiplyAdd, Max, Min, Sub
from tileloom.vm.instructions.memory import Load
from tileloom.vm.instructions.scalars import Assign, Var
from tileloom.vm.instructions.transform import Cast, Reshape, Slice, Transpose
from tileloom.vm.ir import Break, For, If, Return, Value, While
from tileloom.vm.types import RegType, ScalarType

from . import expressions
from .draft import BOOL, I32, Draft, Scalar, Tile
from .inputs import draw_view, extent_of
from .known import Known, Refusal, join, multiplied, of_integers
from .memory import choose_layout, load, store_leaves, store_tile
from .shapes import draw_shape

Fill = Callable[[Draft, int], None]

_MAX_TRIPS = 5
_MAX_DEPTH = 3


def _check_depth(draft: Draft) -> None:
    if len(draft.scopes) > _MAX_DEPTH or draft.trips > 12:
        raise Refusal("too deep")


def for_loop(draft: Draft, fill: Fill) -> None:
    """A loop with bounds that are constants, run-time values, or expressions of both."""
    _check_depth(draft)
    random = draft.random
    step = random.choice((1, 1, 1, 2, 3, 5))
    trips = random.randint(0, _MAX_TRIPS) if draft.trips == 1 else random.randint(0, 3)
    lower = random.choice((0, 0, 0, 1, 4, -3))
    upper = lower + trips * step - random.randrange(step) if trips else lower - random.randint(0, 2)
    low, high = _bound(draft, lower), _bound(draft, upper)
    kind = I32 if random.random() < 0.85 else dtype("i64")
    index = Value(draft.name("k"), ScalarType(kind))
    constant = isinstance(low, Const) and isinstance(high, Const)
    unroll = random.choice((1, 1, 1, 2, 3, 4, 0 if constant else 1))
    budget(draft, trips)
    with draft.block(max(trips, 1), in_loop=True) as scope:
        last = lower + max(trips - 1, 0) * step
        scope.scalars.append(Scalar(Ref(index), lower, last, kind))
        turn = binary("/", binary("-", Ref(index), lower), step)
        scope.places.append((turn, max(trips, 1)))
        fill(draft, random.randint(1, 4))
        _leave(draft)
        if random.random() < 0.2 and draft.scope.statements:
            _break(draft)
    stride = Const(step) if random.random() < 0.7 else _bound(draft, step)
    if not isinstance(stride, Const) and unroll == 0:
        unroll = 1
    draft.append(For(index, low, high, stride, tuple(scope.statements), unroll))


def _bound(draft: Draft, number: int) -> Expr:
    """A number as a constant, a parameter, or a sum of one."""
    random = draft.random
    choice = random.random()
    if choice < 0.35:
        return Const(number)
    kind = dtype("i32") if random.random() < 0.8 else dtype("i64")
    if choice < 0.75:
        return draft.scalar_parameter(draft.name("n"), kind, number).expr
    offset = random.choice((1, 2, 7, -3))
    return draft.scalar_parameter(draft.name("n"), kind, number - offset).expr + offset


def _break(draft: Draft) -> None:
    condition = expressions.condition(draft)
    with draft.block() as scope:
        draft.append(Break())
    draft.append(If(condition, tuple(scope.statements)))


def budget(draft: Draft, trips: int) -> None:
    """Makes a tile or two that the loop to come may add to."""
    random = draft.random
    if trips == 0 or random.random() < 0.3:
        return
    for _ in range(random.choice((1, 1, 2))):
        element = dtype(random.choice(("f32", "i32", "f32", "f16", "i64", "bf16", "u8")))
        shape = _likely_shape(draft)
        fill = random.choice((0, 0, 1))
        annotation = RegType(element, shape, choose_layout(draft, shape, element.bits, 0.5))
        value = float(fill) if element.is_float else fill
        acc = draft.tile(Full, Known(fill, fill, 0), annotation, fill=value)
        if element.is_float:
            top = 2.0 ** {"f32": 20, "f16": 9, "bf16": 6}[element.name]
            acc.known = Known(-top, top, {"f32": -4, "f16": -2, "bf16": -2}[element.name])
            acc.budget = top - 1
        else:
            acc.known, acc.budget = of_integers(element), 0.0


def _likely_shape(draft: Draft) -> tuple[int, ...]:
    tiles = draft.readable()
    if tiles and draft.random.random() < 0.7:
        return draft.random.choice(tiles).shape
    return draw_shape(draft.random)


def accumulate(draft: Draft) -> None:
    """Adds a tile to one that loops add to, as often as its budget allows."""
    random = draft.random
    found = [t for t in draft.tiles() if t.budget is not None]
    random.shuffle(found)
    for acc in found:
        fits = [
            t for t in draft.readable() if t.dtype == acc.dtype and _grows_to(t.shape, acc.shape)
        ]
        if fits and _add(draft, acc, random.choice(fits[-3:])):
            return
    raise Refusal("nothing to add")


def _grows_to(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(wanted), strict=False)
    return len(shape) <= len(wanted) and all(a in (1, b) for a, b in pairs)


def _add(draft: Draft, acc: Tile, part: Tile) -> bool:
    random = draft.random
    assert acc.budget is not None
    cls = random.choice((Add, Add, Sub, Min, Max, FusedMultiplyAdd))
    grown = part.known
    fields: dict[str, Any] = {"lhs": acc.value, "rhs": part.value}
    if cls is FusedMultiplyAdd:
        factor = random.choice((1, 2, -1))
        number = Const(float(factor) if acc.dtype.is_float else factor)
        grown = multiplied(part.known, Known(factor, factor, 0))
        fields = {"a": part.value, "b": number, "c": acc.value}
    if acc.dtype.is_float:
        cost = grown.top * draft.trips
        grains = grown.grain is not None and acc.known.grain is not None
        if not grains or grown.special or not grown.exact or cost > acc.budget:
            return False
        if grown.grain < acc.known.grain:  # type: ignore[operator]
            return False
        acc.budget -= cost
    part.used = True
    total = draft.tile(cls, acc.known, **fields)
    total.used = True
    draft.scope.tiles.remove(total)
    acc.used = False
    draft.emit(Assign, target=acc.value, value=total.value)
    return True


def settle(draft: Draft) -> None:
    """After a loop its sums may be read like any tile."""
    for tile in draft.scope.tiles:
        if tile.budget is not None and not draft.scope.in_loop:
            tile.budget = None


def _leave(draft: Draft) -> None:
    """Before a block ends: what it computed is added up or stored."""
    for _ in range(2):
        try:
            accumulate(draft)
        except Refusal:
            break
    store_leaves(draft, 2)


def while_loop(draft: Draft, fill: Fill) -> None:
    """A loop over a variable that counts up or is halved."""
    _check_depth(draft)
    random = draft.random
    trips = random.randint(0, 4)
    start = draft.scalar_parameter(draft.name("n"), I32, trips).expr
    counter = draft.emit(Var, ScalarType(I32), value=Const(0))
    assert counter is not None
    budget(draft, trips)
    with draft.block(max(trips, 1), in_loop=True) as scope:
        scope.scalars.append(Scalar(Ref(counter), 0, max(trips - 1, 0), I32))
        scope.places.append((Ref(counter), max(trips, 1)))
        fill(draft, random.randint(1, 3))
        _leave(draft)
        scope.scalars.pop(0)
        draft.emit(Assign, target=counter, value=Ref(counter) + 1)
    draft.append(While(binary("<", Ref(counter), start), tuple(scope.statements)))


def branch(draft: Draft, fill: Fill) -> None:
    """Two sides, of which one runs."""
    _check_depth(draft)
    random = draft.random
    condition = expressions.condition(draft)
    sides = []
    for side in range(random.choice((1, 2, 2))):
        with draft.block() as scope:
            fill(draft, random.randint(1, 3))
            _leave(draft)
            if side == 0 and len(draft.scopes) == 2 and random.random() < 0.1:
                draft.append(Return())
        sides.append(tuple(scope.statements))
    draft.append(If(condition, sides[0], sides[1] if len(sides) > 1 else ()))


def overwrite(draft: Draft) -> None:
    """Another tile's values written over a tile that others may have been made from."""
    random = draft.random
    target = draft.choose()
    fits = [
        t
        for t in draft.readable()
        if t is not target
        and (t.dtype, t.shape) == (target.dtype, target.shape)
        and t.type.packing == target.type.packing
    ]
    if not fits:
        raise Refusal("no tile")
    source = random.choice(fits)
    here = target in draft.scope.tiles
    if not here and not target.known.contains(source.known):
        if draft.scope.in_loop:
            raise Refusal("read with other values in the next turn")
        target.known = join(target.known, source.known)
    elif here:
        target.known = source.known
    source.used = True
    target.used = False
    draft.emit(Assign, target=target.value, value=source.value)


def allocate(draft: Draft) -> None:
    """Registers that hold nothing until they are written."""
    tile = draft.choose()
    layout = choose_layout(draft, tile.shape, tile.dtype.bits, 0.5)
    annotation = RegType(tile.dtype, tile.shape, layout, tile.type.packing)
    value = draft.emit(AllocRegisters, annotation)
    assert value is not None
    tile.used = True
    draft.emit(Assign, target=value, value=tile.value)
    draft.scope.tiles.append(Tile(value, tile.known))


def variable(draft: Draft) -> None:
    """A new scalar variable, or another value for one."""
    random = draft.random
    known = [s for s in draft.scalars() if s.is_variable]
    if known and random.random() < 0.6:
        scalar = random.choice(known)
        draft.emit(Assign, target=scalar.value, value=_number(draft, scalar))
        return
    name = random.choice(("i32", "i32", "i64", "u32", "i16", "u8", "f32", "bool", "f16"))
    element = dtype(name)
    if element.is_float:
        low, high = -64, 64
    else:
        low, high = (0, 40) if element.kind == "uint" else (-20, 40)
    made = Scalar(Const(0), low, high, element, True)
    if element.is_float:
        first: Expr = as_expr(random.choice((0.0, 1.5, -2.0, 8.0)))
    else:
        first = _number(draft, made)
    value = draft.emit(Var, ScalarType(element), value=first)
    assert value is not None
    draft.scope.scalars.append(Scalar(Ref(value), low, high, element, True))


def _number(draft: Draft, scalar: Scalar) -> Expr:
    """A value within a variable's bounds."""
    if scalar.dtype == BOOL:
        return expressions.condition(draft)
    if scalar.dtype.is_float:
        number = expressions.draw_float(draft)
        top = float(scalar.high)
        return binary("min", binary("max", number.expr, -top), top)
    return expressions.within(draft, int(scalar.low), int(scalar.high)).expr


def ragged_loop(draft: Draft) -> None:
    """A loop over the parts of an input whose extent they don't divide."""
    _check_depth(draft)
    random = draft.random
    element = dtype(random.choice(("f32", "f16", "u8", "i32", "i8", "u4")))
    step, rows = random.choice((4, 8, 16, 6)), random.choice((1, 2, 4, 8))
    extent = step * random.randint(1, 3) + random.randint(0, step - 1)
    view, known = draw_view(draft, element, (rows, extent))
    upper = extent_of(draft, extent)
    index = Value(draft.name("k"), ScalarType(I32))
    turns = -(-extent // step)
    with draft.block(turns, in_loop=True) as scope:
        scope.scalars.append(Scalar(Ref(index), 0, (turns - 1) * step, I32))
        scope.places.append((Ref(index) // step, turns))
        layout = choose_layout(draft, (rows, step), element.bits)
        part = draft.tile(
            Load, known.with_zero(), RegType(element, (rows, step), layout),
            source=view, offsets=(Const(0), Ref(index)),
        )  # fmt: skip
        store_tile(draft, part)
    unroll = random.choice((1, 1, 2, 3))
    draft.append(For(index, Const(0), upper, Const(step), tuple(scope.statements), unroll))


def mutate_after(draft: Draft) -> None:
    """A tile that something was made of is overwritten: what was made of it must stay."""
    random = draft.random
    source = draft.choose()
    if source.known.error or source not in draft.scope.tiles:
        raise Refusal("not of this block")
    made = random.choice((_transposed, _reshaped, _cast_to_itself, _sliced, _assigned))(
        draft, source
    )
    fresh = load(draft, source.dtype, source.shape)
    draft.emit(Assign, target=source.value, value=fresh.value)
    source.known, source.used, fresh.used = fresh.known, False, True
    store_tile(draft, made)


def _transposed(draft: Draft, source: Tile) -> Tile:
    order = tuple(reversed(range(len(source.shape))))
    return draft.tile(Transpose, source.known, value=source.value, order=order)


def _reshaped(draft: Draft, source: Tile) -> Tile:
    return draft.tile(Reshape, source.known, value=source.value, shape=(*source.shape, 1))


def _cast_to_itself(draft: Draft, source: Tile) -> Tile:
    return draft.tile(Cast, source.known, value=source.value, dtype=source.dtype)


def _sliced(draft: Draft, source: Tile) -> Tile:
    zeros = (0,) * len(source.shape)
    return draft.tile(Slice, source.known, value=source.value, offsets=zeros, shape=source.shape)


def _assigned(draft: Draft, source: Tile) -> Tile:
    value = draft.emit(AllocRegisters, source.type)
    assert value is not None
    draft.emit(Assign, target=value, value=source.value)
    made = Tile(value, source.known)
    draft.scope.tiles.append(made)
    return made
