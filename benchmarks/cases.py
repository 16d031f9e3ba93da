"""Random problems on a GPU: codes, scales, zero points and x, packed by the packing program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tileloom.programs.quantized_matmul.device import GpuWeights, gpu_weights
from tileloom.programs.quantized_matmul.geometry import Geometry
from tileloom.programs.quantized_matmul.pack_program import pack_weights
from tileloom.programs.quantized_matmul.packed import Weights
from tileloom.programs.quantized_matmul.packing import Packed, pack_rows, scale_unit
from tileloom.runtime.compiled import compile_kernel
from tileloom.runtime.cuda.context import device
from tileloom.vm.dtypes import Dtype, dtype

LARGEST_VALUE = 512.0  # quantization scales wide floats to no more


@dataclass(frozen=True)
class Case:
    weight: str
    zero_point: str
    activation: str
    group: int | str
    m: int
    k: int
    n: int
    tiles: int = 0  # of 16 features in a feature block; 0 is the default

    @property
    def geometry(self) -> Geometry:
        """How the weights are cut."""
        return Geometry(dtype(self.weight).bits, self.k, self.n, self.rows, self.tiles)

    @property
    def rows(self) -> int:
        """Rows in a group."""
        return self.k if self.group == "channel" else min(int(self.group), self.k)


@dataclass(frozen=True)
class Problem:
    """A packed tensor, and its dequantized weights and scales [k, n] in float64."""

    case: Case
    packed: Packed
    weights: Any
    scales: Any


class Data:
    """Draws the data of cases on the GPU."""

    def __init__(self, seed: int) -> None:
        import torch

        self.torch = torch
        self.generator = torch.Generator("cuda").manual_seed(seed)
        self.gpu = device(torch.cuda.current_device())

    def codes(self, kind: Dtype, k: int, n: int) -> tuple[Any, Any]:
        """Random codes [k, n] whose values are finite and not too large, and all values."""
        torch = self.torch
        values = np.asarray(kind.decode(np.arange(1 << kind.bits, dtype=np.uint8)), np.float64)
        usable = np.flatnonzero(np.isfinite(values) & (np.abs(values) <= LARGEST_VALUE))
        pick = torch.randint(
            len(usable), (k, n), device="cuda", generator=self.generator, dtype=torch.int16
        )
        table = torch.from_numpy(usable.astype(np.uint8)).cuda()
        return table[pick.int()], torch.from_numpy(np.nan_to_num(values)).cuda()

    def uniform(self, shape: tuple[int, ...], low: float, high: float) -> Any:
        drawn = self.torch.rand(
            shape, device="cuda", generator=self.generator, dtype=self.torch.float32
        )
        return low + (high - low) * drawn

    def scales_and_zeros(self, case: Case, spread: float, groups: int) -> tuple[Any, Any]:
        torch, bits = self.torch, dtype(case.weight).bits
        scale = 1.0 / (max(spread, 1e-3) * max(case.k, 1) ** 0.5)
        scales = (self.uniform((groups, case.n), 1.0, 2.0) * scale).half()
        if case.zero_point == "int":
            drawn = torch.randint(
                1 << bits, (groups, case.n), device="cuda", generator=self.generator
            )
            return scales, drawn.half()
        if case.zero_point == "float":
            return scales, self.uniform((groups, case.n), 0.0, float(2**bits)).half()
        return scales, None

    def packed(
        self, case: Case, geometry: Geometry, kind: Dtype, codes: Any, scales: Any, zeros: Any
    ) -> Packed:
        torch, cut = self.torch, geometry.cut
        words = torch.zeros(geometry.word_shape(), device="cuda", dtype=torch.int32)
        words = words.view(torch.uint32)
        if words.numel():
            sizes = (case.k, case.n, geometry.num_chunks)
            compile_kernel(pack_weights.trace(cut=cut), self.gpu.target)(
                codes, words, *sizes, device="cuda"
            )
        values = scales.float().cpu().numpy()
        unit = scale_unit(values)  # as `pack` has it
        rows = pack_rows(values / np.float32(unit), geometry)
        offsets = None if zeros is None else pack_rows(zeros.cpu().numpy(), geometry)
        packed = Packed(
            np.empty(0, np.uint32), rows, offsets, kind, geometry, case.zero_point,
            case.activation, unit,
        )  # fmt: skip
        small = gpu_weights(packed, self.gpu.ordinal).weights
        weights = Weights(words, small.scales, small.zeros, small.no_floats, small.no_counters)
        packed.state[f"cuda:{self.gpu.ordinal}"] = GpuWeights(weights, self.gpu)
        return packed

    def dequantized(self, case: Case, kind: Dtype, values: Any, scales: Any, zeros: Any) -> Any:
        if case.zero_point == "symmetric":
            values = values - 2.0 ** (kind.bits - 1)
        if zeros is not None:
            values = values - self.rows(case, zeros)
        return values * self.rows(case, scales)

    def rows(self, case: Case, per_group: Any) -> Any:
        return per_group.double().repeat_interleave(case.rows, 0)[: case.k]

    def draw(self, case: Case) -> Problem:
        """New random data for a case, packed on the GPU."""
        kind = dtype(case.weight)
        geometry = case.geometry
        codes, table = self.codes(kind, case.k, case.n)
        spread = float(table[codes[:64].int()].square().mean().sqrt())
        scales, zeros = self.scales_and_zeros(case, spread, geometry.num_groups)
        packed = self.packed(case, geometry, kind, codes, scales, zeros)
        weights = self.dequantized(case, kind, table[codes.int()], scales, zeros)
        return Problem(case, packed, weights, self.rows(case, scales))

    def x(self, case: Case) -> Any:
        """x [m, k], normally distributed."""
        torch = self.torch
        x = torch.randn((case.m, case.k), device="cuda", generator=self.generator)
        return x.to(torch.float16 if case.activation == "f16" else torch.bfloat16)
