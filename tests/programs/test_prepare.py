"""`prepare`: afterwards `linear` waits for no compilation and no memory."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.programs.activations.activations import quantize_activations
from tileloom.programs.quantized_matmul import Quantized, linear, pack, prepare, quantize
from tileloom.programs.quantized_matmul.device import Rows, Workspace
from tileloom.runtime import no_jit
from tileloom.runtime.cuda import context
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.vm.diagnostics import VMError


def quantized() -> Quantized:
    return quantize(np.random.default_rng(0).normal(size=(512, 264)), "u4", 64, "int")


def test_nothing_is_prepared_for_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILELOOM_DEVICE", "interpreter")
    assert prepare(pack(quantized())) is None
    with pytest.raises(VMError, match="`max_m` is 0"):
        prepare(pack(quantized()), max_m=0)
    with pytest.raises(VMError, match="`p` is a Quantized, not a packed weight"):
        prepare(quantized())  # type: ignore[arg-type]
    with pytest.raises(VMError, match="names `i8`, which the weight isn't packed for"):
        prepare(pack(quantized()), activations=("i8",))
    packed = pack(quantize(np.ones((128, 64)), "u4", 64), "i8")
    assert prepare(packed) is None
    with pytest.raises(VMError, match="one of i8, f16, bf16, f32"):
        prepare(packed, activations=("e4m3",))


@pytest.mark.gpu
def test_afterwards_nothing_is_compiled_or_allocated(monkeypatch: pytest.MonkeyPatch) -> None:
    if not context.available():
        pytest.skip("no NVIDIA GPU")
    q, gpu = quantized(), context.current_device()
    p = pack(q)
    prepare(p, max_m=20)
    monkeypatch.setattr(Workspace, "of", None)  # a call would fail
    for m in (1, 3, 8, 17, 20):
        x = np.random.default_rng(m).normal(size=(m, 512)).astype(np.float16)
        y = DeviceArray((m, 264), np.float16, gpu)
        on_gpu = DeviceArray.of(x, gpu)
        with no_jit(allow_cached=False):
            linear(on_gpu, p, out=y)
        wanted = x.astype(np.float64) @ q.dequantize()
        assert np.linalg.norm(y.numpy() - wanted) < 6e-4 * np.linalg.norm(wanted)


@pytest.mark.gpu
@pytest.mark.parametrize("activation", ["i8", "e4m3"])
def test_afterwards_8_bit_activations_wait_for_nothing(
    activation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not context.available():
        pytest.skip("no NVIDIA GPU")
    q = quantize(np.random.default_rng(0).normal(size=(512, 264)), "u4", 64)
    gpu = context.current_device()
    p = pack(q, activation)
    prepare(p, max_m=20, activations=(p.activation, "f16"))
    monkeypatch.setattr(Workspace, "of", None)  # a call would fail
    monkeypatch.setattr(Rows, "of", None)
    for m in (1, 3, 8, 17, 20):
        x = np.random.default_rng(m).normal(size=(m, 512)).astype(np.float16)
        y = DeviceArray((m, 264), np.float16, gpu)
        on_gpu = DeviceArray.of(x, gpu)
        with no_jit(allow_cached=False):
            linear(on_gpu, p, out=y)
        codes = quantize_activations(x, activation, device="interpreter")
        wanted = codes.dequantize() @ q.dequantize()
        assert np.linalg.norm(y.numpy() - wanted) < 2e-3 * np.linalg.norm(wanted)
