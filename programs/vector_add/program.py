"""z = x + y over vectors of any length: the smallest whole program."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom import vm

ELEMENTS = 2048  # of a block: 128 threads of 16


@vm.kernel
def vector_add(
    x: vm.Ptr["element"],
    y: vm.Ptr["element"],
    z: vm.Ptr["element"],
    n: vm.i32,
    element: str = "f32",
) -> None:
    vm.launch(grid=[vm.cdiv(n, ELEMENTS)], warps=4)
    views = [vm.global_view(pointer, [n]) for pointer in (x, y, z)]
    start = vm.block_index() * ELEMENTS
    a, b = (vm.load(view, [start], (ELEMENTS,)) for view in views[:2])
    vm.store(views[2], [start], a + b)


def reference(x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
    """x + y in float64."""
    return x.astype(np.float64) + y.astype(np.float64)
