"""What only a GPU can show: the driver's part of the runtime."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from tileloom import vm
from tileloom.runtime import Strided, compile_kernel
from tileloom.runtime.assemble import assemble
from tileloom.runtime.bench import measure, rotation
from tileloom.runtime.cuda.context import Device
from tileloom.runtime.cuda.graph import Event, Graph, Stream
from tileloom.runtime.cuda.launch import LaunchAttributes, LoadedKernel
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.runtime.errors import AlignmentError, DriverError
from tileloom.runtime.toolkit import find_assembler
from tileloom.vm.dtypes import f32

from .kernels import add_one

pytestmark = pytest.mark.gpu

ELEMENTS = 300


@vm.kernel
def through_shared(x: vm.Ptr[f32], y: vm.Ptr[f32], size: int = 16384) -> None:
    vm.launch(grid=[1], warps=8)
    source, target = vm.global_view(x, [size]), vm.global_view(y, [size])
    tile = vm.alloc_shared(f32, (size,))
    vm.store(tile, [0], vm.load(source, [0], (size,)))
    vm.barrier()
    vm.store(target, [0], vm.load(tile, [0], (size,)))


@pytest.fixture
def kernel(gpu: Device) -> Any:
    return compile_kernel(add_one.trace(), gpu.target)


@pytest.fixture
def pair(gpu: Device) -> tuple[DeviceArray, DeviceArray]:
    x = DeviceArray.of(np.arange(ELEMENTS, dtype=np.float32), gpu)
    y = DeviceArray((ELEMENTS,), np.float32, gpu)
    y.fill_bytes(0xFF)
    gpu.synchronize()  # before the first use on a stream of our own
    return x, y


EXPECTED = np.arange(ELEMENTS, dtype=np.float32) + 1


def test_host_arrays(kernel: Any) -> None:
    x, y = np.arange(ELEMENTS, dtype=np.float32), np.full(ELEMENTS, np.nan, np.float32)
    kernel(x, y, ELEMENTS, device="cuda")
    np.testing.assert_array_equal(y, EXPECTED)
    add_one(x, y, ELEMENTS, device="cuda")
    np.testing.assert_array_equal(y, EXPECTED)


def test_device_arrays_and_streams(kernel: Any, pair: Any) -> None:
    x, y = pair
    kernel(x, y, ELEMENTS, device="cuda")
    np.testing.assert_array_equal(y.numpy(), EXPECTED)
    stream = Stream(x.device)
    y.fill_bytes(0xFF, stream.handle)
    kernel(x, y, ELEMENTS, device="cuda", stream=stream)
    np.testing.assert_array_equal(y.numpy(stream.handle), EXPECTED)


@pytest.mark.parametrize("choice", ["ptxas", "nvjitlink", "driver"])
def test_every_assemblers_code_runs(gpu: Device, kernel: Any, pair: Any, choice: str) -> None:
    from tileloom.runtime.errors import ToolMissingError

    try:
        chosen = find_assembler(choice)
    except ToolMissingError as error:
        pytest.skip(error.message)
    assembled = assemble(kernel.ptx, gpu.target, assembler=chosen)
    assert assembled.kernels[0].registers > 0
    x, y = pair
    loaded = LoadedKernel(gpu, assembled.cubin, kernel.name, kernel.num_threads, 0, ["Q", "Q", "i"])
    loaded.launch((3, 1, 1), [x.data_ptr(), y.data_ptr(), ELEMENTS])
    np.testing.assert_array_equal(y.numpy(), EXPECTED)


def test_occupancy_is_the_drivers(gpu: Device, kernel: Any, pair: Any) -> None:
    x, y = pair
    for compiled, arguments in (
        (kernel, (x, y, ELEMENTS)),
        (compile_kernel(through_shared.trace(), gpu.target), _floats(gpu, 16384)),
    ):
        prepared = compiled.prepare(*arguments)
        ours = compiled.resources.blocks_per_multiprocessor
        assert ours == prepared.loaded.blocks_per_multiprocessor()


def _floats(gpu: Device, size: int) -> tuple[DeviceArray, DeviceArray]:
    x = DeviceArray.of(np.random.default_rng(0).standard_normal(size, np.float32), gpu)
    return x, DeviceArray((size,), np.float32, gpu)


def test_more_shared_memory_than_the_default(gpu: Device) -> None:
    compiled = compile_kernel(through_shared.trace(), gpu.target)
    assert compiled.dynamic_shared >= 65536
    x, y = _floats(gpu, 16384)
    compiled(x, y, device="cuda")
    np.testing.assert_array_equal(y.numpy(), x.numpy())


def test_a_graph(kernel: Any, pair: Any) -> None:
    x, y = pair
    prepared = kernel.prepare(x, y, ELEMENTS)
    graph = Graph(prepared.launch)
    graph.stream.synchronize()
    assert np.isnan(y.numpy()).all()  # recorded, not run
    graph.replay()
    np.testing.assert_array_equal(y.numpy(graph.stream.handle), EXPECTED)
    graph.close()


def test_a_call_can_be_captured_after_the_first(gpu: Device, kernel: Any, pair: Any) -> None:
    x, y = pair
    kernel(x, y, ELEMENTS, device="cuda")
    y.fill_bytes(0xFF)
    gpu.synchronize()
    graph = Graph(lambda handle: kernel(x, y, ELEMENTS, device="cuda", stream=handle))
    graph.replay()
    np.testing.assert_array_equal(y.numpy(graph.stream.handle), EXPECTED)
    graph.close()


def test_a_failed_capture_leaves_the_stream_usable(kernel: Any, pair: Any) -> None:
    stream = Stream()
    with pytest.raises(ZeroDivisionError):
        Graph(lambda handle: 1 // 0 and None, stream)
    x, y = pair
    kernel(x, y, ELEMENTS, device="cuda", stream=stream)
    np.testing.assert_array_equal(y.numpy(stream.handle), EXPECTED)


def test_programmatic_launches(gpu: Device, kernel: Any, pair: Any) -> None:
    x, y = pair
    loaded = kernel.prepare(x, y, ELEMENTS).loaded
    values = [x.data_ptr(), y.data_ptr(), ELEMENTS]
    for _ in range(3):
        loaded.launch((3, 1, 1), values, 0, LaunchAttributes(programmatic=True))
    np.testing.assert_array_equal(y.numpy(), EXPECTED)


@pytest.mark.parametrize("programmatic", [False, True])
def test_launches_with_more_shared_memory(
    gpu: Device, kernel: Any, pair: Any, programmatic: bool
) -> None:
    x, y = pair
    loaded = kernel.prepare(x, y, ELEMENTS).loaded
    values = [x.data_ptr(), y.data_ptr(), ELEMENTS]
    for nbytes in (1024, 200 * 1024):
        attributes = LaunchAttributes(programmatic, shared=nbytes)
        assert not attributes.is_plain
        loaded.launch((3, 1, 1), values, 0, attributes)
    np.testing.assert_array_equal(y.numpy(), EXPECTED)


def test_events_and_measuring(gpu: Device) -> None:
    size = 1 << 24
    x, y = _floats(gpu, size)
    compiled = compile_kernel(add_one.trace(), gpu.target)
    timing = measure([compiled.prepare(x, y, size).launch], replays=5)
    assert timing.launches >= 1
    # 128 MiB at no more than 20 TB/s, and at no less than 100 GB/s.
    assert 6 < timing.median_us < 1400
    assert timing.min_us <= timing.median_us
    start, end = Event(), Event()
    start.record(0)
    end.record(0)
    end.synchronize()
    assert 0 <= end.microseconds_since(start) < 1e6
    assert rotation(100 << 20) == 4


def test_another_thread(kernel: Any, pair: Any) -> None:
    x, y = pair
    kernel(x, y, ELEMENTS, device="cuda")
    y.fill_bytes(0xFF)
    failures = []

    def work() -> None:
        try:
            kernel(x, y, ELEMENTS, device="cuda")
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failures == []
    np.testing.assert_array_equal(y.numpy(), EXPECTED)


def test_a_launch_that_cannot_be(gpu: Device, kernel: Any, pair: Any) -> None:
    x, y = pair
    loaded = LoadedKernel(gpu, kernel.cubin, kernel.name, 4096, 0, ["Q", "Q", "i"])
    with pytest.raises(DriverError, match="CUDA_ERROR_INVALID_VALUE") as caught:
        loaded.launch((1, 1, 1), [x.data_ptr(), y.data_ptr(), 1])
    assert "4096 threads" in str(caught.value)


def test_a_cubin_that_is_none(gpu: Device) -> None:
    with pytest.raises(DriverError):
        LoadedKernel(gpu, b"nonsense" * 100, "k", 32, 0, [])


def test_torch(kernel: Any) -> None:
    torch = pytest.importorskip("torch")
    x = torch.arange(ELEMENTS, dtype=torch.float32, device="cuda")
    y = torch.full_like(x, float("nan"))
    kernel(x, y, ELEMENTS, device="cuda")
    assert torch.equal(y, x + 1)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        y.fill_(0)
        kernel(x, y, ELEMENTS)  # on torch's current stream, device chosen by itself
    side.synchronize()
    assert torch.equal(y, x + 1)
    with pytest.raises(AlignmentError):
        kernel(x[1:], y, ELEMENTS - 1, device="cuda")
    kernel(Strided(x), y, ELEMENTS, device="cuda")


def test_torch_in_a_graph(kernel: Any) -> None:
    torch = pytest.importorskip("torch")
    x = torch.arange(ELEMENTS, dtype=torch.float32, device="cuda")
    y = torch.zeros_like(x)
    kernel(x, y, ELEMENTS, device="cuda")
    y.zero_()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kernel(x, y, ELEMENTS, device="cuda")
    assert not y.any()
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(y, x + 1)
