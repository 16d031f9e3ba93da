"""Launching, against a pretended driver that reads the packed arguments as the real one does."""

from __future__ import annotations

import struct
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tileloom import vm
from tileloom.runtime.cuda import context, launcher, stream
from tileloom.runtime.cuda.launch import ArgumentPacker, LaunchAttributes, LoadedKernel
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.runtime.errors import (
    AlignmentError,
    ArgumentError,
    DriverError,
    NoDeviceError,
)
from tileloom.runtime.signature import Signature
from tileloom.vm.diagnostics import LaunchError, TargetError, UsageError
from tileloom.vm.tensor_maps import TensorMap

from .fake_driver import FakeDriver, read_words
from .kernels import add_one, unaligned


class Compiled:
    """What the launcher needs of a compiled kernel."""

    def __init__(self, kernel: Any, dynamic_shared: int = 0, target: str = "sm_90a") -> None:
        self.function = kernel.trace()
        self.signature = Signature(self.function)
        self.name, self.num_threads = self.function.name, self.function.num_threads
        self.plans = launcher.Plans(self.signature)
        self.cubin, self.dynamic_shared, self.target = b"cubin", dynamic_shared, target
        self.tensor_maps: tuple[TensorMap, ...] = ()

    def variant(self, far: bool) -> Compiled:
        assert not far
        return self


def as_bytes(word: int, count: int) -> bytes:
    return word.to_bytes(8, "little")[:count]


def test_packing_places_each_value_where_its_address_says() -> None:
    packer = ArgumentPacker(["Q", "i", "f", "e", "b", "d", "q"])
    slots = packer.pack([2**40, -7, 1.5, -2.0, -1, 3.25, -(2**40)])
    words = read_words(slots.address, 7)
    assert words[0] == 2**40
    assert as_bytes(words[1], 4) == struct.pack("<i", -7)
    assert as_bytes(words[2], 4) == struct.pack("<f", 1.5)
    assert as_bytes(words[3], 2) == struct.pack("<e", -2.0)
    assert as_bytes(words[4], 1) == b"\xff"
    assert as_bytes(words[5], 8) == struct.pack("<d", 3.25)
    assert as_bytes(words[6], 8) == struct.pack("<q", -(2**40))


def test_a_tensor_map_is_aligned() -> None:
    packer = ArgumentPacker(["i", "128s", "Q"])
    slots = packer.pack([1, bytes(range(128)), 5])
    address = read_words(slots.address, 1)
    assert as_bytes(address[0], 4) == struct.pack("<i", 1)
    import ctypes

    places = (ctypes.c_void_p * 3).from_address(slots.address)
    assert places[1] is not None and places[1] % 64 == 0
    assert ctypes.string_at(places[1], 128) == bytes(range(128))


def test_packing_reuses_memory_and_survives_a_bad_value() -> None:
    packer = ArgumentPacker(["i"])
    first = packer.pack([1])
    second = packer.pack([2])
    assert first is not second  # both in flight
    packer.release(first)
    assert packer.pack([3]) is first
    with pytest.raises(ArgumentError, match="don't fit"):
        packer.pack([2**31])
    third = packer.pack([4])
    assert read_words(third.address, 1)[0] & 0xFFFFFFFF == 4


def test_a_launch(fake: FakeDriver) -> None:
    fake.num_params = 3
    kernel: Any = Compiled(add_one)
    x, y = DeviceArray((300,), np.float32), DeviceArray((300,), np.float32)
    launcher.launch(kernel, (x, y, 300), stream=5)
    (found,) = fake.launches
    assert (found.grid, found.block, found.shared, found.stream) == ((3, 1, 1), (128, 1, 1), 0, 5)
    assert found.words[:2] == [x.data_ptr(), y.data_ptr()]
    assert found.words[2] & 0xFFFFFFFF == 300


def test_a_second_launch_neither_checks_nor_loads(fake: FakeDriver, monkeypatch: Any) -> None:
    fake.num_params = 3
    kernel: Any = Compiled(add_one)
    x, y = DeviceArray((300,), np.float32), DeviceArray((300,), np.float32)
    launcher.launch(kernel, (x, y, 300))
    monkeypatch.setattr(kernel.signature, "bind", None)
    fake.calls.clear()
    launcher.launch(kernel, (y, x, 300))
    assert fake.calls == ["cuLaunchKernel"]
    assert fake.launches[-1].words[:2] == [y.data_ptr(), x.data_ptr()]


