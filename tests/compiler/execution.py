"""Runs a program on the interpreter and, compiled, on the emulator, and compares the arrays."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tileloom.compiler import Lowered, compile_function
from tileloom.runtime.emulator import parse_module
from tileloom.runtime.tensor_maps import resolve
from tileloom.runtime.toolkit import find_program
from tileloom.vm import parse
from tileloom.vm.expr import Binary, Const, Expr, Ref, Unary, apply_binary
from tileloom.vm.interpreter import run
from tileloom.vm.ir import Function, Value
from tileloom.vm.types import ScalarType

PTXAS = find_program("ptxas")
TARGETS = ("sm_80", "sm_89", "sm_90a")


def evaluate(expr: Expr, numbers: dict[str, Any]) -> int:
    """A grid extent from the scalar arguments."""
    match expr:
        case Const(value):
            return int(value)
        case Ref(value):
            return int(numbers[value.name])
        case Unary("-", operand):
            return -evaluate(operand, numbers)
        case Binary(op, lhs, rhs):
            return int(apply_binary(op, evaluate(lhs, numbers), evaluate(rhs, numbers)))
    raise AssertionError(expr)


def as_function(program: str | Function) -> Function:
    """A program given as text, or as it is."""
    return parse(program) if isinstance(program, str) else program


def _typed(param: Value, arg: Any) -> Any:
    """A number as the parameter's numpy type, as the runtime passes it."""
    if isinstance(arg, np.ndarray):
        return arg
    assert isinstance(param.type, ScalarType) and param.type.dtype.numpy is not None
    return param.type.dtype.numpy.type(arg)


def emulate(
    program: str | Function,
    args: Sequence[Any],
    target: str = "sm_90a",
    seed: int = 0,
    asynchronous: str = "late",
) -> Lowered:
    """Compiles a program and runs the PTX; arrays are changed in place."""
    function = as_function(program)
    lowered = compile_function(function, target, check_passes=True)
    kernel = parse_module(lowered.ptx).kernels[lowered.kernel_name]
    numbers = {p.name: a for p, a in zip(function.params, args, strict=True)}
    values = dict(zip(function.params, args, strict=True))
    maps = [m.emulated() for m in resolve(function, lowered.tensor_maps, values)]
    grid = [evaluate(extent, numbers) for extent in function.grid] + [1, 1]
    kernel.launch(
        grid=grid[:3],
        block=(lowered.num_threads, 1, 1),
        args=[*(_typed(p, a) for p, a in zip(function.params, args, strict=True)), *maps],
        shared_bytes=lowered.shared_bytes,
        seed=seed,
        asynchronous=asynchronous,
    )
    return lowered


def agree(
    program: str | Function,
    args: Sequence[Any],
    target: str = "sm_90a",
    rtol: float = 0.0,
    checks: bool = True,
) -> list[Any]:
    """Both executors on copies of the arguments; the arrays must agree, bit for bit by default.

    Gives the emulator's arrays.
    """
    function = as_function(program)
    meant = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    found = [a.copy() if isinstance(a, np.ndarray) else a for a in args]
    run(function, meant, checks=checks)
    lowered = emulate(function, found, target)
    for param, m, f in zip(function.params, meant, found, strict=True):
        if isinstance(m, np.ndarray):
            message = f"%{param.name} differs\n{lowered.ptx}"
            if rtol:
                np.testing.assert_allclose(f, m, rtol=rtol, atol=rtol, err_msg=message)
            else:
                np.testing.assert_array_equal(f, m, err_msg=message)
    return found


def assemble(ptx: str, target: str, folder: Path) -> str:
    """What ptxas says about PTX text, with -v; fails the test if it rejects it."""
    if PTXAS is None:
        pytest.skip("no ptxas")
    source = folder / "kernel.ptx"
    source.write_text(ptx)
    command = [PTXAS, f"-arch={target}", "-v", "-o", str(folder / "kernel.cubin"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\n{ptx}"
    return done.stderr
