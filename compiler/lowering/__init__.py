"""Lowering rules, a file for each family of VM instructions. Importing it fills the registries."""

from . import (
    atomics,
    create,
    debug,
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
    "create",
    "debug",
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