def test_another_size_gets_its_own_grid(fake: FakeDriver) -> None:
    kernel: Any = Compiled(add_one)
    x, y = DeviceArray((300,), np.float32), DeviceArray((300,), np.float32)
    for n in (300, 100, 300, 0):
        launcher.launch(kernel, (x, y, n))
    assert [launch.grid[0] for launch in fake.launches] == [3, 1, 3]
    assert fake.calls.count("cuLibraryLoadData") == 1
    with pytest.raises(ArgumentError, match="`x` is too small"):
        launcher.launch(kernel, (x, y, 301))


def test_host_arrays_are_copied_there_and_back(fake: FakeDriver) -> None:
    fake.num_params = 3
    kernel: Any = Compiled(add_one)
    x, y = np.arange(8, dtype=np.float32), np.zeros(8, np.float32)
    seen = []

    def run(*arguments: Any) -> Any:
        result = launch(*arguments)
        words = fake.launches[-1].words
        source = np.frombuffer(_memory(words[0], 32), np.float32)
        seen.append(source.copy())
        np.frombuffer(_memory(words[1], 32), np.float32)[:] = source + 1
        return result

    launch = fake.cuLaunchKernel
    fake.cuLaunchKernel = run  # type: ignore[method-assign]
    launcher.launch(kernel, (x, y, 8))
    np.testing.assert_array_equal(seen[0], np.arange(8))
    np.testing.assert_array_equal(y, np.arange(8) + 1)
    np.testing.assert_array_equal(x, np.arange(8))
    assert fake.calls.count("cuMemcpyDtoHAsync") == 1  # only what is written comes back
    assert fake.memory == {}


def _memory(address: int, size: int) -> Any:
    import ctypes

    return (ctypes.c_char * size).from_address(address)


def test_large_shared_memory_is_asked_for(fake: FakeDriver) -> None:
    x, y = DeviceArray((8,), np.float32), DeviceArray((8,), np.float32)
    for size, asked in ((48 * 1024, None), (100 * 1024, 100 * 1024)):
        fake.attributes.clear()
        kernel: Any = Compiled(add_one, dynamic_shared=size)
        launcher.launch(kernel, (x, y, 8))
        assert fake.launches[-1].shared == size
        name = "CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES"
        assert fake.attributes.get(name) == asked


def test_a_thread_without_a_context_gets_one(fake: FakeDriver) -> None:
    kernel: Any = Compiled(add_one)
    x, y = DeviceArray((8,), np.float32), DeviceArray((8,), np.float32)
    launcher.launch(kernel, (x, y, 8))
    fake.context = 0
    fake.failures["cuLaunchKernel"] = [201]
    launcher.launch(kernel, (x, y, 8))
    assert fake.context == 0x1000
    assert len(fake.launches) == 2


def test_another_devices_context_is_put_back(fake: FakeDriver) -> None:
    fake.count = 2
    kernel: Any = Compiled(add_one)
    gpu = context.device(1)
    x, y = (DeviceArray((8,), np.float32, gpu) for _ in range(2))
    launcher.launch(kernel, (x, y, 8))
    context.device(0).activate()
    fake.failures["cuLaunchKernel"] = [400]
    launcher.launch(kernel, (x, y, 8))
    assert fake.context == 0x1000
    assert len(fake.launches) == 2


def test_a_failed_launch_says_how_it_was_launched(fake: FakeDriver) -> None:
    kernel: Any = Compiled(add_one)
    x, y = DeviceArray((8,), np.float32), DeviceArray((8,), np.float32)
    fake.failures["cuLaunchKernel"] = [700]
    with pytest.raises(DriverError) as caught:
        launcher.launch(kernel, (x, y, 8))
    assert caught.value.code == 700
    text = str(caught.value)
    assert "CUDA_ERROR_ILLEGAL_ADDRESS: a description" in text
    assert "note: `add_one` was launched with grid [1, 1, 1], 128 threads, 0 bytes" in text


