"""Clusters of blocks, and launches that depend on each other, in a traced kernel."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import isfunction

from tileloom.layouts import RegisterLayout

from ..diagnostics import user_errors
from ..expr import Special
from ..instructions import cluster, dependencies
from ..types import RegType
from .arguments import as_axis, as_dims, as_layout, as_memory, as_offsets, as_shape
from .trace import emit
from .values import MemoryTile, Scalar, ScalarLike, Tile, as_expr, operand, tile

Shape = Sequence[int]


def cluster_index(axis: int = 0) -> Scalar:
    """The block's place in its cluster along an axis."""
    return Scalar(Special(f"cluster.{as_axis(axis)}"))


def cluster_rank() -> Scalar:
    """The block's number in its cluster; x runs fastest."""
    return Scalar(Special("cluster_rank"))


def cluster_barrier() -> None:
    """All threads of all blocks of the cluster meet; it orders their shared memory."""
    emit(cluster.ClusterBarrier)


def load_remote(
    source: MemoryTile,
    offsets: Sequence[ScalarLike],
    rank: ScalarLike,
    shape: Shape,
    layout: RegisterLayout | None = None,
    *,
    dims: Shape | None = None,
    in_bounds: bool = False,
) -> Tile:
    """A register tile read from the shared tile of the block of a rank in the cluster."""
    annotation = RegType(as_memory(source).dtype, as_shape(shape), as_layout(layout))
    return tile(
        emit(
            cluster.LoadRemote,
            annotation,
            source=operand(source),
            offsets=as_offsets(offsets),
            rank=as_expr(rank),
            dims=as_dims(dims),
            in_bounds=in_bounds,
        )
    )


def store_remote(
    target: MemoryTile,
    offsets: Sequence[ScalarLike],
    value: Tile,
    rank: ScalarLike,
    *,
    dims: Shape | None = None,
    in_bounds: bool = False,
) -> None:
    """Writes a register tile to the shared tile of the block of a rank in the cluster."""
    emit(
        cluster.StoreRemote,
        target=operand(target),
        offsets=as_offsets(offsets),
        value=operand(value),
        rank=as_expr(rank),
        dims=as_dims(dims),
        in_bounds=in_bounds,
    )


def wait_dependencies() -> None:
    """Waits for the launches before this one, where it was allowed to start early."""
    emit(dependencies.WaitDependencies)


def launch_dependents() -> None:
    """Lets the launch after this one start early."""
    emit(dependencies.LaunchDependents)


# A call outside a kernel has no `Kernel.trace` around it that cuts our frames off the traceback.
for _name, _function in list(globals().items()):
    if isfunction(_function) and _function.__module__ == __name__ and not _name.startswith("_"):
        globals()[_name] = user_errors()(_function)
