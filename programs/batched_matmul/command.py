"""c[i] = a[i] @ b[i] on random batches of matrices, checked against float64."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from tileloom.programs import samples
from tileloom.programs.matmul.program import Schedule
from tileloom.runtime.devices import choose
from tileloom.vm.ir import Function

from .program import batched_matmul, reference, schedule_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tileloom run` and `tileloom compile batched_matmul`."""
    samples.add_sizes(
        parser, batch=(16, "matrices"), m=(256, "rows of c"), k=(128, "columns of a"),
        n=(256, "columns of c"),
    )  # fmt: skip
    parser.add_argument("--turned-a", action="store_true", help="a is stored [k, m]")
    parser.add_argument("--turned-b", action="store_true", help="b is stored [n, k]")
    parser.add_argument("--share-b", action="store_true", help="one b for the whole batch")
    parser.add_argument("--element", choices=("f16", "bf16"), default="f16", help="of a and b")
    parser.add_argument("--seed", type=int, default=0, help="of the random data (default: 0)")


def schedule_of(args: argparse.Namespace) -> Schedule:
    """The schedule for matrices like these, stored one after another."""
    width_a, width_b = (args.m if args.turned_a else args.k), (
        args.k if args.turned_b else args.n
    )  # fmt: skip
    strides = (args.m * args.k, args.k * args.n)
    return schedule_for(args.m, args.k, args.n, width_a, width_b, *strides)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Multiplies random matrices and says how far the products are from float64's."""
    device, element = choose(args.device), args.element
    rng, batch, m, k, n = np.random.default_rng(args.seed), args.batch, args.m, args.k, args.n
    count_b = 1 if args.share_b else batch
    shape_a = (batch, k, m) if args.turned_a else (batch, m, k)
    shape_b = (count_b, n, k) if args.turned_b else (count_b, k, n)
    (a, exact_a), (b, exact_b) = (samples.draw(rng, s, element) for s in (shape_a, shape_b))
    c = samples.poisoned((batch, m, n), "f32")
    us = samples.timed(
        lambda: batched_matmul(
            a, b, c, batch, m, k, n, m * k, 0 if args.share_b else k * n,
            turned_a=args.turned_a, turned_b=args.turned_b, element=element, out="f32",
            schedule=schedule_of(args), device=device,
        )
    )  # fmt: skip
    expected = reference(
        exact_a.transpose(0, 2, 1) if args.turned_a else exact_a,
        exact_b.transpose(0, 2, 1) if args.turned_b else exact_b,
    )
    return {
        "device": device,
        "element": element,
        "batch": batch,
        "m": m,
        "k": k,
        "n": n,
        "rel_error": samples.relative_error(c.astype(np.float64), expected),
        "us": us,
    }


def compile(args: argparse.Namespace) -> list[Function]:
    """The program for matrices like these."""
    return [
        batched_matmul.trace(
            turned_a=args.turned_a, turned_b=args.turned_b, element=args.element,
            out=args.element, schedule=schedule_of(args),
        )
    ]  # fmt: skip