def test_misaligned_pointers_are_refused_at_every_launch(fake: FakeDriver) -> None:
    class Shifted(DeviceArray):
        shift = 0

        def data_ptr(self) -> int:
            return super().data_ptr() + self.shift

    launcher._KINDS[Shifted] = launcher._KINDS[DeviceArray]
    try:
        kernel: Any = Compiled(add_one)
        x, y = Shifted((8,), np.float32), DeviceArray((8,), np.float32)
        launcher.launch(kernel, (x, y, 8))
        x.shift = 4
        with pytest.raises(AlignmentError, match="`x` must start at a multiple of 16"):
            launcher.launch(kernel, (x, y, 8))
        assert len(fake.launches) == 1
        loose: Any = Compiled(unaligned)
        launcher.launch(loose, (np.zeros(33, np.uint8)[1:],))
    finally:
        del launcher._KINDS[Shifted]


def test_arrays_on_two_gpus_are_refused(fake: FakeDriver) -> None:
    fake.count = 2
    kernel: Any = Compiled(add_one)
    x = DeviceArray((8,), np.float32, context.device(0))
    y = DeviceArray((8,), np.float32, context.device(1))
    with pytest.raises(LaunchError, match="`x` is in the memory of GPU 0, but `y` in that of GPU"):
        launcher.launch(kernel, (x, y, 8))


@pytest.mark.parametrize(
    ("target", "capability", "fits"),
    [
        ("sm_90a", (9, 0), True), ("sm_90a", (10, 0), False), ("sm_80", (8, 0), True),
        ("sm_80", (8, 9), True), ("sm_89", (8, 6), False), ("sm_80", (9, 0), False),
    ],
)  # fmt: skip
def test_code_runs_where_it_can(
    fake: FakeDriver, target: str, capability: tuple[int, int], fits: bool
) -> None:
    fake.capability = capability
    kernel: Any = Compiled(add_one, target=target)
    x, y = DeviceArray((8,), np.float32), DeviceArray((8,), np.float32)
    if fits:
        launcher.launch(kernel, (x, y, 8))
        return
    with pytest.raises(TargetError, match=f"is compiled for `{target}`, but Fake GPU is"):
        launcher.launch(kernel, (x, y, 8))


def test_prepared_launches(fake: FakeDriver) -> None:
    fake.num_params = 3
    kernel: Any = Compiled(add_one)
    x, y = DeviceArray((8,), np.float32), DeviceArray((8,), np.float32)
    prepared = launcher.prepare(kernel, (x, y, 8))
    assert fake.launches == []
    fake.calls.clear()
    prepared(7)
    assert fake.calls == ["cuLaunchKernel"]
    assert fake.launches[0].stream == 7
    with pytest.raises(LaunchError, match="`x` is in the host's memory"):
        launcher.prepare(kernel, (np.zeros(8, np.float32), y, 8))


@vm.kernel
def copy_rows(x: vm.Ptr[vm.f16], m: vm.i32, k: vm.i32) -> None:
    """Names a tensor, of which a launch makes a map."""
    vm.launch(grid=[m], warps=1)
    vm.global_view(x, [m, k])


def test_tensor_maps_are_encoded_once_for_a_pointer(fake: FakeDriver) -> None:
    fake.num_params = 4
    kernel: Any = Compiled(copy_rows)
    kernel.tensor_maps = (TensorMap(0, (1, 0), (64, 32), 16, 128),)
    x, other = (DeviceArray((40, 72), np.float16) for _ in range(2))
    for array in (x, x, other):
        launcher.launch(kernel, (array, 40, 72))
    assert fake.calls.count("cuTensorMapEncodeTiled") == 2
    assert [launch.words[3] for launch in fake.launches] == [x.data_ptr()] * 2 + [other.data_ptr()]
    kind, rank, pointer, shape, strides, box, steps, _, swizzle, *_ = fake.maps[0]
    assert (kind.name, rank, pointer) == ("CU_TENSOR_MAP_DATA_TYPE_UINT16", 2, x.data_ptr())
    numbers = [[int(n) for n in each] for each in (shape, strides, box, steps)]
    assert numbers == [[72, 40], [144], [64, 32], [1, 1]]
    assert swizzle.name == "CU_TENSOR_MAP_SWIZZLE_128B"
    launcher.prepare(kernel, (x, 40, 72))()
    assert fake.launches[-1].words[3] == x.data_ptr()
    launcher.launch(kernel, (np.zeros((40, 72), np.float16), 40, 72))
    assert fake.calls.count("cuTensorMapEncodeTiled") == 3
    with pytest.raises(LaunchError, match="has a stride of 146 bytes"):
        launcher.launch(kernel, (DeviceArray((40, 73), np.float16), 40, 73))


