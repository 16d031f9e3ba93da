"""Turns the heads of random tokens by their positions, checked against float64."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from tileloom.programs import samples
from tileloom.runtime.devices import choose
from tileloom.vm.ir import Function

from .program import Schedule, reference, rotary, schedule_for, tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tileloom run` and `tileloom compile rotary`."""
    samples.add_sizes(
        parser, tokens=(512, "tokens"), heads=(32, "heads"), half=(64, "pairs of a head"),
        limit=(4096, "positions"),
    )  # fmt: skip
    parser.add_argument("--interleaved", action="store_true", help="pairs lie side by side")
    samples.add_element(parser)


def schedule_of(args: argparse.Namespace) -> Schedule:
    """The schedule for heads like these."""
    return schedule_for(args.heads, args.half, samples.itemsize(args.element), args.interleaved)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Turns random tokens at random positions and says how far they are from float64's."""
    device, element = choose(args.device), args.element
    rng = np.random.default_rng(args.seed)
    x, exact = samples.draw(rng, (args.tokens, args.heads, 2 * args.half), element)
    positions = rng.integers(0, args.limit, args.tokens).astype(np.int32)
    angles = tables(args.limit, args.half)
    y = samples.poisoned(x.shape, element)
    us = samples.timed(
        lambda: rotary(
            x, positions, *angles, y, args.tokens, args.heads, args.half, args.limit,
            device=device, element=element, schedule=schedule_of(args),
        )
    )  # fmt: skip
    expected = reference(exact, positions, *angles, args.interleaved)
    return {
        "device": device,
        "element": element,
        "tokens": args.tokens,
        "heads": args.heads,
        "half": args.half,
        "rel_error": samples.relative_error(samples.decode(y, element), expected),
        "us": us,
    }


def compile(args: argparse.Namespace) -> list[Function]:
    """The program for heads like these."""
    return [rotary.trace(element=args.element, schedule=schedule_of(args))]
