import numpy as np

from tileloom import vm


@vm.kernel
def chain(flags: vm.Ptr[vm.i32]) -> None:
    vm.launch(grid=[2], warps=1)
    view = vm.global_view(flags, [3])
    vm.lock(view, [vm.block_index() + 1], 1)
    vm.release(view, [vm.block_index()], 1)


chain(np.zeros(3, np.int32), device="interpreter")
