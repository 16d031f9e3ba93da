"""z = x + y on random matrices by specialised warps, checked against float64."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from tileloom.programs import samples
from tileloom.runtime.devices import choose
from tileloom.vm.ir import Function

from .program import reference, tile_add


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tileloom run` and `tileloom compile tile_add`."""
    samples.add_sizes(
        parser, m=(512, "rows"), n=(1024, "columns; rows are multiples of 16 bytes")
    )  # fmt: skip
    parser.add_argument("--element", choices=("f16", "f32"), default="f16", help="their dtype")
    parser.add_argument("--stages", type=int, default=3, help="of the ring (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="of the random data (default: 0)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Adds two random matrices and says how far the sum is from float64's."""
    device = choose(args.device)
    rng = np.random.default_rng(args.seed)
    kind = np.float16 if args.element == "f16" else np.float32
    shape = (args.m, args.n)
    x, y = (rng.standard_normal(shape, np.float32).astype(kind) for _ in range(2))
    z = np.full(shape, np.nan, kind)
    us = samples.timed(
        lambda: tile_add(
            x, y, z, *shape, device=device, element=args.element, stages=args.stages
        )
    )  # fmt: skip
    return {
        "device": device,
        "element": args.element,
        "m": args.m,
        "n": args.n,
        "max_error": float(np.abs(z - reference(x, y)).max(initial=0.0)),
        "us": us,
    }


def compile(args: argparse.Namespace) -> list[Function]:
    """The program for matrices of this dtype."""
    return [tile_add.trace(element=args.element, stages=args.stages)]
