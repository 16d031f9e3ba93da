"""Tensor maps: what a launch tells the copy engine of a view."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorMap:
    """A hidden parameter of 128 bytes, encoded at launch.

    `view` is the number of the `global_view` in the program's text, `dims` its dimensions, the one
    of neighbours first, `box` the extents of a box along them; elements of `bits` bits; rows of
    `swizzle` bytes are swizzled (0: none).
    """

    view: int
    dims: tuple[int, ...]
    box: tuple[int, ...]
    bits: int
    swizzle: int
