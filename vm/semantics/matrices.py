"""Moving fragments of matrices: loads and stores that stay inside the memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..instructions.matrices import LoadMatrix, StoreMatrix
from ..instructions.memory import Load, Store
from .memory import load, store
from .registry import semantics
from .values import Tile

if TYPE_CHECKING:
    from ..interpreter.group import ThreadGroup


@semantics(LoadMatrix)
def load_matrix(group: ThreadGroup, instruction: LoadMatrix) -> Tile:
    return load(
        group,
        Load(
            instruction.source,
            instruction.offsets,
            instruction.dims,
            in_bounds=True,
            result=instruction.result,
            location=instruction.location,
        ),
    )


@semantics(StoreMatrix)
def store_matrix(group: ThreadGroup, instruction: StoreMatrix) -> None:
    store(
        group,
        Store(
            instruction.target,
            instruction.offsets,
            instruction.value,
            instruction.dims,
            in_bounds=True,
            location=instruction.location,
        ),
    )
