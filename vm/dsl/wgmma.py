"""Matrix products of warp groups, in a traced kernel."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import isfunction

from ..diagnostics import user_errors
from ..expr import Expr
from ..instructions import wgmma as wgmma_instructions
from .arguments import as_memory, as_offsets
from .trace import emit
from .values import MemoryTile, ScalarLike, Tile, as_expr, operand


def wgmma(
    acc: Tile,
    a: Tile | MemoryTile,
    b: MemoryTile,
    *,
    a_offsets: Sequence[ScalarLike] | None = None,
    b_offsets: Sequence[ScalarLike] | None = None,
    accumulate: ScalarLike | None = None,
    depth: int | None = None,
) -> None:
    """Starts acc += a @ b on the tensor cores of warp groups, from `b_offsets` of the shared tile b
    on, and from `a_offsets` if a is one too (default: from their start)."""
    emit(
        wgmma_instructions.Wgmma,
        acc=operand(acc),
        a=operand(a),
        a_offsets=() if isinstance(a, Tile) else _from_start(a, a_offsets, "`a_offsets`"),
        b=operand(b),
        b_offsets=_from_start(b, b_offsets, "`b_offsets`"),
        accumulate=None if accumulate is None else as_expr(accumulate),
        depth=depth,
    )


def _from_start(
    tile: MemoryTile, offsets: Sequence[ScalarLike] | None, what: str
) -> tuple[Expr, ...]:
    if offsets is None:
        offsets = (0,) * as_memory(tile).type.rank
    return as_offsets(offsets, what)


def wgmma_commit() -> None:
    """Closes the group of products started since the last commit."""
    emit(wgmma_instructions.WgmmaCommit)


def wgmma_wait(pending: int = 0) -> None:
    """Waits until at most `pending` of the newest groups of products are in flight."""
    emit(wgmma_instructions.WgmmaWait, pending=pending)


# A call outside a kernel has no `Kernel.trace` around it that cuts our frames off the traceback.
for _name, _function in list(globals().items()):
    if isfunction(_function) and _function.__module__ == __name__ and not _name.startswith("_"):
        globals()[_name] = user_errors()(_function)
