"""Random arrays for the programs' commands and tests, and what the executors made of them.

numpy has no bf16: such arrays hold its codes as `uint16`, which every executor accepts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom.vm.dtypes import bf16, dtype

Array = NDArray[Any]
Floats = NDArray[np.float64]
ELEMENTS = ("f16", "bf16", "f32")


def add_element(parser: argparse.ArgumentParser) -> None:
    """Adds the options that every program of floats has."""
    parser.add_argument("--element", choices=ELEMENTS, default="f16", help="(default: f16)")
    parser.add_argument("--seed", type=int, default=0, help="of the random data (default: 0)")


def add_sizes(parser: argparse.ArgumentParser, **sizes: tuple[int, str]) -> None:
    """Adds an option for each extent: its default and its help."""
    for name, (default, text) in sizes.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=size, default=default,
            help=f"{text} (default: {default})",
        )  # fmt: skip


def size(text: str) -> int:
    """An extent: a positive number."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def itemsize(element: str) -> int:
    """Bytes of an element."""
    return dtype(element).bits // 8


def draw(
    rng: np.random.Generator, shape: tuple[int, ...], element: str, scale: float = 1.0
) -> tuple[Array, Floats]:
    """A normal array as it is passed, and its exact values."""
    array = encode(rng.standard_normal(shape) * scale, element)
    return array, decode(array, element)


def encode(values: NDArray[Any], element: str) -> Array:
    """The nearest values of `element`, as they are passed."""
    kind = dtype(element)
    return np.asarray(bf16.encode(values)) if kind == bf16 else values.astype(kind.numpy)


def decode(array: Array, element: str) -> Floats:
    """An array's values in float64."""
    return np.asarray(bf16.decode(array) if dtype(element) == bf16 else array, np.float64)


def poisoned(shape: tuple[int, ...], element: str) -> Array:
    """An array of NaN: what no thread writes must not look right."""
    return encode(np.full(shape, np.nan), element)


def timed(call: Callable[[], object]) -> float:
    """Microseconds of a call, compilation included."""
    began = time.perf_counter()
    call()
    return 1e6 * (time.perf_counter() - began)


def relative_error(found: Floats, expected: Floats) -> float:
    """The largest error, as a part of the largest value."""
    largest = float(np.abs(expected).max(initial=0.0)) or 1.0
    return float(np.abs(found - expected).max(initial=0.0)) / largest
