"""The quantized matmul among dependent launches: weights are read early, x when it is there."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.programs.quantized_matmul import linear, pack, quantize
from tileloom.programs.quantized_matmul.device import Workspace, launch
from tileloom.programs.quantized_matmul.packing import Packed
from tileloom.programs.quantized_matmul.plan import Plan, plan, traced
from tileloom.programs.quantized_matmul.schedule import Schedule
from tileloom.programs.quantized_matmul.tuning import Problem
from tileloom.programs.quantized_matmul.wide_schedule import parse_schedule
from tileloom.runtime.compiled import compile_kernel
from tileloom.runtime.cuda.context import available, current_device
from tileloom.runtime.cuda.graph import Stream
from tileloom.runtime.cuda.launch import PROGRAMMATIC
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.vm.dtypes import f16, f32, i32

WORDS = ["k8f1t8s1d0a2wb2", "k2f2t8s2cd0a4wb4", "k4f1t8s2", "k1f4t8s4cd0a2wb4"]
K = N = 1024


@vm.kernel
def late(source: vm.Ptr[f16], x: vm.Ptr[f16], n: i32, turns: i32) -> None:
    """x[n] = source[n], after a chain of additions that takes a while."""
    vm.launch(grid=[vm.cdiv(n, 128)], warps=4)
    vm.launch_dependents()
    vm.wait_dependencies()
    start = vm.block_index() * 128
    waited = vm.full(f32, (128,), 1.0)
    for _ in vm.range(turns):
        waited.set(waited * 0.5)
    values = vm.load(vm.global_view(source, [n], alignment=2), [start], (128,))
    values = values + vm.cast(vm.clip(waited, 0.0, 0.0), f16)
    vm.store(vm.global_view(x, [n], alignment=2), [start], values)


def test_the_weights_are_asked_for_before_the_wait_and_x_behind_it() -> None:
    """Words are the only loads before it; the next launch may come from the start on."""
    for word in WORDS:
        problem = Problem("u4", K, N, 8)
        config = problem.plan(Schedule.parse(word)).config
        ptx = compile_function(traced(config)).ptx
        early, behind = ptx.split("griddepcontrol.wait;")
        assert "griddepcontrol.launch_dependents;" in early
        asks = early.count("cp.async.cg") + early.count("ld.global")
        words = config.cut.steps * config.cut.unit_words
        assert asks == words * max(1, config.stages - 1), word
        assert "st.global" not in early and "st.global" in behind


@pytest.mark.parametrize(
    ("word", "n", "alone"),
    [
        ("k8f1t8s1d0a2wb2", 8192, 228 * 1024 - 1024),  # 128 blocks: one a multiprocessor
        ("k4f1t8s2cd0a2wb4", 8192, 114 * 1024 - 1024),  # 256: two
        ("k1f4t8s8cd0a2wb4", 8192, 0),  # large clusters need not find room then
        ("k4f1t8s1d0a2wb4", 57344, 0),  # 896: they even out
        ("n16g2h2a4b132", 8192, 228 * 1024 - 1024),
    ],
)
def test_early_blocks_take_no_more_than_their_share(word: str, n: int, alone: int) -> None:
    chosen = Problem("u2", 8192, n, 8).plan(parse_schedule(word))
    assert chosen.shared_alone(132) == alone


def test_the_late_kernel_only_copies() -> None:
    source = np.random.default_rng(0).normal(size=300).astype(np.float16)
    found = np.zeros_like(source)
    late(source, found, 300, 3, device="interpreter")
    np.testing.assert_array_equal(found, source)
    assert "griddepcontrol.launch_dependents;" in compile_function(late.trace()).ptx


@pytest.mark.gpu
@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("m", [1, 8])
def test_a_late_x(word: str, m: int) -> None:
    """A chain of launches whose x comes late: each product is of its x, and every time alike."""
    if not available():
        pytest.skip("no NVIDIA GPU")
    gpu, stream = current_device(), Stream()
    rng = np.random.default_rng(m)
    packed = pack(quantize(rng.normal(size=(K, N)), "u4", 128))
    inputs = [rng.normal(size=(m, K)).astype(np.float16) for _ in range(3)]
    sources = [DeviceArray.of(x, gpu) for x in inputs]
    x = DeviceArray((m, K), np.float16, gpu)
    outputs = [DeviceArray((m, N), np.float16, gpu) for _ in range(2 * len(inputs))]
    chosen = plan(packed, m, "f16", "f16", schedule=Schedule.parse(word))
    workspace = Workspace.of(chosen.workspace, gpu)
    kernel = compile_kernel(late.trace(), gpu.target)
    waits = [kernel.prepare(source, x, m * K, 20000) for source in sources]
    gpu.synchronize()
    for number, y in enumerate(outputs):
        waits[number % len(inputs)].launch(stream.handle, PROGRAMMATIC)
        _product(chosen, packed, x, y, workspace, stream, gpu.ordinal)
    found = [y.numpy(stream.handle) for y in outputs]
    for number, values in enumerate(inputs):
        meant = linear(values, packed, device="cuda", schedule=Schedule.parse(word))
        for result in found[number :: len(inputs)]:
            np.testing.assert_array_equal(result, meant)


def _product(
    chosen: Plan,
    packed: Packed,
    x: DeviceArray,
    y: DeviceArray,
    workspace: Workspace,
    stream: Stream,
    ordinal: int,
) -> None:
    launch(chosen, packed, x, None, y, workspace, stream.handle, ordinal, PROGRAMMATIC)
