"""Cases on a GPU: a batch assembled and loaded as one module, its kernels launched one by one."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from tileloom.compiler import Lowered
from tileloom.vm.diagnostics import VMError

from ..cuda.context import current_device
from ..cuda.launch import Library, LoadedKernel
from ..cuda.memory import DeviceArray
from ..errors import AssemblerError
from ..signature import Signature
from ..tensor_maps import CODE, encoded, resolve
from .apart import Message, Program, Result, Stage
from .assembly import assembled, rejected
from .case import Case, Outcome, disagreement
from .check import Compiled, compiled, compiled_as_it_is, evaluate, interpret, lines_of
from .chunk import Settings
from .generate import generate
from .parsing import CheckError, Finding

_SECONDS_TO_PREPARE = 120.0
_SECONDS_TO_ASSEMBLE = 400.0
_SECONDS_TO_RUN = 40.0


@dataclass(frozen=True)
class _Ready:
    """Program number `at`, compiled, and what the interpreter makes of it."""

    at: int
    found: Compiled
    meant: Outcome
    milliseconds: float

    def result(self, finding: Finding | None, *, fatal: bool = False) -> Result:
        case = self.found.case
        refusals = tuple(self.found.refusals)
        return Result(self.at, finding, refusals, self.milliseconds, case.is_newest, fatal)


def check_programs(programs: Sequence[Program], settings: Settings) -> Iterator[Message]:
    """Runs programs on interpreter and current GPU, and says what differs. It must run in a
    process of its own: behind the first error on the GPU it stops (`run_apart`)."""
    gc.disable()  # it would look at all programs again and again
    ready: list[_Ready] = []
    for at, program in enumerate(programs):
        yield Stage("compiling and interpreting", at, _SECONDS_TO_PREPARE)
        try:
            ready.append(_prepared(at, program, settings))
        except CheckError as error:
            yield Result(at, error.finding)
    if not ready:
        return
    target = current_device().target
    yield Stage("assembling", ready[0].at, _SECONDS_TO_ASSEMBLE)
    pairs = [(each, each.found.lowered[target]) for each in ready]
    opt_level = settings.opt_level
    try:
        cubin = assembled([lowered for _, lowered in pairs], opt_level).cubin
    except AssemblerError:
        wrong = dict(rejected([lowered for _, lowered in pairs], opt_level))
        for number, message in wrong.items():
            finding = Finding("assembler", f"{target}: {message}", ready[number].found.case)
            yield ready[number].result(finding)
        pairs = [pair for number, pair in enumerate(pairs) if number not in wrong]
        if not pairs:
            return
        cubin = assembled([lowered for _, lowered in pairs], opt_level).cubin
    yield from _launched(pairs, cubin)


def _prepared(at: int, program: Program, settings: Settings) -> _Ready:
    began = time.perf_counter()
    if isinstance(program, Case):
        found = compiled_as_it_is(program)
    else:
        drawn = generate(program)
        found = compiled(drawn, settings.targets_of(drawn.case))
    meant = interpret(found.case, found.case.function)
    return _Ready(at, found, meant, 1e3 * (time.perf_counter() - began))


def _launched(pairs: Sequence[tuple[_Ready, Lowered]], cubin: bytes) -> Iterator[Message]:
    library: Library | None = None
    for each, lowered in pairs:
        case = each.found.case
        yield Stage("running", each.at, _SECONDS_TO_RUN, case)
        try:
            library = library or Library(current_device(), cubin)
            results = _launch(case, lowered, library)
        except VMError as error:
            # Nothing more runs in this process's context.
            yield each.result(Finding("error on cuda", error.message, case), fatal=True)
            return
        wrong = disagreement(case, each.meant, results, "GPU")
        yield each.result(Finding("mismatch on cuda", wrong, case) if wrong else None)


def _launch(case: Case, lowered: Lowered, library: Library) -> Outcome:
    signature = Signature(case.function)
    kernel = LoadedKernel(
        current_device(), library, lowered.kernel_name, lowered.num_threads,
        lowered.shared_bytes, [*signature.codes(), *[CODE] * len(lowered.tensor_maps)],
    )  # fmt: skip
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
