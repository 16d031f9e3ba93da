"""Reductions of an array [outer, n, inner] along its middle dimension, any axis of any array.

Floats are combined in f32, integers in their own dtype. Where `n` is cut into parts, the first
launch leaves what each part comes to in a workspace [parts, outer, inner], along which the second
one reduces; the order is fixed, so results repeat bit for bit. `max`, `min` and the arguments skip
NaN, as the instruction does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom import vm
from tileloom.programs.rows.schedule import VECTOR_BYTES
from tileloom.vm.diagnostics import UsageError
from tileloom.vm.dsl.values import MemoryTile, Pointer, Scalar, ScalarLike, Tile
from tileloom.vm.dtypes import Dtype, dtype

from .schedule import Plan, Schedule, plan_for

_NAN = float("nan")
_NO_INDEX = 0x7FFFFFFF
COMBINE: dict[str, Callable[[Tile, Tile], Tile]] = {
    "sum": lambda a, b: a + b,
    "prod": lambda a, b: a * b,
    "max": vm.maximum,
    "min": vm.minimum,
}
OPERATIONS = ("sum", "mean", "prod", "max", "min", "argmax", "argmin")


def accumulator(kind: Dtype) -> Dtype:
    """The dtype that elements are combined in."""
    return vm.f32 if kind.is_float else kind


def neutral(op: str, kind: Dtype) -> float:
    """What `op` leaves every element unchanged with."""
    if op in ("sum", "prod"):
        return int(op == "prod")
    if kind.is_float:
        return _NAN
    return int(kind.min_finite if op == "max" else kind.max_finite)


class Blocks:
    """What a block reads: its part of `n`, in turns, of the elements it keeps."""

    def __init__(
        self, x: Pointer, outer: Scalar, n: Scalar, inner: Scalar, part: Scalar, s: Schedule
    ):
        rows = s.dim == 1
        self.schedule, self.n = s, n
        self.shape: list[ScalarLike] = [outer, n] if rows else [outer, n, inner]
        across = vm.cdiv(outer if rows else inner, s.kept)
        self.parts = vm.cdiv(n, part)
        groups = across if rows else across * outer
        vm.launch(grid=[groups * self.parts], warps=s.num_warps)
        vm.assume((n if rows else inner) % s.vector == 0)
        vm.assume(part % s.extent == 0)
        self.alignment = min(VECTOR_BYTES, s.vector * x.dtype.bits // 8)
        self.source = self.view(x)
        group = vm.block_index() % groups
        self.part = vm.block_index() // groups
        self.first = group % across * s.kept
        self.outer = group // across
        self.start = self.part * part
        self.stop = vm.smaller(self.start + part, n)

    def view(self, pointer: Pointer) -> MemoryTile:
        """An array of x's shape."""
        return vm.global_view(pointer, self.shape, alignment=self.alignment)

    def offsets(self, at: ScalarLike) -> list[ScalarLike]:
        """Where the tile of the turn `at` starts."""
        rows = self.schedule.dim == 1
        return [self.first, at] if rows else [self.outer, at, self.first]

    def load(self, at: ScalarLike) -> Tile:
        """The elements of a turn, as they are combined; zero beyond the array."""
        s = self.schedule
        tile = vm.load(self.source, self.offsets(at), s.shape, s.layout)
        return tile.to(accumulator(tile.dtype))

    def filled(self, at: ScalarLike, fill: float) -> Tile:
        """The elements of a turn, `fill` beyond the last one."""
        return vm.where(self.schedule.inside(self.n - at), self.load(at), fill)


