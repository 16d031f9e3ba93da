"""Convolves random images with random filters, checked against float64."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from tileloom.programs import samples
from tileloom.runtime.devices import choose
from tileloom.vm.ir import Function

from .program import Geometry, convolution, reference, schedule_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tileloom run` and `tileloom compile convolution`."""
    samples.add_sizes(
        parser, images=(4, "images"), height=(32, "their height"), width=(32, "their width"),
        channels=(64, "channels"), filters=(64, "filters"), taps=(3, "taps each way"),
        stride=(1, "pixels between places of a filter"), dilation=(1, "pixels between taps"),
    )  # fmt: skip
    parser.add_argument("--padding", type=int, default=1, help="zeros around (default: 1)")
    parser.add_argument("--element", choices=("f16", "bf16"), default="f16", help="of x and w")
    parser.add_argument("--seed", type=int, default=0, help="of the random data (default: 0)")


def geometry(args: argparse.Namespace) -> Geometry:
    """The convolution that the options describe."""
    return Geometry(
        args.images, args.height, args.width, args.channels, args.filters,
        (args.taps, args.taps), args.stride, args.padding, args.dilation,
    )  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Convolves random images and says how far the result is from float64's."""
    device, element, g = choose(args.device), args.element, geometry(args)
    rng = np.random.default_rng(args.seed)
    x, exact_x = samples.draw(rng, (g.images, g.height, g.width, g.channels), element)
    w, exact_w = samples.draw(rng, (*g.taps, g.channels, g.filters), element)
    y = samples.poisoned(g.shape, "f32")
    us = samples.timed(
        lambda: convolution(
            x, w, y, *g.arguments(),
            element=element, out="f32", schedule=schedule_for(g), device=device,
        )
    )  # fmt: skip
    expected = reference(exact_x, exact_w, g)
    return {
        "device": device,
        "element": element,
        "x": "x".join(map(str, x.shape)),
        "w": "x".join(map(str, w.shape)),
        "y": "x".join(map(str, y.shape)),
        "rel_error": samples.relative_error(y.astype(np.float64), expected),
        "us": us,
    }


def compile(args: argparse.Namespace) -> list[Function]:
    """The program for images and filters like these."""
    schedule = schedule_for(geometry(args))
    return [convolution.trace(element=args.element, out=args.element, schedule=schedule)]
