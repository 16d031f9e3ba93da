import numpy as np

from tileloom import vm


@vm.kernel
def twice(x: vm.Ptr[vm.f32], n: vm.i32):
    vm.launch(grid=[vm.cdiv(n, 32)], warps=1, cluster=(4,))
    view = vm.global_view(x, [n])
    start = vm.block_index() * 32
    vm.store(view, [start], vm.load(view, [start], (32,)) * 2.0)


x = np.zeros(200, np.float32)
twice(x, 200, device="interpreter")
