import numpy as np

from tileloom import vm


@vm.kernel
def part(x: vm.Ptr[vm.i32], n: vm.i32) -> None:
    vm.launch(grid=[1], warps=1)
    view = vm.global_view(x, [32])
    tile = vm.load(view, [0], (32,))
    vm.store(view, [128 // n], tile)


part(np.zeros(32, np.int32), 0, device="interpreter")
