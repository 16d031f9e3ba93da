import math

from tileloom import vm


@vm.kernel
def scale(x: vm.Ptr[vm.f32], y: vm.Ptr[vm.f32], n: vm.i32) -> None:
    vm.launch(grid=[1], warps=1)
    tile = vm.load(vm.global_view(x, [n]), [0], (128,))
    vm.store(vm.global_view(y, [n]), [0], tile * math.sqrt(n))


scale.trace()
