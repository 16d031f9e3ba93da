"""Random activations in 8 bits, checked against the reference bit by bit and timed."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from tileloom.programs import samples
from tileloom.runtime.devices import choose
from tileloom.vm.ir import Function

from .activations import DTYPES, quantize_activations
from .program import quantize_rows, quantize_rows_reference
from .schedule import schedule_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tileloom run` and `tileloom compile activations`."""
    samples.add_sizes(parser, rows=(512, "tokens"), columns=(4096, "elements of each"))
    samples.add_element(parser)
    parser.add_argument("--to", choices=DTYPES, default="i8", help="(default: i8)")
    parser.add_argument(
        "--group", type=int, default=0, help="elements that share a scale (default: all of a row)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Quantizes random rows and says how far they are from what they were, and whether codes and
    scales are the reference's."""
    device = choose(args.device)
    shape = (args.rows, args.columns)
    x, exact = samples.draw(np.random.default_rng(args.seed), shape, args.element)
    made = quantize_activations(x, args.to, args.group, device=device)
    us = samples.timed(
        lambda: quantize_activations(x, args.to, args.group, out=made, device=device)
    )
    codes, scales = quantize_rows_reference(exact, args.to, args.group)
    same = np.array_equal(made.codes[:, : args.columns].view(np.uint8), codes)
    return {
        "device": device,
        "element": args.element,
        "to": args.to,
        "group": args.group,
        "rows": args.rows,
        "columns": args.columns,
        "identical": same and np.array_equal(made.scales, scales),
        "rel_error": samples.relative_error(made.dequantize(), exact),
        "us": us,
    }


def compile(args: argparse.Namespace) -> list[Function]:
    """The program for rows of this length and dtype."""
    return [
        quantize_rows.trace(
            element=args.element,
            out=args.to,
            group=args.group,
            vector=next(v for v in (8, 4, 2, 1) if args.columns % v == 0),
            schedule=schedule_for(args.columns, args.group),
        )
    ]
