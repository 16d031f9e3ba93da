"""Transposes a batch of random matrices, and compares every element."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from tileloom.programs import samples
from tileloom.runtime.devices import choose
from tileloom.vm.ir import Function

from .program import reference, transpose
from .schedule import schedule_for

ELEMENTS = {
    "u8": np.uint8,
    "f16": np.float16,
    "bf16": np.uint16,
    "f32": np.float32,
    "i64": np.int64,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tileloom run` and `tileloom compile transpose`."""
    samples.add_sizes(
        parser, batch=(1, "matrices"), rows=(1024, "rows"), columns=(1024, "columns")
    )  # fmt: skip
    parser.add_argument("--element", choices=tuple(ELEMENTS), default="f16", help="(default: f16)")
    parser.add_argument("--seed", type=int, default=0, help="of the random data (default: 0)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Transposes random matrices and counts the elements that are wrong."""
    device, kind = choose(args.device), np.dtype(ELEMENTS[args.element])
    shape = (args.batch, args.rows, args.columns)
    rng = np.random.default_rng(args.seed)
    x = rng.integers(0, 100, shape).astype(kind)
    y = np.full((args.batch, args.columns, args.rows), 101, kind)
    schedule = schedule_for(*shape[1:], kind.itemsize, args.batch)
    us = samples.timed(
        lambda: transpose(x, y, *shape, device=device, element=args.element, schedule=schedule)
    )
    return {
        "device": device,
        "element": args.element,
        "batch": args.batch,
        "rows": args.rows,
        "columns": args.columns,
        "wrong": int((y != reference(x)).sum()),
        "us": us,
    }


def compile(args: argparse.Namespace) -> list[Function]:
    """The program for matrices of this shape and dtype."""
    itemsize = np.dtype(ELEMENTS[args.element]).itemsize
    schedule = schedule_for(args.rows, args.columns, itemsize, args.batch)
    return [transpose.trace(element=args.element, schedule=schedule)]
