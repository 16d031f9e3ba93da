"""Repeated calls of `linear` on a (pretended) GPU: what is remembered, and what is not."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tileloom.programs.activations.activations import Activations
from tileloom.programs.quantized_matmul import (
    Packed,
    Schedule,
    eight_bit_linear,
    linear,
    pack,
    prepare,
    quantize,
)
from tileloom.programs.quantized_matmul import device as on_gpu
from tileloom.programs.quantized_matmul import plan as plan_module
from tileloom.programs.quantized_matmul.eight_bit_packing import BytePacked
from tileloom.programs.quantized_matmul.wide_schedule import parse_schedule
from tileloom.runtime import no_jit
from tileloom.runtime.cuda import context
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.vm.diagnostics import VMError

from .fake_driver import FakeDriver

K, N = 256, 128

linear_module = sys.modules[linear.__module__]


@pytest.fixture
def gpu(fake: FakeDriver, assembler: object) -> Iterator[FakeDriver]:
    """A pretended GPU, on which the kernels' fourteen values are read."""
    fake.num_params = 14
    remembered = (on_gpu.loaded, on_gpu.machine_of)
    for cached in remembered:
        cached.cache_clear()
    yield fake
    for cached in remembered:
        cached.cache_clear()


@pytest.fixture
def packed(gpu: FakeDriver) -> Packed:
    return pack(quantize(np.random.default_rng(0).normal(size=(K, N)), "u4", 64))


def arrays(m: int) -> tuple[DeviceArray, DeviceArray]:
    gpu = context.current_device()
    return DeviceArray((m, K), np.float16, gpu), DeviceArray((m, N), np.float16, gpu)


