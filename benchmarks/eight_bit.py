"""Random problems with 8-bit activations on a GPU, and what they are timed beside: torch's int8 and
fp8 products of weights of 8 bits. quantized_matmul.py calls it for the activations i8 and e4m3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from cases import Case, Data

from tileloom.programs.activations.activations import Activations, quantize_activations
from tileloom.programs.quantized_matmul.device import GpuWeights, launch
from tileloom.programs.quantized_matmul.eight_bit_forms import byte_form
from tileloom.programs.quantized_matmul.eight_bit_pack_program import pack_byte_weights
from tileloom.programs.quantized_matmul.eight_bit_packing import (
    ByteGeometry,
    BytePacked,
    pack_scales,
)
from tileloom.programs.quantized_matmul.eight_bit_plan import BytePlan, plan_bytes
from tileloom.programs.quantized_matmul.eight_bit_schedule import ByteSchedule
from tileloom.programs.quantized_matmul.packed import Weights
from tileloom.runtime.bench import rotation
from tileloom.runtime.compiled import compile_kernel
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.vm.dtypes import Dtype, dtype

ACTIVATIONS = ("i8", "e4m3")
HBM = 3.05e12  # bytes a second
TENSOR = 1910e12 / 2  # multiply-adds a second
Launches = list[Callable[[int], None]]


@dataclass(frozen=True)
class ByteProblem:
    """A packed tensor on the GPU, its dequantized weights [k, n] in float64, and codes of x."""

    case: Case
    packed: BytePacked
    weights: Any
    x: Activations


def draw(case: Case, data: Data) -> ByteProblem:
    """New random data for a case, packed on the GPU."""
    torch, kind = data.torch, dtype(case.weight)
    geometry = ByteGeometry(kind.bits, case.k, case.n, case.rows)
    form = byte_form(kind, case.zero_point, case.activation)
    codes, table = data.codes(kind, case.k, case.n)
    spread = float(table[codes[:64].int()].square().mean().sqrt())
    scales, _ = data.scales_and_zeros(case, spread, geometry.num_groups)
    moved = torch.tensor(form.table, device="cuda", dtype=torch.uint8)[codes.int()]
    words = torch.zeros(geometry.word_shape(), device="cuda", dtype=torch.int32)
    words = words.view(torch.uint32)
    sizes = (case.k, case.n, geometry.num_chunks)
    kernel = compile_kernel(pack_byte_weights.trace(cut=geometry.cut), data.gpu.target)
    kernel(moved, words, *sizes, device="cuda")
    packed = _packed(case, kind, geometry, words, pack_scales(scales.cpu().numpy(), geometry), data)
    weights = data.dequantized(case, kind, table[codes.int()], scales, None)
    x = torch.randn((case.m, case.k), device="cuda", generator=data.generator).half()
    return ByteProblem(case, packed, weights, quantize_activations(x, case.activation))


def _packed(
    case: Case, kind: Dtype, geometry: ByteGeometry, words: Any, scales: Any, data: Data
) -> BytePacked:
    floats, counters = np.zeros(4, np.float32), np.zeros(4, np.uint32)
    arrays = [DeviceArray.of(array, data.gpu) for array in (scales, floats, counters)]
    packed = BytePacked(
        np.empty(0, np.uint32), scales, None, kind, geometry, case.zero_point, case.activation
    )
    weights = Weights(words, arrays[0], *arrays)
    packed.state[f"cuda:{data.gpu.ordinal}"] = GpuWeights(weights, data.gpu)
    return packed


def nbytes(packed: BytePacked) -> int:
    """Bytes of the weights and their scales, padding not counted."""
    geometry = packed.geometry
    return geometry.k * geometry.n * geometry.bits // 8 + 2 * geometry.num_groups * geometry.n


def floor_us(packed: BytePacked, m: int) -> float:
    """The physical limit, in microseconds."""
    moved = nbytes(packed) + m * packed.k + 2 * m * packed.n
    return 1e6 * max(moved / HBM, m * packed.k * packed.n / TENSOR)


def ours(
    problem: ByteProblem, schedule: ByteSchedule | None, data: Data
) -> tuple[BytePlan, Launches, Any]:
    """The plan, a launch for every copy of the weights, and where the result goes."""
    case, torch, packed = problem.case, data.torch, problem.packed
    out = torch.full((case.m, case.n), float("nan"), device="cuda", dtype=torch.float16)
    chosen = plan_bytes(packed, case.m, "f16", schedule=schedule)
    weights = packed.state[f"cuda:{data.gpu.ordinal}"].weights
    launches: Launches = []
    for number in range(rotation(nbytes(packed))):
        copy = replace(packed, state={})
        words = weights.words if number == 0 else weights.words.clone()
        state = GpuWeights(replace(weights, words=words), data.gpu)
        copy.state[f"cuda:{data.gpu.ordinal}"] = state
        start = partial(launch, chosen, copy, problem.x, None, out, None)
        launches.append(partial(_start, start, data.gpu.ordinal))
    return chosen, launches, out


def _start(start: Callable[[int, int], Any], ordinal: int, stream: int) -> None:
    start(stream, ordinal)


def torch_bytes(case: Case, data: Data) -> tuple[str, Launches]:
    """torch's product of 8-bit weights of one scale by as many activations, as a peer: `_int_mm`,
    which leaves the scales to others, or `_scaled_mm`."""
    torch = data.torch
    integers = case.activation == "i8"
    kind = torch.int8 if integers else torch.float8_e4m3fn
    weight = torch.randn((case.n, case.k), device="cuda").mul(40).clamp(-127, 127).to(kind)
    x = torch.randn((case.m, case.k), device="cuda").mul(40).clamp(-127, 127).to(kind)
    scales = [torch.ones(s, device="cuda") for s in ((case.m, 1), (1, case.n))]
    weights = [weight, *(weight.clone() for _ in range(rotation(case.n * case.k) - 1))]

    def start(w: Any, handle: int) -> None:
        with torch.cuda.stream(torch.cuda.ExternalStream(handle)):
            if integers:
                torch._int_mm(x, w.t())
            else:
                torch._scaled_mm(
                    x, w.t(), scale_a=scales[0], scale_b=scales[1], out_dtype=torch.bfloat16
                )

    return f"torch {'int8' if integers else 'fp8'}", [partial(start, w) for w in weights]


def relative_error(problem: ByteProblem, out: Any, data: Data) -> float:
    """Against float64 on the quantized operands."""
    x = data.torch.from_numpy(problem.x.dequantize()).cuda()
    reference = x @ problem.weights
    return float((out.double() - reference).norm() / reference.norm())
