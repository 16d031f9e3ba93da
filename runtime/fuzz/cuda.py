"""Cases on a GPU: a batch assembled and loaded as one module, its kernels launched one by one."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from tileloom.compiler import Lowered
from tileloom.vm.diagnostics import VMError

from ..cuda.context import current_device
from ..cuda.launch import LoadedKernel
from ..cuda.memory import DeviceArray
from ..signature import Signature
from ..tensor_maps import CODE, encoded, resolve
from .assembly import assembled
from .case import Outcome, disagreement
from .check import Compiled, evaluate, interpret, lines_of
from .parsing import CheckError, Finding


def check_batch(cases: Sequence[Compiled]) -> list[Finding]:
    """Runs cases on the current GPU and on the interpreter; what differs.

    Raises:
        VMError: the batch can't be assembled or loaded.
    """
    gpu = current_device()
    chosen = [each.lowered[gpu.target] for each in cases]
    if not chosen:
        return []
    cubin = assembled(chosen).cubin
    found = []
    for each, lowered in zip(cases, chosen, strict=True):
        case = each.case
        signature = Signature(case.function)
        kernel = LoadedKernel(
            gpu, cubin, lowered.kernel_name, lowered.num_threads, lowered.shared_bytes,
            [*signature.codes(), *[CODE] * len(lowered.tensor_maps)],
        )  # fmt: skip
        try:
            meant = interpret(case, case.function)
        except CheckError as error:
            found.append(error.finding)
            continue
        try:
            results = _launch(each, lowered, kernel, signature)
        except VMError as error:
            # Nothing more runs in this process's context.
            found.append(Finding("error on cuda", error.message, case))
            break
        wrong = disagreement(case, meant, results, "GPU")
        if wrong:
            found.append(Finding("mismatch on cuda", wrong, case))
    return found


def _launch(
    each: Compiled, lowered: Lowered, kernel: LoadedKernel, signature: Signature
) -> Outcome:
    case = each.case
    arguments = case.fresh_arguments()
    numbers = {p.name: a for p, a in zip(case.function.params, arguments, strict=True)}
    extents = [evaluate(extent, numbers) for extent in case.function.grid]
    x, y, z = (*extents, 1, 1)[:3]
    values: list[Any] = []
    copies: dict[int, DeviceArray] = {}
    for index, argument in enumerate(arguments):
        if isinstance(argument, np.ndarray):
            copies[index] = DeviceArray.of(argument)
            values.append(copies[index].data_ptr())
        else:
            values.append(signature.pack(index, argument))
    by_param = dict(zip(case.function.params, arguments, strict=True))
    values += encoded(resolve(case.function, lowered.tensor_maps, by_param), values)
    with _printed() as said:
        kernel.launch((x, y, z), values, 0)
        for index, copy in copies.items():
            copy.copy_to(arguments[index])
            copy.free()
        kernel.device.synchronize()
    return Outcome(arguments, lines_of("".join(said)))


@contextmanager
def _printed() -> Iterator[list[str]]:
    """Gathers what kernels print, which would go to the process's standard output."""
    found: list[str] = []
    flush = ctypes.CDLL(None).fflush
    flush(None)
    sys.stdout.flush()
    with TemporaryFile("w+") as file:
        before = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            yield found
        finally:
            flush(None)
            os.dup2(before, 1)
            os.close(before)
            file.seek(0)
            found.append(file.read())
