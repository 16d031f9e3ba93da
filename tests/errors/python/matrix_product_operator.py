from tileloom import vm


@vm.kernel
def scale(x: vm.Ptr[vm.f32], y: vm.Ptr[vm.f32], n: vm.i32) -> None:
    vm.launch(grid=[1], warps=1)
    a = vm.load(vm.global_view(x, [n, n]), [0, 0], (16, 16))
    vm.store(vm.global_view(y, [n, n]), [0, 0], a @ a)


scale.trace()
