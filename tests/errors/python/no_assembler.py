from tileloom import vm


@vm.kernel
def scale(x: vm.Ptr[vm.f32], y: vm.Ptr[vm.f32], n: vm.i32) -> None:
    vm.launch(grid=[vm.cdiv(n, 128)], warps=1)
    start = vm.block_index() * 128
    tile = vm.load(vm.global_view(x, [n]), [start], (128,))
    vm.store(vm.global_view(y, [n]), [start], tile * 2.0)


scale.compile().cubin
