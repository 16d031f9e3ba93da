"""A formula of each element of random arrays, checked against float64."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from tileloom.programs import samples
from tileloom.runtime.devices import choose
from tileloom.vm.ir import Function

from .formulas import FORMULAS
from .program import apply, elementwise, inputs_of, reference, schedule_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tileloom run` and `tileloom compile elementwise`."""
    parser.add_argument(
        "--formula", choices=tuple(FORMULAS), default="bias_gelu", help="(default: bias_gelu)"
    )
    samples.add_sizes(parser, rows=(512, "rows"), columns=(4096, "columns"))
    samples.add_element(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Applies the formula to random arrays and says how far it is from float64's."""
    device, element, formula = choose(args.device), args.element, FORMULAS[args.formula]
    rng, shape = np.random.default_rng(args.seed), (args.rows, args.columns)
    drawn = {
        name: samples.draw(rng, shape[1:] if name == "bias" else shape, element)
        for name in inputs_of(formula)
    }
    y = samples.poisoned(shape, element)
    arrays = {name: array for name, (array, _) in drawn.items()}
    us = samples.timed(lambda: apply(formula, y=y, element=element, device=device, **arrays))
    expected = reference(args.formula, **{name: exact for name, (_, exact) in drawn.items()})
    return {
        "device": device,
        "formula": args.formula,
        "element": element,
        "rows": args.rows,
        "columns": args.columns,
        "rel_error": samples.relative_error(samples.decode(y, element), expected),
        "us": us,
    }


def compile(args: argparse.Namespace) -> list[Function]:
    """The program for arrays of this shape and dtype."""
    schedule = schedule_for(args.rows, args.columns, samples.itemsize(args.element))
    formula = FORMULAS[args.formula]
    return [elementwise.trace(formula=formula, element=args.element, schedule=schedule)]
