from tileloom import vm


@vm.kernel
def stage(x: vm.Ptr[vm.f32]) -> None:
    vm.launch(grid=[1], warps=4)
    tile = vm.alloc_shared(vm.f32, (256, 256))
    vm.copy_async(tile, [0, 0], vm.global_view(x, [256, 256]), [0, 0], (256, 256))


stage.compile()
