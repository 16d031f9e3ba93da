"""Python's slices of register tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..diagnostics import ShapeError, VMTypeError
from .trace import here


def box(
    name: str, extents: tuple[int, ...], parts: Sequence[Any]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The offsets and the shape that `parts` cut out of the tile `name` of shape `extents`.

    Raises:
        VMTypeError: a part that is no slice of constants with step 1.
        ShapeError: not one part a dimension.
    """
    offsets, shape = [], []
    for part, extent in zip(parts, extents, strict=False):
        bounds = (part.start, part.stop) if isinstance(part, slice) else (None, None)
        constant = all(isinstance(b, int | None) for b in bounds)
        if not isinstance(part, slice) or not constant or part.step not in (None, 1):
            raise VMTypeError(
                f"`{name}` is sliced with constants only",
                here(),
                hint="write `tile[0:16, :]`; run-time offsets belong to loads",
            )
        start, stop, _ = part.indices(extent)
        offsets.append(start)
        shape.append(stop - start)
    if len(parts) != len(extents):
        raise ShapeError(
            f"{len(parts)} slices for a tile of rank {len(extents)}",
            here(),
            hint="give one slice a dimension",
        )
    return tuple(offsets), tuple(shape)
