import numpy as np

from tileloom import vm


@vm.kernel
def swap(x: vm.Ptr[vm.f32]):
    vm.launch(grid=[2], warps=1, cluster=(2,))
    view = vm.global_view(x, [2, 32])
    rank = vm.cluster_rank()
    shared = vm.alloc_shared(vm.f32, (1, 32))
    vm.cluster_barrier()
    vm.store(shared, [0, 0], vm.load(view, [rank, 0], (1, 32)))
    other = vm.load_remote(shared, [0, 0], 1 - rank, (1, 32))
    vm.cluster_barrier()
    vm.store(view, [rank, 0], other)


swap(np.arange(64, dtype=np.float32), device="interpreter")
