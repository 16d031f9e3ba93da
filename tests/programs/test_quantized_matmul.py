"""The quantized matmul against float64, for every dtype, zero point, group and activation.

The element bound: y is rounded once to its dtype, sums are f32, and a weight's error is that of the
zero point's rank-1 term, which is formed from the codes' whole range. So an element is off by at
most half an ulp of the result plus a small part of sum |x| * (|w| + scale * range).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tileloom.programs.quantized_matmul import (
    Quantized,
    Schedule,
    linear,
    pack,
    quantize,
    unpack,
)
from tileloom.programs.quantized_matmul.forms import weight_form
from tileloom.programs.quantized_matmul.geometry import Geometry
from tileloom.programs.quantized_matmul.quantization import legal_zero_points
from tileloom.programs.quantized_matmul.schedule import choose, entries
from tileloom.programs.quantized_matmul.wide_schedule import FEWEST_TOKENS
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import Dtype, bf16, dtype

FLOATS = [f"e{x}m{b - 1 - x}" for b in range(3, 9) for x in range(1, b)]
NAMES = [
    *(f"u{b}" for b in range(1, 9)),
    *(f"i{b}" for b in range(2, 9)),
    *(f"b{b}" for b in range(1, 9)),
    *FLOATS,
    "nf4",
]
GROUPS = (32, 48, 64, 128, "channel")
BARS = {"f16": 6e-4, "bf16": 4e-3}
ULP = {"f16": 2.0**-11, "bf16": 2.0**-8}
K, N, M = 384, 136, 5


@cache
def weights(k: int = K, n: int = N) -> NDArray[np.float64]:
    rng = np.random.default_rng(k * 7 + n)
    values: NDArray[np.float64] = rng.normal(size=(k, n)) * np.exp(rng.normal(size=(1, n)))
    return values


def activations(m: int, k: int, kind: str, seed: int = 1) -> tuple[NDArray[Any], Any]:
    """x as it is passed, and its values in float64."""
    values = np.random.default_rng(seed + m).normal(size=(m, k))
    if kind == "f16":
        x = values.astype(np.float16)
        return x, x.astype(np.float64)
    codes = bf16.encode(values)
    return codes, bf16.decode(codes)


def decoded(y: NDArray[Any], kind: str) -> NDArray[np.float64]:
    return np.asarray(bf16.decode(y) if kind == "bf16" else y, np.float64)


def check(q: Quantized, kind: str, m: int = M, **options: Any) -> None:
    """One product, with a poisoned output, against float64."""
    x, exact = activations(m, q.k, kind)
    out = np.full((m, q.n), 0x7FFF, np.uint16)
    out = out if kind == "bf16" else out.view(np.float16)
    y = decoded(linear(x, pack(q), out=out, device="interpreter", **options), kind)
    assert_close(y, exact, q, kind)


def assert_close(y: NDArray[Any], x: NDArray[Any], q: Quantized, kind: str) -> None:
    """Kernels for few tokens scale sums; those for many scale weights, each of which is rounded."""
    reference = x @ q.dequantize()
    error = np.linalg.norm(y - reference) / max(float(np.linalg.norm(reference)), 1e-30)
    assert error <= BARS[kind], f"{q.dtype.name} {kind} {q.zero_point} {q.group}: {error}"
    spread = np.abs(q.dequantize())
    spread += _range(q.dtype) * np.repeat(np.abs(q.scales), q.group, axis=0)[: q.k]
    rounded = ULP[kind] if q.dtype.kind == "codebook" or len(x) >= FEWEST_TOKENS else 0.0
    bound = (np.abs(x) @ np.abs(q.dequantize())) * rounded
    bound += ULP[kind] * np.abs(reference) + 2.0**-16 * (np.abs(x) @ spread) + 2.0**-24
    assert (np.abs(y - reference) <= bound).all()


def _range(kind: Dtype) -> float:
    """The part of a code's range that the rank-1 term adds and takes away again."""
    return 2.0**kind.bits if kind.kind in ("uint", "int", "bipolar") else 0.0


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("kind", ["f16", "bf16"])
def test_every_dtype_and_zero_point(kind: str, group: int | str) -> None:
    for name in NAMES:
        for zero_point in legal_zero_points(dtype(name)):
            check(quantize(weights(), name, group, zero_point), kind)


