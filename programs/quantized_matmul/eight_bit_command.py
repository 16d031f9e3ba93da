"""The command's problems with 8-bit activations: random data, quantized, multiplied and checked."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tileloom.programs.activations.activations import Activations, quantize_activations
from tileloom.runtime.bench import measure, rotation
from tileloom.runtime.cuda.context import current_device
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.vm.ir import Function

from .eight_bit_forms import byte_form
from .eight_bit_linear import plan_bytes, run_bytes, traced_bytes
from .eight_bit_packing import ByteGeometry, BytePacked, pack_bytes
from .linear import linear
from .packing import scale_unit
from .quantization import default_zero_point, find_dtype, group_rows, quantize
from .schedule import H100


def run(args: argparse.Namespace, device: str) -> dict[str, Any]:
    """What `tileloom run quantized_matmul` reports; errors are against float64 on the quantized
    operands."""
    rng = np.random.default_rng(args.seed)
    w = rng.standard_normal((args.k, args.n), np.float32)
    q = quantize(w, args.weight, args.group, args.zero_point)
    p = pack_bytes(q, args.activation, scale_unit(q.scales))
    x = quantize_activations(
        rng.standard_normal((args.m, args.k), np.float32), args.activation, device=device
    )
    # Poisoned: an element that no thread writes must not look right.
    out = np.full((args.m, args.n), np.nan, np.float32)
    began = time.perf_counter()
    linear(x, p, out=out, device=device)
    seconds = time.perf_counter() - began
    reference = x.dequantize() @ q.dequantize()
    norm, difference = (float(np.linalg.norm(a)) for a in (reference, out - reference))
    chosen = plan_bytes(p, max(args.m, 1), "f32", machine=H100)
    return {
        "device": device,
        "weight": args.weight,
        "zero_point": q.zero_point,
        "activation": args.activation,
        "group": q.group,
        "m": args.m,
        "k": args.k,
        "n": args.n,
        "rel_error": difference / norm if norm else difference,
        "us": _kernel_time(x, p) if device == "cuda" and args.m and args.n else 1e6 * seconds,
        "bytes": p.nbytes,
        "schedule": str(chosen.schedule),
    }


def _kernel_time(x: Activations, p: BytePacked) -> float:
    """Microseconds of one product on the GPU, with the weights from memory."""
    gpu = current_device()
    on_gpu = replace(x, codes=DeviceArray.of(x.codes, gpu), scales=DeviceArray.of(x.scales, gpu))
    y = DeviceArray((x.m, p.n), np.float32, gpu)
    chosen = plan_bytes(p, x.m, "f32")
    copies = [replace(p, state={}) for _ in range(rotation(p.nbytes))]

    def start(packed: BytePacked, stream: int) -> None:
        run_bytes(chosen, on_gpu, packed, None, y, "cuda", stream)

    return measure([partial(start, copy) for copy in copies]).median_us


def compile(args: argparse.Namespace) -> list[Function]:
    """The program that serves m tokens of this problem."""
    kind = find_dtype(args.weight)
    zero_point = args.zero_point or default_zero_point(kind)
    byte_form(kind, zero_point, args.activation)
    geometry = ByteGeometry(kind.bits, args.k, args.n, group_rows(args.group, args.k))
    none = (np.empty(0, np.uint32), np.empty(0, np.float16))
    empty = BytePacked(*none, kind, geometry, zero_point, args.activation)
    return [traced_bytes(plan_bytes(empty, max(args.m, 1), "f16").config)]