def test_launch_attributes(fake: FakeDriver) -> None:
    loaded = LoadedKernel(context.device(0), b"cubin", "k", 64, 1024, ["i"])
    attributes = LaunchAttributes(programmatic=True, cluster=(2, 1, 1))
    for _ in range(2):
        loaded.launch((4, 5, 6), [1], 9, attributes)
    first, second = fake.configurations
    assert first is second
    assert (first.gridDimX, first.gridDimY, first.gridDimZ) == (4, 5, 6)
    assert (first.blockDimX, first.sharedMemBytes, int(first.hStream)) == (64, 1024, 9)
    assert first.numAttrs == 2
    serial, cluster = first.attrs
    assert serial.value.programmaticStreamSerializationAllowed == 1
    extent = cluster.value.clusterDim
    assert (extent.x, extent.y, extent.z) == (2, 1, 1)
    loaded.launch((4, 5, 6), [1], 9, LaunchAttributes())
    assert len(fake.launches) == 1  # plain after all


def test_launches_from_many_threads_keep_their_values(fake: FakeDriver) -> None:
    fake.num_params = 1
    loaded = LoadedKernel(context.device(0), b"cubin", "k", 32, 0, ["q"])

    def work(number: int) -> None:
        for _ in range(200):
            loaded.launch((number + 1, 1, 1), [number])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(fake.launches) == 800
    assert all(launch.words == [launch.grid[0] - 1] for launch in fake.launches)


def test_device_arrays(fake: FakeDriver) -> None:
    values = np.arange(6, dtype=np.float16).reshape(2, 3)
    array = DeviceArray.of(values)
    np.testing.assert_array_equal(array.numpy(), values)
    assert array.__cuda_array_interface__["data"] == (array.data_ptr(), False)
    array.fill_bytes(0xFF)
    assert np.isnan(array.numpy()).all()
    empty = DeviceArray((0, 4), np.float32)
    assert empty.numpy().shape == (0, 4)
    array.free()
    empty.free()
    assert fake.memory == {}


def test_streams() -> None:
    assert stream.stream_handle(3) == 3
    assert stream.stream_handle(SimpleNamespace(__cuda_stream__=lambda: (0, 11))) == 11
    assert stream.stream_handle(SimpleNamespace(__cuda_stream__=(0, 12))) == 12
    assert stream.stream_handle(SimpleNamespace(cuda_stream=13)) == 13
    assert stream.stream_handle(SimpleNamespace(ptr=14)) == 14
    for bad in (True, "s", None, object()):
        with pytest.raises(UsageError, match="is no stream"):
            stream.stream_handle(bad)
    with pytest.raises(UsageError, match="version 1"):
        stream.stream_handle(SimpleNamespace(__cuda_stream__=lambda: (1, 11)))
    assert stream.current_stream([np.zeros(1), 3], 0) == 0


def test_torchs_stream_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tensor:
        pass

    Tensor.__module__ = "torch"
    asked = []

    def query(device: int) -> int:
        asked.append(device)
        return 77

    fake_torch = SimpleNamespace(_C=SimpleNamespace(_cuda_getCurrentRawStream=query))
    monkeypatch.setitem(__import__("sys").modules, "torch", fake_torch)
    monkeypatch.setattr(stream, "_query", None)
    assert stream.current_stream([1, Tensor()], 3) == 77
    assert asked == [3]


def test_no_driver_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from tileloom.runtime import bindings

    def absent() -> None:
        raise RuntimeError("libcuda is missing\nmore")

    context.api.cache_clear()
    monkeypatch.setattr(bindings, "driver", absent)
    assert not context.available()
    with pytest.raises(NoDeviceError, match="no CUDA driver"):
        context.current_device()


def test_no_gpu_is_a_typed_error(fake: FakeDriver) -> None:
    fake.failures["cuInit"] = [100, 100]
    assert not context.available()
    with pytest.raises(NoDeviceError) as caught:
        context.api()
    assert "cuInit says CUDA_ERROR_NO_DEVICE" in str(caught.value)
    fake.failures.clear()
    with pytest.raises(NoDeviceError, match="there is no GPU 3"):
        context.device(3)
