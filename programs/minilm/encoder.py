"""The sentence encoder all-MiniLM-L6-v2 in numpy: BERT with 6 layers of width 384.

    ids -> embeddings -> norm -> 6 x [ attention -> add, norm -> gelu MLP -> add, norm ]
        -> mean over a sentence's tokens -> unit length

All sentences go through as one matrix `[tokens, 384]` without padding; only attention looks at
one sentence at a time. So a linear layer is one matrix product with m = the number of all tokens,
and every one of them (36: query, key, value, output, up, down in each layer) is computed by a
function that the caller chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .tokens import Tokens

Floats = NDArray[np.float32]
Linear = Callable[[Floats], Floats]
# (name, weight [k, n], bias [n]) -> the function x [m, k] -> x @ weight + bias [m, n]
MakeLinear = Callable[[str, Floats, Floats], Linear]

NUM_LAYERS = 6
NUM_HEADS = 12
NORM_EPSILON = 1e-12
LINEARS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer: its six linear functions by the last part of their names, and two norms."""

    linears: Mapping[str, Linear]
    attention_norm: tuple[Floats, Floats]
    output_norm: tuple[Floats, Floats]

    def __call__(self, hidden: Floats, tokens: Tokens) -> Floats:
        """Hidden states `[tokens, 384]` in and out."""
        query, key, value = (self.linears[name](hidden) for name in LINEARS[:3])
        mixed = self.linears["attention.output.dense"](attention(query, key, value, tokens))
        hidden = layer_norm(hidden + mixed, *self.attention_norm)
        up = gelu(self.linears["intermediate.dense"](hidden))
        return layer_norm(hidden + self.linears["output.dense"](up), *self.output_norm)


@dataclass(frozen=True, eq=False)
class Encoder:
    """The whole model, ready to embed."""

    words: Floats
    places: Floats
    embedding_norm: tuple[Floats, Floats]
    layers: tuple[Layer, ...]

    def __call__(self, tokens: Tokens) -> Floats:
        """Embeddings of unit length, `[sentences, 384]`."""
        hidden = self.words[tokens.ids] + self.places[tokens.positions]
        hidden = layer_norm(hidden, *self.embedding_norm)
        for layer in self.layers:
            hidden = layer(hidden, tokens)
        sums = np.add.reduceat(hidden, tokens.starts[:-1], axis=0)
        mean = sums / np.diff(tokens.starts)[:, None].astype(np.float32)
        unit: Floats = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return unit


def build(tensors: Mapping[str, NDArray[Any]], make_linear: MakeLinear) -> Encoder:
    """An encoder from the tensors of the model's file.

    `make_linear` is called once for each linear layer, with its weight as `[k, n]`.
    """

    def norm(name: str) -> tuple[Floats, Floats]:
        return tensors[f"{name}.weight"], tensors[f"{name}.bias"]

    def layer(prefix: str) -> Layer:
        linears = {
            name: make_linear(
                f"{prefix}.{name}",
                np.ascontiguousarray(tensors[f"{prefix}.{name}.weight"].T),
                tensors[f"{prefix}.{name}.bias"],
            )
            for name in LINEARS
        }
        norms = (norm(f"{prefix}.{each}.LayerNorm") for each in ("attention.output", "output"))
        return Layer(linears, *norms)

    first_segment = tensors["embeddings.token_type_embeddings.weight"][0]
    return Encoder(
        words=tensors["embeddings.word_embeddings.weight"],
        places=tensors["embeddings.position_embeddings.weight"] + first_segment,
        embedding_norm=norm("embeddings.LayerNorm"),
        layers=tuple(layer(f"encoder.layer.{i}") for i in range(NUM_LAYERS)),
    )


def plain_linear(name: str, weight: Floats, bias: Floats) -> Linear:
    """The f32 model's own linear layer."""
    return lambda x: x @ weight + bias


def attention(query: Floats, key: Floats, value: Floats, tokens: Tokens) -> Floats:
    """Every token looks at all tokens of its own sentence; all arrays are `[tokens, 384]`."""
    mixed = np.empty_like(value)
    for rows in tokens.sentences():
        q, k, v = (_heads(each[rows]) for each in (query, key, value))
        weights = softmax(q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(q.shape[-1])))
        mixed[rows] = (weights @ v).transpose(1, 0, 2).reshape(-1, value.shape[1])
    return mixed


def _heads(x: Floats) -> Floats:
    """`[tokens, width]` -> `[heads, tokens, width / heads]`."""
    return x.reshape(len(x), NUM_HEADS, -1).transpose(1, 0, 2)


def softmax(scores: Floats) -> Floats:
    """Along the last axis, without overflow."""
    shifted = np.exp(scores - scores.max(axis=-1, keepdims=True))
    result: Floats = shifted / shifted.sum(axis=-1, keepdims=True)
    return result


def layer_norm(x: Floats, weight: Floats, bias: Floats) -> Floats:
    """Each row to mean 0 and variance 1, then scaled and shifted."""
    centered = x - x.mean(axis=1, keepdims=True)
    variance = np.square(centered).mean(axis=1, keepdims=True)
    result: Floats = centered / np.sqrt(variance + np.float32(NORM_EPSILON)) * weight + bias
    return result


def gelu(x: Floats) -> Floats:
    """x times the normal distribution's probability of being below x."""
    result: Floats = x * (np.float32(0.5) + np.float32(0.5) * erf(x * np.float32(np.sqrt(0.5))))
    return result


# Abramowitz and Stegun 7.1.26: at most 1.5e-7 from the error function everywhere.
ERF_P = 0.3275911
ERF_COEFFICIENTS = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


def erf(x: Floats) -> Floats:
    """The error function, to f32's precision; numpy has none."""
    magnitude = np.abs(x)
    one = np.float32(1)
    t: Floats = one / (one + np.float32(ERF_P) * magnitude)
    polynomial: Floats = np.zeros_like(x)
    for coefficient in ERF_COEFFICIENTS:
        polynomial = (polynomial + np.float32(coefficient)) * t
    tail: Floats = polynomial * np.exp(-magnitude * magnitude)
    result: Floats = np.copysign(one - tail, x)
    return result
