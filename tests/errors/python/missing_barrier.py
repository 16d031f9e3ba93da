import numpy as np

from tileloom import vm
from tileloom.layouts import spatial


@vm.kernel
def turn(x: vm.Ptr[vm.f32]) -> None:
    vm.launch(grid=[1], warps=2)
    view = vm.global_view(x, [8, 8])
    staging = vm.alloc_shared(vm.f32, (8, 8))
    vm.store(staging, [0, 0], vm.load(view, [0, 0], (8, 8), spatial(8, 8)))
    turned = vm.load(staging, [0, 0], (8, 8), spatial(8, 8), dims=(1, 0))
    vm.store(view, [0, 0], turned)


turn(np.zeros((8, 8), np.float32), device="interpreter")
