import numpy as np

from tileloom import vm


@vm.kernel
def stage(x: vm.Ptr[vm.f32], y: vm.Ptr[vm.f32]) -> None:
    vm.launch(grid=[1], warps=1)
    tile = vm.alloc_shared(vm.f32, (32, 32))
    vm.copy_async(tile, [0, 0], vm.global_view(x, [32, 32]), [0, 0], (32, 32))
    vm.copy_async_commit()
    vm.barrier()
    vm.store(vm.global_view(y, [32, 32]), [0, 0], vm.load(tile, [0, 0], (32, 32)))


x = np.ones((32, 32), np.float32)
stage(x, np.zeros_like(x), device="interpreter")
