"""Matrix products."""

from __future__ import annotations

from math import prod

from tileloom.layouts import RegisterLayout, fragments, local, replicate, spatial
from tileloom.vm.dtypes import Dtype, dtype
from tileloom.vm.expr import Const
from tileloom.vm.instructions.create import Full
from tileloom.vm.instructions.elementwise import Mul
from tileloom.vm.instructions.matmul import Mma, SimtDot
from tileloom.vm.instructions.transform import Cast
from tileloom.vm.ir import For, Value
from tileloom.vm.types import RegType, ScalarType

from .conversions import cast_known
from .draft import I32, Draft, Tile
from .known import Known, Refusal, added, multiplied, rounded, summed
from .memory import choose_layout, load
from .shapes import draw_layout, draw_shape

_MMA = (
    ("f16", "f32"), ("f16", "f32"), ("f16", "f16"), ("bf16", "f32"), ("tf32", "f32"),
    ("i8", "i32"), ("u8", "i32"),
)  # fmt: skip
_LEAST_DEPTH = {"f16": 8, "bf16": 8, "tf32": 4, "i8": 16, "u8": 16}


def mma(draft: Draft) -> None:
    """A product on tensor cores, in a loop some of the time."""
    random = draft.random
    names = random.choice(_MMA)
    element, total = dtype(names[0]), dtype(names[1])
    m, n = 16 * random.choice((1, 1, 2, 4)), 8 * random.choice((1, 1, 2, 3, 4))
    k = _LEAST_DEPTH[element.name] * random.choice((1, 2, 2, 4))
    batch = random.choice(((), (), (), (2,)))
    if prod(batch) * max(m * n, m * k, k * n) > 2048:
        raise Refusal("too large")
    turns = random.choice((1, 1, 2, 3))
    acc = _accumulator(draft, total, (*batch, m, n))
    shapes = ((*batch, m, k), (*batch, k, n))
    if turns == 1:
        parts = [_operand(draft, element, shape) for shape in shapes]
        _multiply(draft, acc, parts[0], parts[1], 1)
        return
    index = Value(draft.name("k"), ScalarType(I32))
    with draft.block(turns, in_loop=True) as scope:
        acc.budget = 0.0
        parts = [_operand(draft, element, shape) for shape in shapes]
        _multiply(draft, acc, parts[0], parts[1], turns)
    upper = draft.scalar_parameter(draft.name("n"), I32, turns).expr
    unroll = random.choice((1, 1, 2))
    draft.append(For(index, Const(0), upper, Const(1), tuple(scope.statements), unroll))
    acc.budget = None


def _accumulator(draft: Draft, total: Dtype, shape: tuple[int, ...]) -> Tile:
    random = draft.random
    layout = None
    if random.random() < 0.5 and len(shape) == 2:
        layout = _fragment_layout(draft, (shape[0] // 16, shape[1] // 8), fragments.MMA_C)
    fill = random.choice((0, 0, 1, -2))
    value = float(fill) if total.is_float else fill
    annotation = RegType(total, shape, layout)
    return draft.tile(Full, Known(fill, fill, 0), annotation, fill=value)


def _fragment_layout(
    draft: Draft, outer: tuple[int, int], fragment: RegisterLayout
) -> RegisterLayout:
    """Fragments over the warps and registers."""
    random = draft.random
    rows = random.choice([w for w in (1, 2, 4) if draft.num_warps % w == 0 and outer[0] % w == 0])
    left = draft.num_warps // rows
    columns = random.choice([w for w in (1, 2, 4) if left % w == 0 and outer[1] % w == 0])
    copies = left // columns
    rest = local(outer[0] // rows, outer[1] // columns)
    return replicate(copies) * spatial(rows, columns) * rest * fragment


def _operand(draft: Draft, element: Dtype, shape: tuple[int, ...]) -> Tile:
    """Loaded as it is, or narrower and cast."""
    random = draft.random
    style = "" if draft.free and random.random() < 0.7 else "grid"
    if element.name == "tf32":
        tile = load(draft, dtype("f16"), shape, style)
        tile.used = True
        return draft.tile(Cast, tile.known, value=tile.value, dtype=element)
    if element.is_float and random.random() < 0.4:
        names = ("u4", "i4", "u2", "i8", "e2m1", "e4m3", "u1", "i3", "u6", "e3m2")
        narrow = dtype(random.choice(names))
        tile = load(draft, narrow, shape, style)
        known = cast_known(narrow, element, tile.known)
        tile.used = True
        return draft.tile(Cast, known, value=tile.value, dtype=element)
    return load(draft, element, shape, style)


def _multiply(draft: Draft, acc: Tile, a: Tile, b: Tile, turns: int) -> None:
    """The product, with what the accumulator holds after all turns."""
    count = a.shape[-1] * turns
    known = summed(acc.dtype, multiplied(a.known, b.known), count, acc.known)
    acc.known = draft.accept(known)
    a.used = b.used = True
    acc.used = False
    draft.emit(Mma, acc=acc.value, a=a.value, b=b.value)


def simt_dot(draft: Draft) -> None:
    """A product by multiply-adds, k in rising order: the same in all executors."""
    random = draft.random
    element = dtype(random.choice(("f32", "f16", "bf16", "i32", "u8", "i64", "f64", "i8")))
    m, n, k = (random.choice((1, 2, 3, 4, 8)) for _ in range(3))
    layout = draw_layout(random, (m, n), draft.threads)
    annotation = RegType(element, (m, n), layout if random.random() < 0.6 else None)
    acc = draft.tile(Full, Known(0, 0, 0), annotation, fill=0.0 if element.is_float else 0)
    a, b = load(draft, element, (m, k)), load(draft, element, (k, n))
    known = acc.known
    for _ in range(k):
        known = rounded(element, added(multiplied(a.known, b.known), known))
    acc.known = known
    a.used = b.used = True
    draft.emit(SimtDot, acc=acc.value, a=a.value, b=b.value)


def outer_product(draft: Draft) -> None:
    """A column and a row that broadcast."""
    random = draft.random
    shape = draw_shape(random, 2)
    element = dtype(random.choice(("f32", "f16", "i32", "bf16")))
    column = load(draft, element, (shape[0], 1))
    row = load(draft, element, (1, shape[1]))
    known = rounded(element, multiplied(column.known, row.known))
    layout = choose_layout(draft, shape, element.bits)
    draft.tile(Mul, known, RegType(element, shape, layout), lhs=column.value, rhs=row.value)