@vm.kernel
def reduce_part(
    x: vm.Ptr["element"],
    y: vm.Ptr["out"],
    outer: vm.i32,
    n: vm.i32,
    inner: vm.i32,
    part: vm.i32,
    scale: vm.f32,
    op: str = "sum",
    element: str = "f16",
    out: str = "f32",
    schedule: Schedule = Schedule(),  # noqa: B008 - frozen
) -> None:
    s = schedule
    block = Blocks(x, outer, n, inner, part, s)
    if op.startswith("arg"):
        total = _argument(block, op.removeprefix("arg"))
    else:
        total = vm.reduce(_combined(block, op, accumulator(dtype(element))), op, s.dim)
        if op == "sum" and total.dtype.is_float:
            total = total * scale
    result = vm.squeeze(total, (s.dim,)).to(dtype(out))
    if s.dim == 1:
        target = vm.global_view(y, [block.parts, outer], alignment=result.dtype.bits // 8)
        vm.store(target, [block.part, block.first], result)
        return
    alignment = min(VECTOR_BYTES, s.vector * result.dtype.bits // 8)
    target = vm.global_view(y, [block.parts, outer, inner], alignment=alignment)
    vm.store(target, [block.part, block.outer, block.first], result)


def _combined(block: Blocks, op: str, kind: Dtype) -> Tile:
    """Each place of the tile combined over the turns."""
    s = block.schedule
    fill = neutral(op, kind)
    total = vm.full(kind, s.shape, fill, s.layout)
    for at in vm.range(block.start, block.stop, s.extent, unroll=2):
        total.set(COMBINE[op](total, block.filled(at, fill)))
    return total


def _argument(block: Blocks, op: str) -> Tile:
    """The first index along the dimension of the largest or smallest element."""
    s = block.schedule
    kind = accumulator(block.source.dtype)
    # An index tile of its own for each place: the first turn that met the best value there.
    best = vm.full(kind, s.shape, neutral(op, kind), s.layout)
    index = vm.full(vm.i32, s.shape, _NO_INDEX, s.layout)
    for at in vm.range(block.start, block.stop, s.extent):
        values = block.filled(at, neutral(op, kind))
        better = values > best if op == "max" else values < best
        # NaN is worse than everything, and so is what no turn has met yet.
        better = better | (index == _NO_INDEX) & (values == values)
        better = better & s.inside(block.n - at)
        places = vm.arange(vm.i32, _along(s), dim=s.dim) + at
        index.set(vm.where(better, places, index))
        best.set(vm.where(better, values, best))
    found = vm.reduce(best, op, s.dim)
    first = vm.reduce(vm.where(best == found, index, _NO_INDEX), "min", s.dim)
    return vm.where(first == _NO_INDEX, 0, first)


def _along(s: Schedule) -> tuple[int, int]:
    return (1, s.extent) if s.dim == 1 else (s.extent, 1)


def plan_reduce(shape: tuple[int, int, int], op: str, element: str) -> Plan:
    """The plan for reducing an array [outer, n, inner]; arguments are found in one part."""
    return plan_for(*shape, dtype(element).bits // 8, parts=not op.startswith("arg"))


def reduce_axis(
    x: Any,
    y: Any,
    shape: tuple[int, int, int],
    op: str = "sum",
    *,
    element: str = "f16",
    out: str = "f32",
    device: str | None = None,
    workspace: Any = None,
) -> None:
    """Writes x [outer, n, inner] reduced along n to y [outer, inner].

    `out` is y's dtype; `argmax` and `argmin` need `i32`. `workspace` is an array of the dtype that
    elements are combined in, with parts * outer * inner of them (`plan_reduce`); where x is
    numpy's, one is made.

    Raises:
        UsageError: there are no such operation, no elements, or no workspace.
    """
    if op not in OPERATIONS:
        raise UsageError(f"there is no reduction `{op}`", hint=", ".join(OPERATIONS))
    outer, n, inner = shape
    if n < 1:
        raise UsageError("a reduction of no elements")
    scale = 1.0 / n if op == "mean" else 1.0
    op = "sum" if op == "mean" else op
    plan = plan_reduce(shape, op, element)
    how = {"op": op, "device": device}
    if plan.parts == 1:
        reduce_part(
            x, y, *shape, plan.part, scale,
            element=element, out=out, schedule=plan.schedule, **how,
        )  # fmt: skip
        return
    between = accumulator(dtype(element))
    if workspace is None:
        if not isinstance(x, np.ndarray):
            raise UsageError(f"this reduction needs a workspace of {plan.parts} parts")
        workspace = np.zeros(plan.parts * outer * inner, between.numpy)
    reduce_part(
        x, workspace, *shape, plan.part, 1.0,
        element=element, out=between.name, schedule=plan.schedule, **how,
    )  # fmt: skip
    rest = (1, plan.parts, outer * inner)
    last = plan_for(*rest, between.bits // 8, parts=False)
    reduce_part(
        workspace, y, *rest, last.part, scale,
        element=between.name, out=out, schedule=last.schedule, **how,
    )  # fmt: skip


def reference(x: NDArray[Any], op: str) -> NDArray[Any]:
    """x [outer, n, inner] reduced along n: in float64, or the indices."""
    wide = x.astype(np.float64)
    named: dict[str, Callable[..., Any]] = {
        "sum": np.sum, "mean": np.mean, "prod": np.prod, "max": np.fmax.reduce,
        "min": np.fmin.reduce, "argmax": np.argmax, "argmin": np.argmin,
    }  # fmt: skip
    return np.asarray(named[op](wide, axis=1))
