"""Repeated calls of `linear` on a (pretended) GPU: what is remembered, and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tileloom.programs.quantized_matmul import Packed, Schedule, linear, pack, quantize
from tileloom.programs.quantized_matmul import device as on_gpu
from tileloom.runtime.cuda import context
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.vm.diagnostics import VMError

from .fake_driver import FakeDriver

K, N = 256, 128


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
