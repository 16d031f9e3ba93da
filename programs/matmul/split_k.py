"""c = a @ b for few rows and columns but many terms: k is cut into parts, each a block's.

A product whose c is a few tiles would keep a few multiprocessors busy. Here each part leaves its
sums in a workspace [parts, m, n] in f32, and a reduction adds them in the parts' order, so results
repeat bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tileloom import vm
from tileloom.programs.reduction.program import reduce_part
from tileloom.programs.reduction.schedule import plan_for
from tileloom.vm.diagnostics import UsageError
from tileloom.vm.dtypes import dtype

from .operands import operand_views
from .program import Schedule, matmul
from .turns import accumulate

_BLOCKS = 264  # two on each multiprocessor of a large GPU
_LEAST_TURNS = 8  # a part is worth a block


@vm.kernel
def matmul_part(
    a: vm.Ptr["element"],
    b: vm.Ptr["element"],
    sums: vm.Ptr[vm.f32],
    m: vm.i32,
    k: vm.i32,
    n: vm.i32,
    turns: vm.i32,
    element: str = "f16",
    schedule: Schedule = Schedule(),  # noqa: B008 - frozen
) -> None:
    s, kind = schedule, dtype(element)
    across, down, all_turns = vm.cdiv(n, s.columns), vm.cdiv(m, s.rows), vm.cdiv(k, s.depth)
    parts = vm.cdiv(all_turns, turns)
    vm.launch(grid=[across * down * parts], warps=s.num_warps)
    view_a, view_b = operand_views(a, b, m, k, n, s.vector)
    column = vm.block_index() % across * s.columns
    row = vm.block_index() // across % down * s.rows
    part = vm.block_index() // across // down
    start = part * turns
    total = accumulate(
        s,
        kind,
        start,
        vm.smaller(start + turns, all_turns),
        lambda turn: vm.load(view_a, [row, turn * s.depth], s.a.shape),
        lambda turn: vm.load(view_b, [turn * s.depth, column], s.b.shape),
    )
    view = vm.global_view(sums, [parts, m, n], alignment=min(16, 4 * s.vector))
    vm.store(view, [part, row, column], total)


@dataclass(frozen=True)
class Split:
    """k in `parts` of `turns` turns each."""

    turns: int
    parts: int


def split_for(m: int, k: int, n: int, s: Schedule) -> Split:
    """As many parts as fill a GPU, as long as each has turns enough to be worth a block."""
    blocks = -(-m // s.rows) * -(-n // s.columns)
    all_turns = max(1, -(-k // s.depth))
    turns = max(-(-all_turns // max(1, _BLOCKS // blocks)), min(all_turns, _LEAST_TURNS))
    return Split(turns, -(-all_turns // turns))


def matmul_split_k(
    a: Any,
    b: Any,
    c: Any,
    m: int,
    k: int,
    n: int,
    *,
    schedule: Schedule,
    split: Split | None = None,
    element: str = "f16",
    out: str = "f16",
    device: str | None = None,
    workspace: Any = None,
) -> None:
    """Writes a [m, k] @ b [k, n] to c. `workspace` holds parts * m * n of f32; where a is numpy's,
    one is made.

    Raises:
        UsageError: there is no workspace.
    """
    split = split or split_for(m, k, n, schedule)
    if split.parts == 1:
        how: dict[str, Any] = {"element": element, "out": out, "schedule": schedule}
        matmul(a, b, c, m, k, n, device=device, **how)
        return
    if workspace is None:
        if not isinstance(a, np.ndarray):
            raise UsageError(f"this product needs a workspace of {split.parts} parts")
        workspace = np.zeros(split.parts * m * n, np.float32)
    matmul_part(
        a, b, workspace, m, k, n, split.turns, element=element, schedule=schedule, device=device
    )
    shape = (1, split.parts, m * n)
    plan = plan_for(*shape, 4, parts=False)
    reduce_part(
        workspace, c, *shape, plan.part, 1.0,
        op="sum", element="f32", out=out, schedule=plan.schedule, device=device,
    )  # fmt: skip
