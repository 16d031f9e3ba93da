"""The instructions of the virtual machine, one family a file.

Importing this package fills `tileloom.vm.instruction.REGISTRY`.
"""

from . import (
    atomics,
    bulk,
    cluster,
    create,
    debug,
    dependencies,
    dims,
    elementwise,
    gather,
    matmul,
    matrices,
    mbarrier,
    memory,
    reduction,
    registers,
    scalars,
    shuffle,
    sync,
    tensor,
    transform,
    wgmma,
)

__all__ = [
    "atomics",
    "bulk",
    "cluster",
    "create",
    "debug",
    "dependencies",
    "dims",
    "elementwise",
    "gather",
    "matmul",
    "matrices",
    "mbarrier",
    "memory",
    "reduction",
    "registers",
    "scalars",
    "shuffle",
    "sync",
    "tensor",
    "transform",
    "wgmma",
]
