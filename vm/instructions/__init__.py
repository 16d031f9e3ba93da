"""The instructions of the virtual machine, one family a file.

Importing this package fills `tileloom.vm.instruction.REGISTRY`.
"""

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
    "shuffle",
    "sync",
    "transform",
]
