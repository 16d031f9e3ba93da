"""Matrix products of warp groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..diagnostics import ExecutionError
from ..expr import Expr
from ..instruction import Indices, Operand
from ..instructions.wgmma import Wgmma, WgmmaCommit, WgmmaWait
from ..interpreter.boxes import Box, place
from ..interpreter.products import PendingProduct
from ..interpreter.shared import SharedTile
from ..ir import Value
from ..types import RegType
from .matmul import multiply
from .registry import semantics
from .values import Tile

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


@semantics(Wgmma)
def wgmma(group: ThreadGroup, instruction: Wgmma) -> None:
    acc, products = instruction.acc, group.products
    assert isinstance(acc.type, RegType)
    (m, n), k = acc.type.shape, instruction.k
    regions: list[tuple[SharedTile, Box]] = []
    if instruction.a_offsets:
        a = _operand(group, instruction, instruction.a, instruction.a_offsets, (m, k), regions)
    else:
        a = group.tile(instruction.a)
    b = _operand(group, instruction, instruction.b, instruction.b_offsets, (k, n), regions)
    before = products.latest(acc)
    before = group.tile(acc) if before is None else before
    condition = instruction.accumulate
    assert condition is None or isinstance(condition, Expr)
    keeps = condition is None or group.scalar(condition)
    if not keeps:
        before = Tile(before.dtype, np.zeros_like(before.data))
    left = instruction.a if not instruction.a_offsets else None
    assert left is None or isinstance(left, Value)
    result = multiply(before, a, b)
    products.start(PendingProduct(acc, result, left, tuple(regions), instruction.location))
    group.mutations += 1


def _operand(
    group: ThreadGroup,
    instruction: Wgmma,
    operand: Operand,
    offsets: Indices,
    shape: tuple[int, int],
    regions: list[tuple[SharedTile, Box]],
) -> Tile:
    """A shared operand's elements, read through the asynchronous proxy."""
    tile = group.memory(operand)
    assert isinstance(tile, SharedTile)
    box = place(group.indices(offsets), tile.shape, shape, None)
    if not box.whole:
        raise ExecutionError(
            f"the operand of shape {list(shape)} leaves `%{tile.name}` of shape {list(tile.shape)}"
        )
    regions.append((tile, box))
    data, poison = tile.read_async(box, instruction.location, group.checks)
    return Tile(tile.type.dtype, data, poison)


@semantics(WgmmaCommit)
def wgmma_commit(group: ThreadGroup, instruction: WgmmaCommit) -> None:
    group.products.commit()


@semantics(WgmmaWait)
def wgmma_wait(group: ThreadGroup, instruction: WgmmaWait) -> None:
    """Products are done as late as allowed: here, and only those the wait is for."""
    group.products.wait(group, instruction.pending)
