"""Scans of an array [outer, n, inner] along its middle dimension, any axis of any array.

A block goes along its part of `n` in turns and carries what it has met so far. Where `n` is cut
into parts, a reduction first leaves what each part comes to, and a scan of those gives every part
what lies before it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom import vm
from tileloom.programs.rows.schedule import VECTOR_BYTES
from tileloom.vm.diagnostics import UsageError
from tileloom.vm.dsl.values import Pointer, Tile
from tileloom.vm.dtypes import dtype

from .program import COMBINE, Blocks, accumulator, neutral, reduce_part
from .schedule import Schedule, plan_for

SCANS = {"sum": "add", "prod": "mul", "max": "max", "min": "min"}


@vm.kernel
def scan_part(
    x: vm.Ptr["element"],
    carries: vm.Ptr["carry"],
    y: vm.Ptr["out"],
    outer: vm.i32,
    n: vm.i32,
    inner: vm.i32,
    part: vm.i32,
    op: str = "sum",
    exclusive: bool = False,
    carried: bool = False,
    element: str = "f16",
    carry: str = "f32",
    out: str = "f32",
    schedule: Schedule = Schedule(),  # noqa: B008 - frozen
) -> None:
    s, kind = schedule, dtype(carry)
    block = Blocks(x, outer, n, inner, part, s)
    target = block.view(y)
    if carried:
        met = _carried(block, carries, s)
    else:
        shape = (s.kept, 1) if s.dim == 1 else (1, s.kept)
        met = vm.full(kind, shape, neutral(op, kind))
    for at in vm.range(block.start, block.stop, s.extent):
        values = block.load(at)
        within = vm.scan(values, SCANS[op], s.dim, exclusive=exclusive)
        vm.store(target, block.offsets(at), COMBINE[op](met, within).to(dtype(out)))
        met.set(COMBINE[op](met, vm.reduce(values, op, s.dim)))


def _carried(block: Blocks, carries: Pointer, s: Schedule) -> Tile:
    """What lies before the block's part."""
    itemsize = carries.dtype.bits // 8
    if s.dim == 1:
        view = vm.global_view(carries, [block.parts, block.shape[0]], alignment=itemsize)
        tile = vm.load(view, [block.part, block.first], (s.kept,))
    else:
        alignment = min(VECTOR_BYTES, s.vector * itemsize)
        outer, _, inner = block.shape
        view = vm.global_view(carries, [block.parts, outer, inner], alignment=alignment)
        tile = vm.load(view, [block.part, block.outer, block.first], (s.kept,))
    return vm.unsqueeze(tile, (s.dim,))


def scan_axis(
    x: Any,
    y: Any,
    shape: tuple[int, int, int],
    op: str = "sum",
    *,
    exclusive: bool = False,
    element: str = "f16",
    out: str = "f32",
    device: str | None = None,
    workspace: Any = None,
) -> None:
    """Writes x [outer, n, inner] combined with all before it along n to y, of the same shape.

    `exclusive` leaves out the element itself. `workspace` as in `reduce_axis`.

    Raises:
        UsageError: there are no such operation, or no workspace.
    """
    if op not in SCANS:
        raise UsageError(f"there is no scan `{op}`", hint=", ".join(SCANS))
    outer, _, inner = shape
    itemsize = max(dtype(name).bits for name in (element, out)) // 8
    plan = plan_for(*shape, itemsize)
    between = accumulator(dtype(element))
    how: dict[str, Any] = {"op": op, "device": device, "element": element}
    how["schedule"] = plan.schedule
    if plan.parts > 1:
        if workspace is None:
            if not isinstance(x, np.ndarray):
                raise UsageError(f"this scan needs a workspace of {plan.parts} parts")
            workspace = np.zeros(plan.parts * outer * inner, between.numpy)
        reduce_part(x, workspace, *shape, plan.part, 1.0, out=between.name, **how)
        rest = (1, plan.parts, outer * inner)
        along = plan_for(*rest, between.bits // 8, parts=False)
        scan_part(
            workspace, workspace, workspace, *rest, along.part, op=op, exclusive=True,
            element=between.name, carry=between.name, out=between.name, schedule=along.schedule,
            device=device,
        )  # fmt: skip
    carries = workspace if plan.parts > 1 else y
    scan_part(
        x, carries, y, *shape, plan.part, exclusive=exclusive, carried=plan.parts > 1,
        carry=between.name if plan.parts > 1 else out, out=out, **how,
    )  # fmt: skip


def reference(x: NDArray[Any], op: str, exclusive: bool = False) -> NDArray[np.float64]:
    """x [outer, n, inner] scanned along n in float64."""
    function = {"sum": np.add, "prod": np.multiply, "max": np.fmax, "min": np.fmin}[op]
    result = function.accumulate(x.astype(np.float64), axis=1)
    if exclusive:
        first = {"sum": 0.0, "prod": 1.0, "max": -np.inf, "min": np.inf}[op]
        result = np.roll(result, 1, axis=1)
        result[:, :1] = first
    return np.asarray(result)
