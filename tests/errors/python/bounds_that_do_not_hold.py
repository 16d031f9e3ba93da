import numpy as np

from tileloom import vm


@vm.kernel
def negate(x: vm.Ptr[vm.f32], n: vm.i32) -> None:
    vm.launch(grid=[1], warps=1)
    view = vm.global_view(x, [n])
    tile = vm.load(view, [0], (128,), in_bounds=True)
    vm.store(view, [0], -tile)


negate(np.zeros(100, np.float32), 100, device="interpreter")
