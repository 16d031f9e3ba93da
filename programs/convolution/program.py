"""Convolution of images by filters, as a matrix product that gathers its own rows.

    y[image, p, q, f] = sum over r, s, c of
        x[image, p * stride - padding + r * dilation, q * stride - padding + s * dilation, c]
        * w[r, s, c, f]

The rows of the product are the places (image, p, q) of y, its columns the filters, and what it sums
over are the taps (r, s) of a filter and, within each, the channels c. A turn takes the channels of
one tap for all rows of a tile: every row gathers them from the pixel that the tap meets, or zeros
outside the image. No matrix of patches is ever stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom import vm
from tileloom.programs.matmul.program import Schedule
from tileloom.programs.matmul.turns import accumulate
from tileloom.programs.rows.schedule import VECTOR_BYTES, power_above, vector_of
from tileloom.vm.diagnostics import VMValueError
from tileloom.vm.dsl.values import ScalarLike, Tile
from tileloom.vm.dtypes import dtype


@dataclass(frozen=True)
class Geometry:
    """The extents of x [images, height, width, channels] and w [taps down, taps across, channels,
    filters], and how the filters move, the same way in both directions."""

    images: int
    height: int
    width: int
    channels: int
    filters: int
    taps: tuple[int, int] = (3, 3)
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    def __post_init__(self) -> None:
        if min(self.stride, self.dilation) < 1 or self.padding < 0:
            raise VMValueError("strides and dilations start at 1, paddings at 0")
        if min(self.out) < 1:
            raise VMValueError(
                f"filters of {self.taps[0]} x {self.taps[1]} taps don't fit images of "
                f"{self.height} x {self.width}",
                hint="pad the images",
            )

    @property
    def out(self) -> tuple[int, int]:
        """The height and width of y."""
        down, across = (
            (extent + 2 * self.padding - self.dilation * (taps - 1) - 1) // self.stride + 1
            for extent, taps in zip((self.height, self.width), self.taps, strict=True)
        )
        return down, across

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The extents of y."""
        return (self.images, *self.out, self.filters)

    def arguments(self) -> tuple[int, ...]:
        """The scalars of the kernel."""
        extents = (self.images, self.height, self.width, self.channels, self.filters)
        return (*extents, *self.taps, *self.out, self.stride, self.padding, self.dilation)


@vm.kernel
def convolution(
    x: vm.Ptr["element"],
    w: vm.Ptr["element"],
    y: vm.Ptr["out"],
    images: vm.i32,
    height: vm.i32,
    width: vm.i32,
    channels: vm.i32,
    filters: vm.i32,
    taps_down: vm.i32,
    taps_across: vm.i32,
    out_height: vm.i32,
    out_width: vm.i32,
    stride: vm.i32,
    padding: vm.i32,
    dilation: vm.i32,
    element: str = "f16",
    out: str = "f16",
    schedule: Schedule = Schedule(),  # noqa: B008 - frozen
) -> None:
    s, kind = schedule, dtype(element)
    places = images * out_height * out_width
    across = vm.cdiv(filters, s.columns)
    vm.launch(grid=[across * vm.cdiv(places, s.rows)], warps=s.num_warps)
    vm.assume(channels % s.vector == 0)
    vm.assume(filters % s.vector == 0)
    alignment = min(VECTOR_BYTES, 2 * s.vector)
    pixels = vm.global_view(x, [images * height * width, channels], alignment=alignment)
    taps = taps_down * taps_across
    weights = vm.global_view(w, [taps, channels, filters], alignment=alignment)
    first, column = vm.block_index() // across * s.rows, vm.block_index() % across * s.columns
    place = vm.arange(vm.i32, (s.rows, 1), dim=0) + first
    image = place // (out_height * out_width)
    top = place // out_width % out_height * stride - padding
    left = place % out_width * stride - padding
    chunks = vm.cdiv(channels, s.depth)

    def patches(turn: ScalarLike) -> Tile:
        tap = turn // chunks
        down = top + tap // taps_across * dilation
        right = left + tap % taps_across * dilation
        inside = (down >= 0) & (down < height) & (right >= 0) & (right < width) & (place < places)
        pixel = vm.where(inside, (image * height + down) * width + right, -1)
        return vm.gather(pixels, [0, turn % chunks * s.depth], pixel, 0, (s.rows, s.depth))

    def filter_rows(turn: ScalarLike) -> Tile:
        corner = [turn // chunks, turn % chunks * s.depth, column]
        return vm.load(weights, corner, (s.depth, s.columns))

    total = accumulate(s, kind, 0, taps * chunks, patches, filter_rows)
    target = vm.global_view(y, [places, filters], alignment=min(VECTOR_BYTES, 2 * s.vector))
    vm.store(target, [first, column], total.to(dtype(out)))


def schedule_for(g: Geometry) -> Schedule:
    """The schedule for a convolution: tiles no larger than y needs, and turns of as many channels
    as there are, up to 32."""
    places = g.images * g.out[0] * g.out[1]
    rows = min(128, max(16, power_above(places)))
    columns = min(128, max(16, power_above(g.filters)))
    depth = 32 if g.channels > 16 else 16
    vector = min(vector_of(g.channels, 2), vector_of(g.filters, 2))
    return Schedule(rows, columns, depth, max(1, rows // 64), max(1, columns // 32), vector)


def reference(x: NDArray[Any], w: NDArray[Any], g: Geometry) -> NDArray[np.float64]:
    """The convolution in float64, tap by tap."""
    padding = (g.padding, g.padding)
    wide = np.pad(x.astype(np.float64), ((0, 0), padding, padding, (0, 0)))
    total = np.zeros(g.shape)
    for r, s in np.ndindex(*g.taps):
        rows, columns = (
            slice(tap * g.dilation, tap * g.dilation + (extent - 1) * g.stride + 1, g.stride)
            for tap, extent in zip((r, s), g.out, strict=True)
        )
        total += wide[:, rows, columns] @ w[r, s].astype(np.float64)
    return total
