from tileloom import vm


@vm.kernel
def scale(x: vm.Ptr[vm.f32], y: vm.Ptr[vm.f32], n: vm.i32, block: int = 128) -> None:
    vm.launch(grid=[vm.cdiv(n, block)], warps=4)
    gx, gy = vm.global_view(x, [n]), vm.global_view(y, [n])
    start = vm.block_index() * block
    tile = vm.load(gx, [start], (block,))

    def twice(value):
        return value + vm.cast(value, vm.f16)

    vm.store(gy, [start], twice(tile))


scale.trace()