@pytest.mark.parametrize("m", [1, 3, 8, 16, 17, 64, 129])
@pytest.mark.parametrize("name", ["u4", "u3", "e4m3"])
def test_every_m(name: str, m: int) -> None:
    check(quantize(weights(), name, 64), "f16", m)


RAGGED = [(1, 1), (7, 9), (100, 33), (129, 64), (520, 17), (1000, 333)]


# Groups of one row take a chunk each: many of them would only take long.
@pytest.mark.parametrize(
    ("k", "n", "group"),
    [(k, n, g) for k, n in RAGGED for g in (1, 7, 33, 128, "tensor") if g != 1 or k < 500],
)
def test_ragged_shapes_and_groups(k: int, n: int, group: int | str) -> None:
    for name, zero_point in (("u4", "int"), ("u5", "float"), ("i3", "none")):
        check(quantize(weights(k, n), name, group, zero_point), "f16", 3)


@pytest.mark.parametrize("factor", [2.0**-40, 1.0, 2.0**40])
def test_small_and_large_activations_in_bf16(factor: float) -> None:
    """The form without constants multiplies x by 2^64, weights by 2^-133: neither end is lost."""
    for name, zero_point in (("u4", "int"), ("u8", "symmetric"), ("e2m1", "none")):
        q = quantize(weights(), name, 64, zero_point)
        x, exact = activations(3, K, "bf16")
        codes = bf16.encode(bf16.decode(x) * factor).astype(np.uint16)
        y = linear(codes, pack(q, "bf16"), out_dtype="f32", device="interpreter")
        reference = exact @ q.dequantize() * factor
        assert np.linalg.norm(y - reference) <= 1e-6 * np.linalg.norm(reference)


def test_bf16_takes_the_form_that_costs_least() -> None:
    assert weight_form("u4", "bf16", 8 / 128).name == "subnormal"
    assert weight_form("e4m3", "bf16", 8 / 128).x_scale == 2.0**64
    assert weight_form("u3", "bf16", 8 / 128).name == ""  # both cost the same, but x costs too
    assert weight_form("u4", "bf16", 64 / 128).name == ""
    assert weight_form("u4", "f16").name == ""
    assert not weight_form("e7m0", "f16").decoded


def test_nothing_in_nothing_out() -> None:
    q = pack(quantize(weights(), "u4"))
    assert linear(np.zeros((0, K), np.float16), q, device="interpreter").shape == (0, N)
    empty = pack(quantize(np.zeros((0, 5)), "u4"))
    out = np.full((3, 5), np.nan, np.float16)
    assert (linear(np.zeros((3, 0), np.float16), empty, out=out, device="interpreter") == 0).all()
    none = pack(quantize(np.zeros((8, 0)), "u4"))
    assert linear(np.zeros((3, 8), np.float16), none, device="interpreter").shape == (3, 0)


def test_leading_dimensions_bias_and_output_dtype() -> None:
    q = quantize(weights(), "u6", 64)
    x, exact = activations(6, K, "f16")
    bias = np.random.default_rng(2).normal(size=N).astype(np.float32)
    y = linear(x.reshape(2, 3, K), pack(q), bias, out_dtype="f32", device="interpreter")
    assert y.shape == (2, 3, N) and y.dtype == np.float32
    reference = exact @ q.dequantize() + bias
    assert np.linalg.norm(y.reshape(6, N) - reference) <= 1e-6 * np.linalg.norm(reference)


