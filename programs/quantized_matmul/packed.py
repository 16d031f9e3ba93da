"""What packed weights of every kind are: words, scales and what they mean."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tileloom.vm.dtypes import Dtype

from .quantization import ZeroPoint


@dataclass(frozen=True)
class Matrix:
    """A [k, n] matrix of `bits`-bit codes with `group` rows a scale."""

    bits: int
    k: int
    n: int
    group: int

    @property
    def num_groups(self) -> int:
        """Groups of scales; 0 where k is 0."""
        return -(-self.k // self.group) if self.k else 0


Shape = TypeVar("Shape", bound=Matrix)


@dataclass(frozen=True, eq=False)
class PackedTensor(Generic[Shape]):
    """A quantized matrix [k, n] in an order in which kernels read it.

    `words` uint32 and `scales`, `zeros` float16 have the shapes that the geometry says; a scale's
    value is `scale_unit` (a power of two) times the stored one.
    """

    words: NDArray[np.uint32]
    scales: NDArray[np.float16]
    zeros: NDArray[np.float16] | None
    dtype: Dtype
    geometry: Shape
    zero_point: ZeroPoint
    activation: str
    scale_unit: float = 1.0
    state: dict[str, Any] = field(default_factory=dict, repr=False)  # device copies
    calls: dict[Any, Any] = field(default_factory=dict, repr=False)  # of `linear`, see fast.py

    @property
    def k(self) -> int:
        return self.geometry.k

    @property
    def n(self) -> int:
        return self.geometry.n

    @property
    def group(self) -> int:
        return self.geometry.group

    @property
    def nbytes(self) -> int:
        """Bytes of the packed tensor."""
        zeros = 0 if self.zeros is None else self.zeros.nbytes
        return self.words.nbytes + self.scales.nbytes + zeros


@dataclass(frozen=True)
class Weights:
    """The arrays of a packed tensor in one memory, with stand-ins for what a kernel won't read."""

    words: Any
    scales: Any
    zeros: Any
    no_floats: Any  # f32, stands for a bias or for partial sums
    no_counters: Any  # u32


def host_weights(packed: PackedTensor[Any]) -> Weights:
    """The arrays as they are: in the host's memory."""
    zeros = packed.scales if packed.zeros is None else packed.zeros
    return Weights(
        packed.words, packed.scales, zeros, np.zeros(4, np.float32), np.zeros(4, np.uint32)
    )


def spread_rows(values: NDArray[Any], rows: int, columns: int, step: int) -> NDArray[np.float16]:
    """[groups, n] numbers as [rows, columns], each group's `step` times; padding is zero."""
    spread = np.zeros((rows, columns), np.float16)
    if len(values):
        spread[:, : values.shape[1]] = values[np.arange(rows) // step]
    return spread


def tag_of(name: str, *identity: object) -> str:
    """A name, and a digest of what bits mean: equal for two tensors that one kernel reads."""
    return f"{name}-{hashlib.sha256(repr(identity).encode()).hexdigest()[:12]}"
