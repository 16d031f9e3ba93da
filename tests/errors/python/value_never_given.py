import numpy as np

from tileloom import vm


@vm.kernel
def total(x: vm.Ptr[vm.f32], y: vm.Ptr[vm.f32]) -> None:
    vm.launch(grid=[1], warps=1)
    sums = vm.empty(vm.f32, (32,))
    sums.set(sums + vm.load(vm.global_view(x, [32]), [0], (32,)))
    vm.store(vm.global_view(y, [32]), [0], sums)


x = np.ones(32, np.float32)
total(x, np.zeros_like(x), device="interpreter")
