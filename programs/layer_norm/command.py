"""Layer norm or RMS norm of each row of a random matrix, checked against float64."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from tileloom.programs import samples
from tileloom.programs.rows.command import schedule_for
from tileloom.runtime.devices import choose, target_of
from tileloom.vm.ir import Function

from .program import layer_norm, layer_norm_reference, rms_norm, rms_norm_reference

KERNELS = {"layer": layer_norm, "rms": rms_norm}
PARAMETERS = {"layer": 2, "rms": 1}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tileloom run` and `tileloom compile layer_norm`."""
    samples.add_sizes(parser, rows=(512, "rows"), columns=(4096, "columns"))
    parser.add_argument("--norm", choices=tuple(KERNELS), default="layer", help="(default: layer)")
    parser.add_argument("--epsilon", type=float, default=1e-5, help="(default: 1e-5)")
    samples.add_element(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Norms random rows and says how far they are from float64's."""
    device, element = choose(args.device), args.element
    shape = (args.rows, args.columns)
    schedule = schedule_for(args.columns, element, target_of(device), PARAMETERS[args.norm])
    rng = np.random.default_rng(args.seed)
    x, exact = samples.draw(rng, shape, element)
    drawn = [samples.draw(rng, (args.columns,), element) for _ in range(2)]
    y = samples.poisoned(shape, element)
    if args.norm == "layer":
        expected = layer_norm_reference(exact, drawn[0][1], drawn[1][1], args.epsilon)
    else:
        drawn = drawn[:1]
        expected = rms_norm_reference(exact, drawn[0][1], args.epsilon)
    parameters = [array for array, _ in drawn]
    us = samples.timed(
        lambda: KERNELS[args.norm](
            x, *parameters, y, *shape, args.epsilon,
            device=device, element=element, schedule=schedule,
        )
    )  # fmt: skip
    return {
        "device": device,
        "norm": args.norm,
        "element": element,
        "rows": args.rows,
        "columns": args.columns,
        "rel_error": samples.relative_error(samples.decode(y, element), expected),
        "us": us,
    }


def compile(args: argparse.Namespace) -> list[Function]:
    """The program for rows of this length and dtype."""
    schedule = schedule_for(args.columns, args.element, args.target, PARAMETERS[args.norm])
    return [KERNELS[args.norm].trace(element=args.element, schedule=schedule)]
