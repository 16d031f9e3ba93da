"""y = x @ dequant(w) on random data, checked against float64 and timed."""

from __future__ import annotations

import argparse
import os
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom.compiler import target_named
from tileloom.programs.activations.activations import quantize_activations
from tileloom.runtime.cuda.context import current_device
from tileloom.runtime.devices import choose
from tileloom.vm.diagnostics import UsageError
from tileloom.vm.dtypes import bf16
from tileloom.vm.ir import Function

from .eight_bit_forms import ACTIVATIONS as BYTE_ACTIVATIONS
from .eight_bit_forms import byte_form
from .eight_bit_packing import ByteGeometry, BytePacked
from .eight_bit_plan import plan_bytes
from .geometry import Geometry
from .linear import linear
from .packing import Packed, check_activation, pack
from .plan import AnyPlan, plan, traced, x_vector
from .quantization import (
    Quantized,
    check_zero_point,
    default_zero_point,
    find_dtype,
    group_rows,
    quantize,
)
from .running import machine_for
from .schedule import H100, Machine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tileloom run` and `tileloom compile quantized_matmul`."""
    parser.add_argument("--weight", default="u4", help="the weights' dtype (default: u4)")
    parser.add_argument("--m", type=_size, default=16, help="tokens (default: 16)")
    parser.add_argument("--k", type=_size, default=4096, help="inputs (default: 4096)")
    parser.add_argument("--n", type=_size, default=4096, help="outputs (default: 4096)")
    parser.add_argument(
        "--group", type=_group, default=128,
        help='rows that share a scale, "channel" or "tensor" (default: 128)',
    )  # fmt: skip
    parser.add_argument(
        "--zero-point", choices=("none", "symmetric", "int", "float"),
        help="(default: symmetric for uN, none for the others)",
    )  # fmt: skip
    parser.add_argument("--activation", default="f16", help="f16, bf16, i8 or e4m3 (default: f16)")
    parser.add_argument("--seed", type=int, default=0, help="of the random data (default: 0)")


def add_tune_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tileloom tune quantized_matmul`."""
    parser.add_argument("--weights", default="u4", help="dtypes, comma-separated (default: u4)")
    parser.add_argument("--shapes", default="4096x4096", help="k x n, comma-separated")
    parser.add_argument("--m", default="1,16", help="tokens, comma-separated (default: 1,16)")
    parser.add_argument("--group", type=int, default=128, help="rows of a scale (default: 128)")
    parser.add_argument("--activation", default="f16", help="f16 or bf16 (default: f16)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="compilations at a time")
    parser.add_argument("-o", "--output", type=Path, help="the record to append to")


def tune(args: argparse.Namespace) -> dict[str, Any]:
    """Measures the schedules of every problem on this machine's GPU."""
    from .tuning import Problem, run

    shapes = [tuple(map(int, shape.split("x"))) for shape in args.shapes.split(",")]
    tokens = [int(m) for m in args.m.split(",")]
    weights = [find_dtype(name).name for name in args.weights.split(",")]
    if check_activation(args.activation) in BYTE_ACTIVATIONS:
        raise UsageError(
            f"there is no record of schedules for {args.activation} activations",
            hint="benchmarks/quantized_matmul.py times those that --schedules names",
        )
    problems = [
        Problem(weight, k, n, m, args.group, args.activation)
        for weight, (k, n), m in product(weights, shapes, tokens)
    ]
    findings = run(problems, args.jobs, args.output, current_device().name)
    return {"problems": len(findings), "measured": sum(len(f.times) for f in findings)}


def _size(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def _group(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Quantizes, packs and multiplies random data, and says how far it is from float64 (on the
    quantized activations, where they have 8 bits)."""
    device = choose(args.device)
    if check_activation(args.activation) not in BYTE_ACTIVATIONS:
        check_zero_point(find_dtype(args.weight), args.zero_point or "none")
    rng = np.random.default_rng(args.seed)
    w = rng.standard_normal((args.k, args.n), np.float32)
    q = quantize(w, args.weight, args.group, args.zero_point)
    p = pack(q, args.activation)
    x, exact = random_activations(rng, args.m, args.k, args.activation, device)
    # Poisoned: an element that no thread writes must not look right.
    out = np.full((args.m, args.n), np.nan, np.float32)
    began = time.perf_counter()
    linear(x, p, out=out, device=device)
    seconds = time.perf_counter() - began
    timed = device == "cuda" and 0 not in (args.m, args.k, args.n)
    return {
        "device": device,
        "weight": args.weight,
        "zero_point": q.zero_point,
        "activation": args.activation,
        "group": q.group,
        "m": args.m,
        "k": args.k,
        "n": args.n,
        "rel_error": relative_error(out, exact, q),
        "us": kernel_time(x, p) if timed else 1e6 * seconds,
        "bytes": p.nbytes,
        "schedule": str(_chosen(p, args.m, "f32", machine_for(device)).schedule),
    }


def _chosen(p: Packed | BytePacked, m: int, out: str, machine: Machine) -> AnyPlan:
    """The kernel for m tokens, or for one where there are none."""
    if isinstance(p, BytePacked):
        return plan_bytes(p, max(m, 1), out, machine=machine)
    vector = x_vector(p.k, 0)
    return plan(p, max(m, 1), p.activation, out, vector=vector, machine=machine)


def random_activations(
    rng: np.random.Generator, m: int, k: int, activation: str, device: str
) -> tuple[Any, NDArray[np.float64]]:
    """x [m, k] as it is passed, and its exact values."""
    values = rng.standard_normal((m, k), np.float32)
    if activation in BYTE_ACTIVATIONS:
        quantized = quantize_activations(values, activation, device=device)
        return quantized, quantized.dequantize()
    if activation == "f16":
        x = values.astype(np.float16)
        return x, x.astype(np.float64)
    codes = np.asarray(bf16.encode(values), np.uint16)
    return codes, np.asarray(bf16.decode(codes), np.float64)


def relative_error(y: NDArray[Any], x: NDArray[np.float64], q: Quantized) -> float:
    """The Frobenius norm of y - x @ w over that of x @ w, with w dequantized in float64."""
    reference = x @ q.dequantize()
    norm = float(np.linalg.norm(reference))
    difference = float(np.linalg.norm(y - reference))
    return difference / norm if norm else difference


def kernel_time(x: Any, p: Packed | BytePacked) -> float:
    """Microseconds of one product on the GPU, with the weights from memory."""
    from .timing import time_products

    return time_products(x, p).median_us


def compile(args: argparse.Namespace) -> list[Function]:
    """The program that serves m tokens of this problem."""
    # The first GPUs with clusters are also the ones whose record ships.
    target = target_named(args.target)
    machine = H100 if target.has("wgmma") else Machine(108, target.has("cluster"), False)
    out = "f16" if check_activation(args.activation) in BYTE_ACTIVATIONS else args.activation
    return [traced(_chosen(_empty(args), args.m, out, machine).config)]


def _empty(args: argparse.Namespace) -> Packed | BytePacked:
    """The problem's weight, but for its bits."""
    kind = find_dtype(args.weight)
    zero_point = args.zero_point or default_zero_point(kind)
    shape = (kind.bits, args.k, args.n, group_rows(args.group, args.k))
    none = (np.empty(0, np.uint32), np.empty(0, np.float16), None, kind)
    if args.activation in BYTE_ACTIVATIONS:
        byte_form(kind, zero_point, args.activation)
        return BytePacked(*none, ByteGeometry(*shape), zero_point, args.activation)
    check_zero_point(kind, zero_point)
    return Packed(*none, Geometry(*shape), zero_point, args.activation)
