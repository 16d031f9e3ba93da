"""y = formula(x, bias, other), element by element in one pass over memory.

A formula is a Python function of tiles, traced into the kernel; it names what it wants:

    x        [rows, columns]
    bias     [columns], the same for every row
    other    [rows, columns], such as a residual or a gate
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tileloom import vm
from tileloom.layouts import RegisterLayout, local, spatial
from tileloom.programs.rows.schedule import VECTOR_BYTES, vector_of
from tileloom.vm.diagnostics import UsageError
from tileloom.vm.dtypes import dtype

from .formulas import FORMULAS, Formula

_THREADS = 128
_PARTS = 2  # accesses of a thread to each array, in flight at once


@dataclass(frozen=True)
class Schedule:
    """A thread has runs of `vector` elements: `lines` below each other, `chunks` along a row,
    which `threads` threads share."""

    threads: int = 128
    lines: int = 1
    chunks: int = 2
    vector: int = 8

    @property
    def rows(self) -> int:
        """Rows of a block."""
        return self.lines * (_THREADS // self.threads)

    @property
    def columns(self) -> int:
        """Columns of a block."""
        return self.chunks * self.threads * self.vector

    @cached_property
    def layout(self) -> RegisterLayout:
        """[rows, columns]"""
        threads = spatial(_THREADS // self.threads, self.threads)
        return local(self.lines, self.chunks) * threads * local(1, self.vector)


def schedule_for(rows: int, columns: int, itemsize: int) -> Schedule:
    """The schedule for arrays of this shape with elements of `itemsize` bytes.

    A thread's runs lie below each other where there are rows enough: one bias serves them all.
    """
    vector = vector_of(columns, itemsize)
    runs = -(-columns // vector)
    threads = min(_THREADS, 1 << max(0, runs - 1).bit_length())
    if rows >= _PARTS * (_THREADS // threads):
        return Schedule(threads, _PARTS, 1, vector)
    return Schedule(threads, 1, min(_PARTS, -(-runs // threads)), vector)


def inputs_of(formula: Formula) -> tuple[str, ...]:
    """The arrays that a formula wants, by name.

    Raises:
        UsageError: a name that isn't one.
    """
    names = tuple(signature(formula).parameters)
    unknown = [name for name in names if name not in ("x", "bias", "other")]
    if unknown:
        raise UsageError(
            f"the formula `{formula.__name__}` wants `{unknown[0]}`",
            hint="it may take `x`, `bias` and `other`",
        )
    return names


@vm.kernel
def elementwise(
    x: vm.Ptr["element"],
    bias: vm.Ptr["element"],
    other: vm.Ptr["element"],
    y: vm.Ptr["element"],
    rows: vm.i32,
    columns: vm.i32,
    formula: Formula = FORMULAS["bias_gelu"],
    element: str = "f16",
    schedule: Schedule = Schedule(),
) -> None:
    s, kind, shape = schedule, dtype(element), [rows, columns]
    across = vm.cdiv(columns, s.columns)
    vm.launch(grid=[across * vm.cdiv(rows, s.rows)], warps=_THREADS // 32)
    vm.assume(columns % s.vector == 0)
    alignment = min(VECTOR_BYTES, s.vector * kind.bits // 8)
    row = vm.block_index() // across * s.rows
    column = vm.block_index() % across * s.columns
    tiles = {}
    for name in inputs_of(formula):
        if name == "bias":
            view = vm.global_view(bias, [1, columns], alignment=alignment)
            tile = vm.load(view, [0, column], (1, s.columns))
        else:
            view = vm.global_view({"x": x, "other": other}[name], shape, alignment=alignment)
            tile = vm.load(view, [row, column], (s.rows, s.columns), s.layout)
        tiles[name] = tile.to(vm.f32)
    target = vm.global_view(y, shape, alignment=alignment)
    vm.store(target, [row, column], formula(**tiles).to(kind))


def apply(
    formula: Formula,
    x: Any,
    y: Any,
    bias: Any = None,
    other: Any = None,
    *,
    element: str = "f16",
    device: str | None = None,
) -> None:
    """Writes the formula of arrays [rows, columns] and a bias [columns] to y.

    Raises:
        UsageError: the formula wants an array that isn't given.
    """
    given = {"x": x, "bias": bias, "other": other}
    names = inputs_of(formula)
    missing = [name for name in names if given[name] is None]
    if missing:
        raise UsageError(f"the formula `{formula.__name__}` needs `{missing[0]}`")
    rows, columns = x.shape
    if "bias" not in names and rows * columns < 1 << 31:
        rows, columns = 1, rows * columns  # no row differs from another
    schedule = schedule_for(rows, columns, dtype(element).bits // 8)
    arrays = [x if given[name] is None else given[name] for name in ("x", "bias", "other")]
    elementwise(
        *arrays, y, rows, columns,
        formula=formula, element=element, schedule=schedule, device=device,
    )  # fmt: skip


def reference(formula: str, **inputs: NDArray[Any]) -> NDArray[np.float64]:
    """One of the named formulas in float64."""
    wide = {name: array.astype(np.float64) for name, array in inputs.items()}
    x = wide["x"] + wide.get("bias", 0.0)
    result: NDArray[np.float64] = _activated(formula, x)
    if formula.endswith("residual"):
        result = result + wide["other"]
    return result * wide["other"] if formula.endswith("product") else result


def _activated(formula: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
    from math import erfc

    if "gelu_tanh" in formula:
        inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
        return np.asarray(0.5 * x * (1 + np.tanh(inner)))
    if "gelu" in formula:
        below = np.vectorize(lambda each: 0.5 * erfc(-each / np.sqrt(2)), otypes=[np.float64])
        return np.asarray(x * below(x))
    if "silu" in formula:
        return np.asarray(x * 0.5 * (1 + np.tanh(x / 2)))
    return np.maximum(x, 0) if "relu" in formula else x
