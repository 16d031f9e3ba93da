"""The softmax of each row of a random matrix, checked against float64."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from tileloom.programs import samples
from tileloom.programs.rows.command import schedule_for
from tileloom.runtime.devices import choose, target_of
from tileloom.vm.ir import Function

from .program import reference, softmax


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tileloom run` and `tileloom compile softmax`."""
    samples.add_sizes(parser, rows=(512, "rows"), columns=(4096, "columns"))
    samples.add_element(parser)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Takes the softmax of random rows and says how far it is from float64's."""
    device, element = choose(args.device), args.element
    shape = (args.rows, args.columns)
    schedule = schedule_for(args.columns, element, target_of(device))
    x, exact = samples.draw(np.random.default_rng(args.seed), shape, element, 3.0)
    y = samples.poisoned(shape, element)
    us = samples.timed(
        lambda: softmax(x, y, *shape, device=device, element=element, schedule=schedule)
    )
    return {
        "device": device,
        "element": element,
        "rows": args.rows,
        "columns": args.columns,
        "rel_error": samples.relative_error(samples.decode(y, element), reference(exact)),
        "us": us,
    }


def compile(args: argparse.Namespace) -> list[Function]:
    """The program for rows of this length and dtype."""
    schedule = schedule_for(args.columns, args.element, args.target)
    return [softmax.trace(element=args.element, schedule=schedule)]
