import numpy as np

from tileloom import vm
from tileloom.layouts import spatial


@vm.kernel
def copy(x: vm.Ptr["u4"], y: vm.Ptr["u4"]) -> None:
    vm.launch(grid=[1], warps=1)
    tile = vm.load(vm.global_view(x, [32]), [0], (32,), spatial(32))
    vm.store(vm.global_view(y, [32]), [0], tile)


x = np.zeros(16, np.uint8)
copy(x, np.zeros_like(x), device="interpreter")
