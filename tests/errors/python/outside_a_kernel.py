from tileloom import vm

tile = vm.full(vm.f32, (16,), 0.0)
