from tileloom import vm


@vm.kernel
def scale(x: vm.Ptr[vm.f32], y: vm.Ptr[vm.f32], n: vm.i32, block: int = 128) -> None:
    vm.launch(grid=[vm.cdiv(n, block)], warps=4)
    gx, gy = vm.global_view(x, [n]), vm.global_view(y, [n])
    start = vm.block_index() * block
    tile = vm.load(gx, [start], (block,))
    a = vm.full(vm.f16, (16, 16), 0)
    b = vm.full("u4", (16, 8), 0)
    acc = vm.full(vm.f32, (16, 8), 0)
    vm.mma(acc, a, b)


scale.trace()