@pytest.mark.parametrize(
    "schedule",
    [Schedule(4, 1, 8, 2), Schedule(2, 2, 16, 1), Schedule(1, 4, 8, 3), Schedule(8, 1, 8, 1)],
)
def test_schedules_agree(schedule: Schedule) -> None:
    for name in ("u4", "u3"):
        check(quantize(weights(1024, 200), name, 64, "int"), "f16", 11, schedule=schedule)


STAGED = ["k4f1t8s1a2", "k4f2t16s1a3", "k8f1t8s1d0a2w", "k2f4t16s1d0a3w", "k4f1t16s2cd0a4w",
          "k2f1t8s3d0a2w", "k2f1t8s1d2a3", "k4f1t8s1d0a2", "k1f4t16s2cd0a3w",
          "k2f2t16s2cd0a4wb2"]  # fmt: skip


@pytest.mark.parametrize("word", STAGED)
def test_operands_by_way_of_shared_memory(word: str) -> None:
    schedule = Schedule.parse(word)
    for name, group in (("u4", 64), ("u3", 128), ("u1", 48), ("e3m2", 32)):
        zero_point = "float" if name == "u3" else None
        q = quantize(weights(1032, 200), name, group, zero_point)
        check(q, "bf16" if name == "u1" else "f16", 11, schedule=schedule)


@pytest.mark.parametrize("word", ["k2f1t8s1d0a2w", "k2f2t16s2cd0a3w", "k4f1t8s1a2"])
def test_staged_operands_on_every_device(word: str, device: str) -> None:
    q = quantize(weights(520, 70), "u3", 64, "int")
    x, exact = activations(5, 520, "f16")
    schedule = Schedule.parse(word)
    y = linear(x, pack(q), device=device, schedule=schedule)
    assert_close(decoded(y, "f16"), exact, q, "f16")
    meant = linear(x, pack(q), device="interpreter", schedule=schedule)
    np.testing.assert_allclose(y, meant, rtol=2e-3, atol=2e-3)


def shipped(bits: int, tokens: int) -> list[str]:
    """The forms of the schedules that ship for a width, whatever the shape."""
    found = {
        str(choose(Geometry(bits, e.k, e.n, 128), e.m, weight=e.weight))
        for e in entries()
        if dtype(e.weight).bits == bits and e.tokens == tokens
    }
    return sorted(found)


@pytest.mark.parametrize("tokens", [8, 16])
@pytest.mark.parametrize("bits", range(1, 9))
def test_every_shipped_form_on_every_device(bits: int, tokens: int, device: str) -> None:
    """Each with k enough for a turn of every block of its cluster, and one that falls short."""
    for number, word in enumerate(shipped(bits, tokens)):
        schedule = Schedule.parse(word)
        name = (
            f"e{bits // 2}m{bits - 1 - bits // 2}" if number % 3 == 2 and bits > 2 else f"u{bits}"
        )
        k = 128 * schedule.k_warps * schedule.splits + 64
        n, m = 16 * schedule.feature_warps + 3, tokens - number % 7
        q = quantize(weights(k, n), name, 128)
        x, exact = activations(m, k, "f16")
        y = linear(x, pack(q), device=device, schedule=schedule)
        assert_close(decoded(y, "f16"), exact, q, "f16")


@pytest.mark.parametrize("group", [7, 33, "channel"])
@pytest.mark.parametrize("k", [1, 100, 517])
def test_ragged_operands_by_way_of_shared_memory(k: int, group: int | str) -> None:
    for word in ("k1f2t8s1a2", "k1f4t16s1d0a3w"):
        schedule = Schedule.parse(word)
        check(quantize(weights(k, 70), "u5", group, "int"), "f16", 3, schedule=schedule)


@pytest.mark.parametrize("factor", [2.0**-30, 2.0**20])
def test_weights_of_any_size(factor: float) -> None:
    q = quantize(weights() * factor, "u4", 64, "int")
    x, exact = activations(3, K, "f16")
    y = linear(x, pack(q), out_dtype="f32", device="interpreter")
    reference = exact @ q.dequantize()
    assert np.linalg.norm(y - reference) <= 1e-6 * np.linalg.norm(reference)
    assert np.linalg.norm(q.dequantize() - weights() * factor) <= 0.2 * np.linalg.norm(
        q.dequantize()
    )


