from tileloom import vm


@vm.kernel
def fill(x: vm.Ptr[vm.f32], size: int) -> None:
    vm.launch(grid=[1], warps=1)
    vm.store(vm.global_view(x, [size]), [0], vm.full(vm.f32, (size,), 1.0))


fill.trace()
