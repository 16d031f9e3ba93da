from tileloom import vm

vm.parse(b"func @f() warps = 1 {}")
