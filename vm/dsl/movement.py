"""Functions that move elements: between dimensions, threads and places in memory."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import isfunction

from tileloom.layouts import RegisterLayout

from ..diagnostics import user_errors
from ..instructions import dims as dims_
from ..instructions import gather as gather_
from ..instructions import matrices, reduction
from ..instructions import shuffle as shuffle_
from ..types import RegType
from .arguments import as_dims, as_layout, as_memory, as_offsets, as_shape
from .trace import emit
from .values import MemoryTile, ScalarLike, Tile, operand, tile

Shape = Sequence[int]


def squeeze(value: Tile, dims: Shape | None = None) -> Tile:
    """The tile without these dimensions of extent 1 (default: all of them)."""
    return tile(emit(dims_.Squeeze, value=operand(value), dims=as_dims(dims)))


def unsqueeze(value: Tile, dims: Shape) -> Tile:
    """The tile with new dimensions of extent 1 at these places of the result."""
    return tile(emit(dims_.Unsqueeze, value=operand(value), dims=as_shape(dims, "`dims`")))


def scan(value: Tile, op: str, dim: int, *, exclusive: bool = False) -> Tile:
    """Each element combined with all before it along a dimension."""
    return tile(emit(reduction.Scan, value=operand(value), op=op, dim=dim, exclusive=exclusive))


def shuffle(value: Tile, mode: str, lane: int, width: int = 32) -> Tile:
    """Each thread's elements replaced by those of another lane (up, down, xor, index)."""
    return tile(emit(shuffle_.Shuffle, value=operand(value), mode=mode, lane=lane, width=width))


def gather(
    source: MemoryTile,
    offsets: Sequence[ScalarLike],
    index: Tile,
    dim: int,
    shape: Shape,
    layout: RegisterLayout | None = None,
    *,
    dims: Shape | None = None,
    in_bounds: bool = False,
) -> Tile:
    """A tile read from memory at `offsets`, plus `index` along dimension `dim`; outside the
    extents it is zero."""
    annotation = RegType(as_memory(source).dtype, as_shape(shape), as_layout(layout))
    return tile(
        emit(
            gather_.Gather,
            annotation,
            source=operand(source),
            offsets=as_offsets(offsets),
            index=operand(index),
            dim=dim,
            dims=as_dims(dims),
            in_bounds=in_bounds,
        )
    )


def scatter(
    target: MemoryTile,
    offsets: Sequence[ScalarLike],
    index: Tile,
    value: Tile,
    dim: int,
    *,
    dims: Shape | None = None,
    in_bounds: bool = False,
) -> None:
    """Writes a tile to memory at `offsets`, plus `index` along dimension `dim`."""
    emit(
        gather_.Scatter,
        target=operand(target),
        offsets=as_offsets(offsets),
        index=operand(index),
        value=operand(value),
        dim=dim,
        dims=as_dims(dims),
        in_bounds=in_bounds,
    )


def load_matrix(
    source: MemoryTile,
    offsets: Sequence[ScalarLike],
    shape: Shape,
    layout: RegisterLayout | None = None,
    *,
    dims: Shape | None = None,
) -> Tile:
    """A register tile read from shared memory by `ldmatrix`."""
    annotation = RegType(as_memory(source).dtype, as_shape(shape), as_layout(layout))
    return tile(
        emit(
            matrices.LoadMatrix,
            annotation,
            source=operand(source),
            offsets=as_offsets(offsets),
            dims=as_dims(dims),
        )
    )


def store_matrix(
    target: MemoryTile,
    offsets: Sequence[ScalarLike],
    value: Tile,
    *,
    dims: Shape | None = None,
) -> None:
    """Writes a register tile to shared memory by `stmatrix`."""
    emit(
        matrices.StoreMatrix,
        target=operand(target),
        offsets=as_offsets(offsets),
        value=operand(value),
        dims=as_dims(dims),
    )


# A call outside a kernel has no `Kernel.trace` around it that cuts our frames off the traceback.
for _name, _function in list(globals().items()):
    if isfunction(_function) and _function.__module__ == __name__ and not _name.startswith("_"):
        globals()[_name] = user_errors()(_function)
