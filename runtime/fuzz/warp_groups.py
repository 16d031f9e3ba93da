"""Products of warp groups: operands in shared memory or registers, one or several products in
flight, layouts stated or left away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tileloom.layouts import (
    MemoryLayout,
    RegisterLayout,
    fragments,
    local,
    matrix_operand,
    replicate,
    row_major,
    spatial,
)
from tileloom.vm.dtypes import Dtype, dtype
from tileloom.vm.expr import Const
from tileloom.vm.instructions.create import Full
from tileloom.vm.instructions.memory import AllocShared, Store
from tileloom.vm.instructions.sync import Barrier, FenceProxyAsync
from tileloom.vm.instructions.transform import Cast
from tileloom.vm.instructions.wgmma import Wgmma, WgmmaCommit, WgmmaWait
from tileloom.vm.ir import Value
from tileloom.vm.types import RegType, SharedType

from .conversions import cast_known
from .draft import Draft, Tile
from .known import Known, Refusal, multiplied, summed
from .memory import load

KINDS = (
    ("f16", "f16", "f32"), ("f16", "f16", "f32"), ("f16", "f16", "f16"), ("bf16", "bf16", "f32"),
    ("tf32", "tf32", "f32"), ("i8", "i8", "i32"), ("u8", "i8", "i32"), ("i8", "u8", "i32"),
    ("e4m3", "e4m3", "f32"), ("e4m3", "e5m2", "f32"), ("e5m2", "e5m2", "f16"),
)  # fmt: skip


def product(draft: Draft) -> None:
    """Some products into one accumulator, waited for at the end."""
    if draft.num_warps % 4 or len(draft.scopes) > 1:
        raise Refusal("no warp groups")
    if draft.few:
        raise Refusal("too few registers")
    random = draft.random
    left, right, total = map(dtype, random.choice(KINDS))
    step = fragments.wgmma_depth(left.name)
    m, n = 64 * random.choice((1, 1, 2)), 8 * random.choice((1, 2, 3, 4, 5, 8))
    k = step * random.choice((1, 2, 2, 4))
    if max(m, n) * k > 8192:
        raise Refusal("too large")
    acc = _accumulator(draft, total, (m, n))
    a, b = _operand(draft, left, (m, k)), _operand(draft, right, (k, n))
    in_shared = random.random() < 0.6
    turns = _turns(draft, acc, a, b, step, in_shared)
    shared_b = _shared(draft, b, _right_layout(draft, b))
    shared_a = _shared(draft, a, _left_layout(draft, a)) if in_shared else None
    draft.emit(FenceProxyAsync)
    draft.emit(Barrier)
    for shared in draft.shared():
        shared.pending = False
    _multiply(draft, acc, a, turns, shared_a, shared_b)


def _accumulator(draft: Draft, total: Dtype, shape: tuple[int, int]) -> Tile:
    random = draft.random
    fill = random.choice((0, 0, 1, -2))
    annotation = RegType(total, shape, _accumulator_layout(draft, shape))
    value = float(fill) if total.is_float else fill
    return draft.tile(Full, Known(fill, fill, 0), annotation, fill=value)


def _accumulator_layout(draft: Draft, shape: tuple[int, int]) -> RegisterLayout | None:
    """Blocks over the warp groups and registers, or none."""
    random = draft.random
    if random.random() < 0.5:
        return None
    groups, rows, columns = draft.num_warps // 4, shape[0] // 64, shape[1] // 8
    down = random.choice([d for d in (1, 2) if groups % d == 0 and rows % d == 0])
    across = random.choice([d for d in (1, 2) if groups // down % d == 0 and columns % d == 0])
    copies = replicate(groups // (down * across))
    rest = local(rows // down, 1)
    inner = spatial(4, 1) * local(1, columns // across) * fragments.MMA_C
    return copies * spatial(down, across) * rest * inner


def _operand(draft: Draft, element: Dtype, shape: tuple[int, int]) -> Tile:
    """Small numbers of the element's type: fp8 sums keep few digits."""
    random = draft.random
    if element.name == "tf32" or (element.bits == 8 and element.is_float):
        names = ("f16",) if element.name == "tf32" else ("u2", "i3", "i2")
        narrow = dtype(random.choice(names))
        tile = load(draft, narrow, shape, "grid")
        known = cast_known(narrow, element, tile.known)
        tile.used = True
        return draft.tile(Cast, known, value=tile.value, dtype=element)
    return load(draft, element, shape, "grid")


def _left_layout(draft: Draft, a: Tile) -> MemoryLayout | None:
    m, k = a.shape
    if draft.random.random() < 0.5:
        return None
    mn_major = a.dtype.bits == 16 and draft.random.random() < 0.5
    return matrix_operand(m, k, a.dtype.bits, mn_major, 64)


def _right_layout(draft: Draft, b: Tile) -> MemoryLayout | None:
    """Stated, left away, or without a swizzle: 8 rows of 16 bytes one after another."""
    random = draft.random
    k, n = b.shape
    bits = b.dtype.bits
    choice = random.random()
    if choice < 0.4:
        return None
    if choice < 0.7:
        return matrix_operand(n, k, bits).permute(1, 0)
    per_unit = 128 // bits
    core = row_major(n // 8, k // per_unit) * row_major(8, per_unit)
    return core.permute(1, 0)


def _shared(draft: Draft, tile: Tile, layout: MemoryLayout | None) -> Value:
    """A shared tile that holds what a register tile does."""
    value = draft.emit(AllocShared, SharedType(tile.dtype, tile.shape, layout))
    assert value is not None
    tile.used = True
    draft.emit(Store, target=value, offsets=(Const(0), Const(0)), value=tile.value)
    return value


@dataclass(frozen=True)
class _Turn:
    """One product: whether it keeps what was there, and its part of k."""

    keeps: Const | None
    start: int
    depth: int


def _turns(draft: Draft, acc: Tile, a: Tile, b: Tile, step: int, may_cut: bool) -> list[_Turn]:
    """Some products, all of which are certain; the accumulator is known after them."""
    random = draft.random
    known, terms = acc.known, multiplied(a.known, b.known)
    turns = []
    for _ in range(random.choice((1, 1, 2, 3))):
        keeps = random.choice((None, None, Const(True), Const(False)))
        if keeps is not None and not keeps.value:
            known = Known(0, 0, 0)
        start, depth = 0, a.shape[1]
        if may_cut and depth > step and random.random() < 0.4:
            start, depth = step * random.randint(0, depth // step - 1), step
        known = draft.accept(summed(acc.dtype, terms, depth, known))
        turns.append(_Turn(keeps, start, depth))
    acc.known = known
    return turns


def _multiply(
    draft: Draft, acc: Tile, a: Tile, turns: list[_Turn], shared_a: Value | None, shared_b: Value
) -> None:
    draft.has_products = True
    random, zero = draft.random, Const(0)
    for number, turn in enumerate(turns):
        at = Const(turn.start)
        fields: dict[str, Any] = {"a": a.value}
        if shared_a is not None:
            depth = None if turn.depth == a.shape[1] else turn.depth
            fields = {"a": shared_a, "a_offsets": (zero, at), "depth": depth}
        draft.emit(
            Wgmma, acc=acc.value, b=shared_b, b_offsets=(at, zero), accumulate=turn.keeps, **fields
        )
        if number == 0 or random.random() < 0.5:
            draft.emit(WgmmaCommit)
    draft.emit(WgmmaCommit)
    if random.random() < 0.4:
        draft.emit(WgmmaWait, pending=1)
    draft.emit(WgmmaWait)
    acc.used = False
