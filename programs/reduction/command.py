"""Reduces or scans a random array [outer, n, inner] along n, checked against float64."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from tileloom.programs import samples
from tileloom.runtime.devices import choose
from tileloom.vm.diagnostics import UsageError
from tileloom.vm.ir import Function

from . import program, scan
from .program import OPERATIONS, plan_reduce, reduce_axis, reduce_part
from .scan import SCANS, scan_axis, scan_part
from .schedule import plan_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tileloom run` and `tileloom compile reduction`."""
    samples.add_sizes(
        parser, outer=(64, "outer extent"), n=(4096, "extent that is reduced"),
        inner=(1, "inner extent"),
    )  # fmt: skip
    parser.add_argument("--op", choices=OPERATIONS, default="sum", help="(default: sum)")
    parser.add_argument("--scan", action="store_true", help="keep what every element comes to")
    parser.add_argument("--exclusive", action="store_true", help="a scan without the element")
    samples.add_element(parser)


def out_dtype(op: str) -> str:
    """What results are written as."""
    return "i32" if op.startswith("arg") else "f32"


def _check(args: argparse.Namespace) -> None:
    if args.scan and args.op not in SCANS:
        raise UsageError(f"there is no scan `{args.op}`", hint=", ".join(SCANS))


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Reduces or scans a random array and says how far it is from float64's."""
    _check(args)
    device, element, op = choose(args.device), args.element, args.op
    shape = (args.outer, args.n, args.inner)
    x, exact = samples.draw(np.random.default_rng(args.seed), shape, element)
    how = {"element": element, "device": device}
    if args.scan:
        y: samples.Array = samples.poisoned(shape, "f32")
        us = samples.timed(
            lambda: scan_axis(x, y, shape, op, exclusive=args.exclusive, out="f32", **how)
        )
        expected = scan.reference(exact, op, args.exclusive)
    else:
        y = np.full((args.outer, args.inner), -1, np.int32)
        y = y if op.startswith("arg") else samples.poisoned(y.shape, "f32")
        us = samples.timed(lambda: reduce_axis(x, y, shape, op, out=out_dtype(op), **how))
        expected = program.reference(exact, op).astype(np.float64)
    finite = np.isfinite(expected)
    return {
        "device": device,
        "op": op,
        "element": element,
        "outer": args.outer,
        "n": args.n,
        "inner": args.inner,
        "rel_error": samples.relative_error(y[finite].astype(np.float64), expected[finite]),
        "us": us,
    }


def compile(args: argparse.Namespace) -> list[Function]:
    """The program for arrays of this shape and dtype."""
    _check(args)
    shape, element = (args.outer, args.n, args.inner), args.element
    op = "sum" if args.op == "mean" else args.op
    if args.scan:
        schedule = plan_for(*shape, 4).schedule
        return [
            scan_part.trace(op=op, element=element, exclusive=args.exclusive, schedule=schedule)
        ]
    schedule = plan_reduce(shape, op, element).schedule
    return [reduce_part.trace(op=op, element=element, out=out_dtype(op), schedule=schedule)]
