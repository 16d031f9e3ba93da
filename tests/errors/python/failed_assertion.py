import numpy as np

from tileloom import vm


@vm.kernel
def root(x: vm.Ptr[vm.f32]) -> None:
    vm.launch(grid=[1], warps=1)
    view = vm.global_view(x, [32])
    tile = vm.load(view, [0], (32,))
    least = vm.item(vm.reduce(tile, "min", dim=0))
    vm.assert_(least >= 0.0, "all must have a root")
    vm.store(view, [0], vm.sqrt(tile))


root(np.full(32, -1, np.float32), device="interpreter")
