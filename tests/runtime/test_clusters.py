"""Launching kernels with clusters, and kernels that start early."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from tileloom import vm
from tileloom.runtime import compile_kernel
from tileloom.runtime.bench import measure
from tileloom.runtime.cuda import launcher
from tileloom.runtime.cuda.context import Device
from tileloom.runtime.cuda.graph import Graph, Stream
from tileloom.runtime.cuda.launch import PROGRAMMATIC, LaunchAttributes
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.runtime.signature import Signature
from tileloom.vm.diagnostics import LaunchError
from tileloom.vm.dtypes import f32, i32

from .fake_driver import FakeDriver
from .kernels import add_one
from .test_launch import Compiled

WIDTH = 128


@vm.kernel
def split_sum(x: vm.Ptr[f32], y: vm.Ptr[f32], n: i32, splits: i32, ranks: int, push: bool) -> None:
    """y = the sum of x[splits, n] over the ranks of clusters of `ranks` blocks."""
    vm.launch(grid=[vm.cdiv(n, WIDTH), 1, splits], warps=4, cluster=(1, 1, ranks))
    source = vm.global_view(x, [splits, n])
    start, rank = vm.block_index() * WIDTH, vm.cluster_rank()
    size = WIDTH // ranks
    part = vm.load(source, [vm.cluster_index(2), start], (1, WIDTH))
    target = vm.global_view(y, [n])
    if push:  # every block sends each rank its slice
        slots = vm.alloc_shared(f32, (ranks, size))
        own = vm.alloc_shared(f32, (1, WIDTH))
        vm.store(own, [0, 0], part)
        vm.cluster_barrier()
        for other in range(ranks):
            vm.store_remote(slots, [rank, 0], vm.load(own, [0, other * size], (1, size)), other)
        vm.cluster_barrier()
        whole = vm.load(slots, [0, 0], (1, size))
        for other in range(1, ranks):
            whole = whole + vm.load(slots, [other, 0], (1, size))
    else:  # every rank fetches its slice from each block
        own = vm.alloc_shared(f32, (1, WIDTH))
        vm.store(own, [0, 0], part)
        vm.cluster_barrier()
        whole = vm.load_remote(own, [0, rank * size], 0, (1, size))
        for other in range(1, ranks):
            whole = whole + vm.load_remote(own, [0, rank * size], other, (1, size))
        vm.cluster_barrier()
    vm.store(target, [start + rank * size], vm.reshape(whole, (size,)))


@vm.kernel
def chained(x: vm.Ptr[f32], y: vm.Ptr[f32], n: i32) -> None:
    """y = x + 1, many times over, and early."""
    vm.launch(grid=[vm.cdiv(n, 128)], warps=4)
    source, target = vm.global_view(x, [n]), vm.global_view(y, [n])
    start = vm.block_index() * 128
    vm.launch_dependents()
    vm.wait_dependencies()
    vm.store(target, [start], vm.load(source, [start], (128,)) + 1.0)


@vm.kernel
def waits_at_times(x: vm.Ptr[f32], n: i32) -> None:
    vm.launch(grid=[1], warps=1)
    view = vm.global_view(x, [n])
    with vm.when(n > 3):
        vm.wait_dependencies()
    vm.store(view, [0], vm.full(f32, (32,), 1.0))


def numbers(ranks: int, n: int) -> Any:
    x = np.random.default_rng(ranks).normal(size=(ranks, n)).astype(np.float32)
    expected = x[0]
    for row in x[1:]:
        expected = expected + row
    return x, expected


@pytest.mark.parametrize("push", [False, True])
@pytest.mark.parametrize("device", ["interpreter", "emulator"])
def test_a_split_sum(device: str, push: bool) -> None:
    x, expected = numbers(4, 300)
    y = np.zeros(300, np.float32)
    split_sum(x, y, 300, 4, device=device, ranks=4, push=push)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("device", ["interpreter", "emulator"])
def test_the_grid_must_consist_of_clusters(device: str) -> None:
    x, y = np.zeros((3, 300), np.float32), np.zeros(300, np.float32)
    with pytest.raises(LaunchError) as caught:
        split_sum(x, y, 300, 3, device=device, ranks=2, push=False)
    assert caught.value.message == (
        "the grid of `split_sum` has 3 blocks along z, which clusters of 2 don't divide"
    )
    assert caught.value.location is not None
    assert ("the grid is [3, 1, 3], the clusters are [1, 1, 2]", None) in caught.value.notes


def test_only_kernels_that_wait_start_early(fake: FakeDriver) -> None:
    fake.num_params = 3
    x, y = DeviceArray((8,), np.float32), DeviceArray((8,), np.float32)
    for kernel in (add_one, waits_at_times):
        compiled: Any = Compiled(kernel)
        with pytest.raises(LaunchError, match="it doesn't wait for the launch before it"):
            compiled.signature.check_programmatic()
    with pytest.raises(LaunchError, match="`add_one` can't start early"):
        launcher.prepare(Compiled(add_one), (x, y, 8)).launch(0, PROGRAMMATIC)
    compiled = Compiled(chained)
    launcher.launch(compiled, (x, y, 8), 5, PROGRAMMATIC)
    launcher.prepare(compiled, (x, y, 8)).launch(6, PROGRAMMATIC)
    assert [int(c.hStream) for c in fake.configurations] == [5, 6]
    (attribute,) = fake.configurations[0].attrs
    assert attribute.value.programmaticStreamSerializationAllowed == 1
    assert "cuLaunchKernel" not in fake.calls


def test_executors_without_overlap_take_early_launches_too() -> None:
    compiled = compile_kernel(chained.trace())
    x, y = np.arange(300, dtype=np.float32), np.zeros(300, np.float32)
    compiled(x, y, 300, device="emulator", programmatic=True)
    np.testing.assert_array_equal(y, x + 1)
    for device in ("emulator", "interpreter"):
        chained(y, x, 300, device=device, programmatic=True)
        np.testing.assert_array_equal(x, y + 1)
    with pytest.raises(LaunchError):
        compile_kernel(add_one.trace())(x, y, 300, device="emulator", programmatic=True)


def test_clusters_need_nothing_of_a_launch(fake: FakeDriver) -> None:
    """The code says its clusters itself."""
    fake.num_params = 4
    function = split_sum.trace(ranks=2, push=False)
    compiled: Any = Compiled(add_one)
    compiled.function, compiled.signature = function, Signature(function)
    x, y = DeviceArray((2, 8), np.float32), DeviceArray((8,), np.float32)
    launcher.launch(compiled, (x, y, 8, 2))
    assert [found.grid for found in fake.launches] == [(1, 1, 2)]


# On a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("push", [False, True])
@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_a_split_sum_on_a_gpu(gpu: Device, ranks: int, push: bool) -> None:
    if gpu.compute_capability < (9, 0):
        pytest.skip("no clusters")
    n = 128 * 500 + 17
    x, expected = numbers(ranks, n)
    compiled = compile_kernel(split_sum.trace(ranks=ranks, push=push), gpu.target)
    given, y = DeviceArray.of(x, gpu), DeviceArray((n,), np.float32, gpu)
    prepared = compiled.prepare(given, y, n, ranks)
    for _ in range(3):
        y.fill_bytes(0xFF)
        gpu.synchronize()
        prepared.launch()
        np.testing.assert_array_equal(y.numpy(), expected)
    y.fill_bytes(0xFF)
    gpu.synchronize()
    # The attribute may say the same again.
    prepared.launch(attributes=LaunchAttributes(cluster=(1, 1, ranks)))
    np.testing.assert_array_equal(y.numpy(), expected)
    assert prepared.loaded.active_clusters((1, 1, ranks)) > 0


@pytest.mark.gpu
def test_a_chain_of_early_launches(gpu: Device) -> None:
    n, links = 1 << 16, 50
    compiled = compile_kernel(chained.trace(), gpu.target)
    a = DeviceArray.of(np.arange(n, dtype=np.float32), gpu)
    b = DeviceArray((n,), np.float32, gpu)
    there, back = compiled.prepare(a, b, n), compiled.prepare(b, a, n)
    gpu.synchronize()

    def chain(handle: int) -> None:
        for _ in range(links):
            there.launch(handle, PROGRAMMATIC)
            back.launch(handle, PROGRAMMATIC)

    stream = Stream()
    chain(stream.handle)
    expected = np.arange(n, dtype=np.float32) + 2 * links
    np.testing.assert_array_equal(a.numpy(stream.handle), expected)
    graph = Graph(chain, stream)
    graph.replay()
    np.testing.assert_array_equal(a.numpy(stream.handle), expected + 2 * links)
    graph.close()
    early = measure([partial(there.launch, attributes=PROGRAMMATIC)], replays=5)
    assert early.median_us < 50