def test_the_second_call_makes_the_same_launch_for_other_arrays(
    gpu: FakeDriver, packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = arrays(3)
    assert linear(x, packed, out=y) is y
    monkeypatch.setattr(on_gpu, "run_on_gpu", None)  # the long way would fail
    other_x, other_y = arrays(3)
    assert linear(other_x, packed, out=other_y) is other_y
    first, second = gpu.launches
    assert first.grid == second.grid and first.shared == second.shared
    expected: list[Any] = list(first.words)
    expected[0], expected[5] = other_x.data_ptr(), other_y.data_ptr()
    assert second.words == expected


def test_a_repeated_call_notices_that_its_result_lies_in_x(
    gpu: FakeDriver, packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = arrays(3)
    linear(x, packed, out=y)
    for distance, refused in ((0, True), (3 * K * 2 - 2, True), (3 * K * 2, False)):
        address = x.data_ptr() + distance
        monkeypatch.setattr(y, "data_ptr", lambda at=address: at)
        if refused:
            with pytest.raises(VMError, match="`out` shares memory with `x`"):
                linear(x, packed, out=y)
        else:
            assert linear(x, packed, out=y) is y
    assert len(gpu.launches) == 2


def test_other_shapes_and_options_take_the_long_way(gpu: FakeDriver, packed: Packed) -> None:
    x, y = arrays(3)
    linear(x, packed, out=y)
    calls = dict(packed.calls)
    linear(x, packed, out=y, schedule=Schedule(1, 1, 8, 1))
    linear(x, packed, np.zeros(N, np.float32), y)
    assert packed.calls == calls, "only plain calls are remembered"
    larger = arrays(9)
    linear(larger[0], packed, out=larger[1])
    assert len(packed.calls) == 2 and gpu.launches[-1].words[8] & 0xFFFFFFFF == 9
    with pytest.raises(VMError):
        linear(x, packed, out=larger[1])


def quantized(m: int) -> tuple[Activations, DeviceArray]:
    gpu = context.current_device()
    codes, scales = DeviceArray((m, K), np.int8, gpu), DeviceArray((m, 1), np.float32, gpu)
    return Activations(codes, scales, K, "i8"), DeviceArray((m, N), np.float16, gpu)


@pytest.fixture
def bytes_packed(gpu: FakeDriver) -> BytePacked:
    gpu.num_params = 15  # with the map of x's tensor
    return pack(quantize(np.random.default_rng(0).normal(size=(K, N)), "u4", 64), "i8")


def test_calls_of_8_bit_activations_are_remembered(
    gpu: FakeDriver, bytes_packed: BytePacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = quantized(3)
    assert linear(x, bytes_packed, out=y) is y
    monkeypatch.setattr(on_gpu, "run_on_gpu", None)  # the long way would fail
    other_x, other_y = quantized(3)
    assert linear(other_x, bytes_packed, out=other_y) is other_y
    first, second = gpu.launches
    assert first.grid == second.grid and first.shared == second.shared
    expected: list[Any] = list(first.words)
    expected[0], expected[1] = other_x.codes.data_ptr(), other_x.scales.data_ptr()
    expected[5], expected[14] = other_y.data_ptr(), other_x.codes.data_ptr()
    assert second.words == expected


def test_floats_are_quantized_where_there_is_room(
    gpu: FakeDriver, bytes_packed: BytePacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = arrays(3)
    noted: list[Any] = []
    monkeypatch.setattr(eight_bit_linear, "quantize_activations", _noting(noted))
    for _ in range(3):
        linear(x, bytes_packed, out=y)
    assert len(gpu.launches) == 3 and len(bytes_packed.calls) == 1
    assert [(room.m, room.k, room.leading) for room in noted] == [(3, K, (3,))] * 3
    assert len({room.codes.data_ptr() for room in noted}) == 1, "always in the same place"
    assert gpu.launches[2].words == gpu.launches[0].words
    assert gpu.launches[2].words[0] == noted[0].codes.data_ptr()


def _noting(noted: list[Any]) -> Any:
    def quantize_nothing(x: Any, name: str, *, out: Activations, device: str) -> Activations:
        noted.append(out)
        return out

    return quantize_nothing


def test_unaligned_codes_are_refused(
    gpu: FakeDriver, bytes_packed: BytePacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = quantized(3)
    linear(x, bytes_packed, out=y)
    address = x.codes.data_ptr() + 8
    monkeypatch.setattr(x.codes, "data_ptr", lambda: address)
    with pytest.raises(VMError, match="must start at a multiple of 16 bytes"):
        linear(x, bytes_packed, out=y)


@pytest.mark.parametrize("schedule", ["k8f1t8s2", "n16g2h2a4b7"])
def test_a_workspace_belongs_to_the_stream(
    schedule: str, gpu: FakeDriver, packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = plan_module.plan(packed, 20, "f16", "f16", schedule=parse_schedule(schedule))
    assert chosen.config.split
    monkeypatch.setattr(linear_module, "plan", lambda *_: chosen)
    gpu.num_params = 16 if schedule.startswith("n") else 14
    x, y = arrays(20)
    linear(x, packed, out=y)
    (call,) = packed.calls.values()
    assert call.run(x, y)
    first, second = gpu.launches
    assert second.words == first.words
    room = call.state.workspaces.of(chosen.workspace, 0)
    assert first.words[6:8] == [room.partials.data_ptr(), room.counters.data_ptr()]
    call.state.workspaces._found.clear()
    assert call.run(x, y)
    other = call.state.workspaces.of(chosen.workspace, 0)
    assert gpu.launches[-1].words[6] == other.partials.data_ptr()


def test_more_elements_than_32_bits_count(gpu: FakeDriver, packed: Packed) -> None:
    few, many = ((1 << 31) // K - 1, (1 << 31) // K + 1)
    kernels = []
    for m in (few, many):
        chosen = plan_module.plan(packed, m, "f16", "f16")
        kernels.append(on_gpu.kernel_of(chosen, packed, 0))
    assert kernels[0] is not kernels[1]
    assert on_gpu.loaded(chosen.config, 0, True) is kernels[1]


@pytest.mark.parametrize("activation", ["f16", "i8"])
def test_what_is_prepared_is_neither_compiled_nor_allocated(
    activation: str, gpu: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the pretended GPU: the same calls as on a real one (tests/programs/test_prepare.py)."""
    q = quantize(np.random.default_rng(0).normal(size=(K, N)), "u4", 64)
    p: Any = pack(q, activation)
    monkeypatch.setenv("TILELOOM_DEVICE", "cuda")
    gpu.num_params = 0
    room = prepare(p, max_m=9, activations=tuple({activation, "f16"}))
    made = [(arrays(m), quantized(m)) for m in (1, 5, 8, 9)]
    gpu.calls.clear()
    for (x, y), (codes, other) in made:
        with no_jit(allow_cached=False):
            assert linear(x if activation == "f16" else codes, p, out=y) is y
            assert linear(x, p, out=other) is other
    assert set(gpu.calls) <= {"cuLaunchKernel", "cuTensorMapEncodeTiled"}, "and waits for nothing"
    assert room.fits((0, 0)) and len(gpu.calls) >= 8
