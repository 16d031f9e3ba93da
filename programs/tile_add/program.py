"""z = x + y for matrices, by specialised warps: one loads tiles ahead, four add them.

    warp 4       tensor copies of x and y ->  full[stage]   ->  warps 0 .. 3: add, store to shared
    (a thread)   empty[stage]             <-  done with it      memory, tensor copy to z

Each block takes every so many-th tile, so that the ring stays filled from one to the next.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom import vm
from tileloom.layouts import swizzled
from tileloom.vm.dtypes import dtype

ROWS = 32
ROW_BYTES = 128  # of a tile: what the widest swizzle spans
BLOCKS = 264  # two on each multiprocessor of an H100
WARPS = 4  # that add


@vm.kernel
def tile_add(
    x: vm.Ptr["element"],
    y: vm.Ptr["element"],
    z: vm.Ptr["element"],
    m: vm.i32,
    n: vm.i32,
    element: str = "f16",
    stages: int = 3,
) -> None:
    kind = dtype(element)
    shape = (ROWS, ROW_BYTES * 8 // kind.bits)
    across = vm.cdiv(n, shape[1])
    tiles = vm.cdiv(m, ROWS) * across
    vm.launch(grid=[vm.smaller(tiles, BLOCKS)], warps=WARPS + 1)
    gx, gy, gz = (vm.global_view(pointer, [m, n]) for pointer in (x, y, z))
    layout = swizzled([stages, *shape], kind.bits)
    sx, sy = (vm.alloc_shared(kind, layout.shape, layout) for _ in range(2))
    out = vm.alloc_shared(kind, shape, swizzled(shape, kind.bits))
    ring = vm.Pipeline(stages, consumers=WARPS)

    def place(tile: vm.Scalar) -> list[vm.Scalar]:
        return [tile // across * ROWS, tile % across * shape[1]]

    with vm.warp_group(WARPS, 1), vm.single_thread():
        fill = ring.producer()
        for tile in vm.range(vm.block_index(), tiles, vm.grid_size()):
            with fill.turn(2 * ROWS * ROW_BYTES) as stage:
                for source, target in ((gx, sx), (gy, sy)):
                    vm.copy_tensor(
                        target, [stage, 0, 0], source, place(tile), fill.barriers, stage, shape
                    )
    with vm.warp_group(0, WARPS):
        use = ring.consumer()
        for tile in vm.range(vm.block_index(), tiles, vm.grid_size()):
            with use.turn(per="warp") as stage:
                a, b = (vm.load(shared, [stage, 0, 0], shape) for shared in (sx, sy))
            vm.bulk_wait(read=True)  # the tile before has left `out`
            vm.barrier()
            vm.store(out, [0, 0], a + b)
            vm.fence_proxy_async()
            vm.barrier()
            vm.store_tensor(gz, place(tile), out, [0, 0], shape)
            vm.bulk_commit()
        vm.bulk_wait()


def reference(x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
    """x + y in float64."""
    return x.astype(np.float64) + y.astype(np.float64)
