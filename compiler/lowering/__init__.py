"""Lowering rules, a file for each family of VM instructions. Importing it fills the registries."""

from . import (
    atomics,
    cluster,
    create,
    debug,
    dependencies,
    dims,
    elementwise,
    gather,
    matmul,
    memory,
    reduction,
    scalars,
    scan,
    shuffle,
    sync,
    transform,
)

__all__ = [
    "atomics",
    "cluster",
    "create",
    "debug",
    "dependencies",
    "dims",
    "elementwise",
    "gather",
    "matmul",
    "memory",
    "reduction",
    "scalars",
    "scan",
    "shuffle",
    "sync",
    "transform",
]