def test_scales_must_be_what_a_kernel_reads() -> None:
    q = quantize(weights(), "u4", 64)
    odd = Quantized(q.codes, q.scales * np.float32(1.0001), None, q.dtype, 64, "symmetric")
    with pytest.raises(VMError, match="no f16 times one power of two"):
        pack(odd)


@pytest.mark.parametrize("name", NAMES)
def test_packing_has_an_inverse(name: str) -> None:
    for zero_point in legal_zero_points(dtype(name)):
        q = quantize(weights(150, 70), name, 48, zero_point)
        back = unpack(pack(q))
        assert (back.codes == q.codes).all() and (back.scales == q.scales).all()
        if q.zeros is not None:
            assert back.zeros is not None and (back.zeros == q.zeros).all()


def test_one_packed_tensor_serves_both_activations() -> None:
    for name in NAMES:
        q = quantize(weights(150, 70), name, 48)
        assert (pack(q, "f16").words == pack(q, "bf16").words).all()


def unaligned(size: int, kind: type[Any] = np.float16) -> NDArray[Any]:
    """An array that starts at an odd address."""
    itemsize = np.dtype(kind).itemsize
    return np.zeros(size * itemsize + 1, np.uint8)[1:].view(kind)


@pytest.mark.parametrize("first", [0, 100, 3 * K - 1, 3 * K, 3 * K + 1])
def test_results_lie_apart_from_what_they_are_made_of(first: int) -> None:
    """A block would read what another has written already."""
    p = pack(quantize(weights(K, K), "u4"))
    memory = np.zeros(7 * K, np.float16)
    x, out = memory[: 3 * K].reshape(3, K), memory[first : first + 3 * K].reshape(3, K)
    if first >= 3 * K:
        linear(x, p, out=out, device="interpreter")
        return
    with pytest.raises(VMError, match="`out` shares memory with `x`"):
        linear(x, p, out=out, device="interpreter")
    with pytest.raises(VMError, match="`out` shares memory with `bias`"):
        bias = memory[first + K : first + 2 * K]
        linear(np.zeros((3, K), np.float16), p, bias, out, device="interpreter")


def test_mistakes_are_told() -> None:
    p = pack(quantize(weights(), "u4"))
    x = np.zeros((2, K), np.float16)
    cases: list[tuple[str, Any]] = [
        ("takes 384 inputs", lambda: linear(x[:, :100].copy(), p)),
        ("not f16 or bf16", lambda: linear(x.astype(np.float32), p)),
        ("not contiguous", lambda: linear(np.zeros((K, 2), np.float16).T, p)),
        ("not a packed weight", lambda: linear(x, quantize(weights(), "u4"))),  # type: ignore[arg-type]
        ("`bias` is [3]", lambda: linear(x, p, np.zeros(3))),
        ("`out` is [1, 1]", lambda: linear(x, p, out=np.zeros((1, 1), np.float16))),
        ("unknown device `gpu`", lambda: linear(x, p, device="gpu")),
        ("can't be `f32`", lambda: pack(quantize(weights(), "u4"), activation="f32")),
        ("a Python list", lambda: linear([1, 2], p)),
        ("unknown device `3`", lambda: linear(x, p, device=3)),  # type: ignore[arg-type]
        ("unknown target `sm_1`", lambda: pack(quantize(weights(), "u4"), target="sm_1")),
        ("no multiple of 2 bytes", lambda: linear(unaligned(2 * K).reshape(2, K), p)),
        ("no multiple of 4 bytes", lambda: linear(x, p, unaligned(192, np.float32))),
    ]
    for message, call in cases:
        with pytest.raises(VMError) as caught:
            call()
        assert message in str(caught.value)
