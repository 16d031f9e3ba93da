import numpy as np

from tileloom import vm


@vm.kernel
def product(x: vm.Ptr[vm.f16], y: vm.Ptr[vm.f32]):
    vm.launch(grid=[1], warps=4)
    view = vm.global_view(x, [64, 64])
    shared = vm.alloc_shared(vm.f16, (64, 64))
    rows = vm.load(view, [0, 0], (64, 64))
    vm.store(shared, [0, 0], rows)
    vm.barrier()
    total = vm.full(vm.f32, (64, 64))
    vm.wgmma(total, rows, shared)
    vm.wgmma_commit()
    vm.wgmma_wait()
    vm.store(vm.global_view(y, [64, 64]), [0, 0], total)


product(np.zeros((64, 64), np.float16), np.zeros((64, 64), np.float32), device="interpreter")
