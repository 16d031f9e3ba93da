"""How the copy engine writes tiles to shared memory: box by box.

The engine writes a box to shared memory densely, its dimensions in the map's order, and swizzles
the addresses. All of this follows from the shared tile's layout.
"""

from __future__ import annotations

from dataclasses import dataclass

from tileloom.layouts import MemoryLayout

_MAX_BOX = 256
_UNIT = 16
_SWIZZLES = {1: 32, 2: 64, 3: 128}  # bits of a swizzle: bytes of its rows


@dataclass(frozen=True)
class Boxes:
    """How a tile lies in shared memory: boxes of `extents`, `counts` of them along each dimension
    of the tile. `order`: its dimensions of more than one element, the densest first."""

    extents: tuple[int, ...]
    counts: tuple[int, ...]
    order: tuple[int, ...]
    swizzle: int


class BoxError(ValueError):
    """A layout that the engine can't write; the message says why."""


def plan_boxes(layout: MemoryLayout, bits: int, shape: tuple[int, ...]) -> Boxes:
    """The boxes of a tile along the last dimensions of a shared tile.

    Raises:
        BoxError: they aren't dense, have too many or too few elements, or another swizzle.
    """
    first = layout.rank - len(shape)
    extents, counts, strides = [], [], []
    for dim, extent in enumerate(shape):
        digits = layout.digits_of(first + dim)
        _, innermost, stride = digits[-1] if digits else (1, 1, 0)
        if stride == 1 and layout.swizzle is not None:
            # Single rows of several boxes lie side by side.
            row_length = layout.swizzle.block * 8 // bits
            innermost = row_length if innermost % row_length == 0 else innermost
        whole = extent <= innermost
        if not whole and extent % innermost:
            raise BoxError(f"{extent} elements are no whole boxes of {innermost}")
        extents.append(extent if whole else innermost)
        counts.append(1 if whole else extent // innermost)
        strides.append(stride)
    order = sorted((d for d, n in enumerate(extents) if n > 1), key=lambda d: strides[d])
    expected = 1
    for dim in order:
        if strides[dim] != expected:
            raise BoxError(f"dimension {dim} of the tile has stride {strides[dim]}, not {expected}")
        expected *= extents[dim]
    row = bits // 8 * (extents[order[0]] if order else 1)
    if row % _UNIT:
        raise BoxError(f"rows of {row} bytes are no multiple of {_UNIT}")
    if max(extents, default=1) > _MAX_BOX:
        raise BoxError(f"a box has at most {_MAX_BOX} elements along a dimension")
    return Boxes(tuple(extents), tuple(counts), tuple(order), _swizzle(layout, row))


def _swizzle(layout: MemoryLayout, row: int) -> int:
    found = layout.swizzle
    if found is None:
        return 0
    if (found.base, found.shift) != (4, 3) or found.bits not in _SWIZZLES:
        raise BoxError(f"the engine has no `{found}`")
    span = _SWIZZLES[found.bits]
    if row != span:
        raise BoxError(f"rows of {row} bytes under a swizzle of rows of {span}")
    return span
