"""z = x + y on random vectors, checked against float64."""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from tileloom.runtime.devices import choose
from tileloom.vm.ir import Function

from .program import reference, vector_add


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tileloom run` and `tileloom compile vector_add`."""
    parser.add_argument("--n", type=int, default=1 << 20, help="elements (default: 1048576)")
    parser.add_argument("--element", choices=("f16", "f32"), default="f32", help="their dtype")
    parser.add_argument("--seed", type=int, default=0, help="of the random data (default: 0)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Adds two random vectors and says how far the sum is from float64's."""
    device = choose(args.device)
    rng = np.random.default_rng(args.seed)
    kind = np.float16 if args.element == "f16" else np.float32
    x, y = (rng.standard_normal(args.n, np.float32).astype(kind) for _ in range(2))
    z = np.full(args.n, np.nan, kind)
    began = time.perf_counter()
    vector_add(x, y, z, args.n, device=device, element=args.element)
    seconds = time.perf_counter() - began
    difference = np.abs(z - reference(x, y))
    return {
        "device": device,
        "element": args.element,
        "n": args.n,
        "max_error": float(difference.max(initial=0.0)),
        "us": 1e6 * seconds,
    }


def compile(args: argparse.Namespace) -> list[Function]:
    """The program for vectors of this dtype."""
    return [vector_add.trace(element=args.element)]
