"""The programs the command line knows.

A program is a module or object with

    add_arguments(parser)      its options, on an `argparse` parser
    run(args) -> dict          runs it and reports; `args.device` may be None
    compile(args) -> list      compiled kernels or functions, for `args.target`

Installed distributions name theirs through the entry point group `tileloom.programs`. Where
tileloom runs from its source tree without an install there are no entry points; then the modules
of `SOURCE_TREE` are imported by name, when their program is asked for.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol, cast

from tileloom.vm.diagnostics import UsageError, VMNameError, did_you_mean
from tileloom.vm.ir import Function

from .compiled import CompiledKernel

GROUP = "tileloom.programs"
SOURCE_TREE = {
    "activations": "tileloom.programs.activations.command",
    "batched_matmul": "tileloom.programs.batched_matmul.command",
    "convolution": "tileloom.programs.convolution.command",
    "elementwise": "tileloom.programs.elementwise.command",
    "layer_norm": "tileloom.programs.layer_norm.command",
    "matmul": "tileloom.programs.matmul.command",
    "minilm": "tileloom.programs.minilm.command",
    "quantized_matmul": "tileloom.programs.quantized_matmul.command",
    "reduction": "tileloom.programs.reduction.command",
    "rotary": "tileloom.programs.rotary.command",
    "softmax": "tileloom.programs.softmax.command",
    "tile_add": "tileloom.programs.tile_add.command",
    "transpose": "tileloom.programs.transpose.command",
    "vector_add": "tileloom.programs.vector_add.command",
}


class Program(Protocol):
    """What the command line needs of a program."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the program's options."""

    def run(self, args: argparse.Namespace) -> dict[str, Any]:
        """Runs the program and returns what it found."""

    def compile(self, args: argparse.Namespace) -> Iterable[CompiledKernel | Function]:
        """The program's kernels for `args.target`."""


def programs() -> dict[str, Callable[[], Any]]:
    """How to load each program, by name."""
    found: dict[str, Callable[[], Any]] = {}
    for name, module in SOURCE_TREE.items():
        found[name] = partial(import_module, module)
    for entry in entry_points(group=GROUP):
        found[entry.name] = entry.load
    return dict(sorted(found.items()))


def program(name: str) -> Program:
    """The program of that name.

    Raises:
        VMNameError: there is none.
        UsageError: it can't be loaded.
    """
    known = programs()
    if name not in known:
        listed = ", ".join(f"`{n}`" for n in known)
        raise VMNameError(
            f"there is no program `{name}`",
            hint=did_you_mean(name, known) or f"the programs: {listed}",
        )
    try:
        return cast(Program, known[name]())
    except ImportError as error:
        raise UsageError(f"the program `{name}` can't be loaded: {error}") from None
