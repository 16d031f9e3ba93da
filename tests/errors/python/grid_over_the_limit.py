import numpy as np

from tileloom import vm


@vm.kernel
def clear(y: vm.Ptr[vm.u8], rows: vm.i32) -> None:
    vm.launch(grid=[1, rows], warps=1)
    view = vm.global_view(y, [rows, 32])
    vm.store(view, [vm.block_index(1), 0], vm.full(vm.u8, (1, 32), 0))


clear(np.zeros(65536 * 32, np.uint8), 65536)
