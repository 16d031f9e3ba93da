"""Small kernels for tests of launching, and one call of each on numpy arrays."""

from __future__ import annotations

from tileloom import vm
from tileloom.vm.dtypes import bf16, dtype, f32, i32, u8

U4 = dtype("u4")


@vm.kernel
def add_one(x: vm.Ptr[f32], y: vm.Ptr[f32], n: i32) -> None:
    vm.launch(grid=[vm.cdiv(n, 128)], warps=4)
    source, target = vm.global_view(x, [n]), vm.global_view(y, [n])
    start = vm.block_index() * 128
    vm.store(target, [start], vm.load(source, [start], (128,)) + 1.0)


@vm.kernel
def copy_packed(x: vm.Ptr[U4], y: vm.Ptr[U4]) -> None:
    vm.launch(grid=[1], warps=1)
    source, target = vm.global_view(x, [256]), vm.global_view(y, [256])
    vm.store(target, [0], vm.load(source, [0], (256,)))


@vm.kernel
def rows(x: vm.Ptr[bf16], m: i32, k: i32) -> None:
    vm.launch(grid=[m, 2], warps=1)
    vm.assume(k % 8 == 0)
    view = vm.global_view(x, [m, k])
    vm.store(view, [vm.block_index(), 0], vm.load(view, [vm.block_index(), 0], (1, 32)))


@vm.kernel
def unaligned(x: vm.Ptr[u8]) -> None:
    vm.launch(grid=[1], warps=1)
    view = vm.global_view(x, [32], alignment=1)
    vm.store(view, [0], vm.load(view, [0], (32,)))
