"""c = a @ b in f16 or bf16 on random matrices, checked against float64."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from tileloom.runtime.devices import choose
from tileloom.vm.dtypes import bf16
from tileloom.vm.ir import Function

from .hopper import HopperSchedule, matmul_wgmma
from .program import Schedule, matmul, reference
from .specialised import matmul_specialised, specialised_schedule
from .split_k import matmul_part, matmul_split_k


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tileloom run` and `tileloom compile matmul`."""
    for name, text in (("m", "rows of c"), ("k", "columns of a"), ("n", "columns of c")):
        parser.add_argument(f"--{name}", type=int, default=512, help=f"{text} (default: 512)")
    parser.add_argument("--element", choices=("f16", "bf16"), default="f16", help="of a and b")
    parser.add_argument("--split-k", action="store_true", help="cut k into parts, for small c")
    parser.add_argument("--wgmma", action="store_true", help="products of warp groups (sm_90a)")
    parser.add_argument("--seed", type=int, default=0, help="of the random data (default: 0)")


def schedule_for(k: int, n: int) -> Schedule:
    """The schedule whose reads suit rows of k and n elements."""
    return Schedule(vector=next(v for v in (8, 4, 2, 1) if k % v == 0 and n % v == 0))


def hopper_product(m: int, k: int, n: int) -> tuple[Any, Any]:
    """The program of warp groups and its tile for c of m rows and n columns: by the copy engine
    where rows of k and n elements start at multiples of 16 bytes."""
    if k % 8 == 0 and n % 8 == 0:
        return matmul_specialised, specialised_schedule(m, n)
    rows, columns = 64 if m <= 64 else 128, 256 if n > 128 else 128
    vector = next(v for v in (4, 2) if k % v == 0 and n % v == 0)
    return matmul_wgmma, HopperSchedule(rows, columns, vector=vector)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Multiplies two random matrices and says how far the product is from float64's."""
    device = choose(args.device)
    rng = np.random.default_rng(args.seed)
    values = [
        rng.standard_normal(shape, np.float32) for shape in ((args.m, args.k), (args.k, args.n))
    ]
    a: np.ndarray[Any, Any]
    b: np.ndarray[Any, Any]
    if args.element == "f16":
        a, b = (v.astype(np.float16) for v in values)
        exact = [a.astype(np.float64), b.astype(np.float64)]
    else:
        a, b = (np.asarray(bf16.encode(v), np.uint16) for v in values)
        exact = [bf16.decode(a), bf16.decode(b)]
    c = np.full((args.m, args.n), np.nan, np.float32)
    began = time.perf_counter()
    schedule: Any = schedule_for(args.k, args.n)
    product: Any = matmul_split_k if args.split_k else matmul
    if args.wgmma:
        product, schedule = hopper_product(args.m, args.k, args.n)
    product(
        a, b, c, args.m, args.k, args.n,
        device=device, element=args.element, out="f32", schedule=schedule,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    expected = reference(*exact)
    norm = float(np.linalg.norm(expected)) or 1.0
    return {
        "device": device,
        "element": args.element,
        "m": args.m,
        "k": args.k,
        "n": args.n,
        "rel_error": float(np.linalg.norm(c - expected)) / norm,
        "us": 1e6 * seconds,
    }


def compile(args: argparse.Namespace) -> list[Function]:
    """The program for matrices of this dtype and these row lengths."""
    if args.wgmma:
        product, tile = hopper_product(args.m, args.k, args.n)
        return [product.trace(element=args.element, out=args.element, schedule=tile)]
    schedule = schedule_for(args.k, args.n)
    if args.split_k:
        return [matmul_part.trace(element=args.element, schedule=schedule)]
    return [matmul.trace(element=args.element, out=args.element, schedule=schedule)]
