"""Compilations are counted, and forbidden where they would come too late."""

from __future__ import annotations

import threading
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest

from tileloom.runtime import compilation_counts, compile_kernel, no_jit, run_function
from tileloom.runtime.assemblers import Assembler
from tileloom.runtime.errors import JitError

from .kernels import add_one, unaligned


def counted(before: Any) -> tuple[int, ...]:
    """(compiled, assembled, cached, late) since `before`."""
    pairs = zip(astuple(compilation_counts()), astuple(before), strict=True)
    return tuple(now - then for now, then in pairs)


def test_compiling_is_counted(assembler: Assembler) -> None:
    before = compilation_counts()
    kernel = compile_kernel(add_one.trace())
    assert counted(before) == (1, 0, 0, 0)
    assert kernel.cubin and kernel.cubin
    assert counted(before) == (1, 1, 0, 0)
    assert compile_kernel(add_one.trace()).cubin
    assert counted(before) == (1, 1, 1, 0)


def test_a_launch_that_compiles_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILELOOM_CACHE", "0")
    function, x = unaligned.trace(), np.zeros(32, np.uint8)
    before = compilation_counts()
    run_function(function, (x,), device="interpreter")
    assert counted(before) == (0, 0, 0, 0)
    for _ in range(2):
        run_function(function, (x,), device="emulator")
    assert counted(before) == (1, 0, 0, 1)
    kernel = compile_kernel(function)
    kernel(x, device="emulator")
    assert counted(before) == (2, 0, 0, 1)


def test_no_jit_names_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILELOOM_CACHE", "0")
    x, function = np.zeros(32, np.uint8), unaligned.trace()
    with pytest.raises(JitError) as caught, no_jit():
        run_function(function, (x,), device="emulator")
    error = caught.value
    assert error.message == "`unaligned` would be compiled for `sm_90a` inside `no_jit()`"
    assert error.hint == "launch it once before, or call what its `compile` gave"
    assert error.location is not None and "run_function" in (error.location.source_line() or "")
    ((text, place),) = error.notes
    assert text == "the guard begins here"
    assert place is not None and "no_jit()" in (place.source_line() or "")
    run_function(function, (x,), device="emulator")
    with no_jit():
        run_function(function, (x,), device="emulator")
        unaligned(x, device="interpreter")


def test_no_jit_forbids_assembling(assembler: Assembler) -> None:
    kernel = compile_kernel(add_one.trace())
    with pytest.raises(JitError, match="`add_one` would be assembled for `sm_90a`"), no_jit():
        _ = kernel.cubin
    assert kernel.cubin
    with no_jit():
        assert kernel.cubin


def test_no_jit_and_the_disk_cache(assembler: Assembler) -> None:
    assert compile_kernel(add_one.trace()).cubin
    with no_jit():
        assert compile_kernel(add_one.trace()).cubin
    with pytest.raises(JitError) as caught, no_jit(allow_cached=False):
        compile_kernel(add_one.trace())
    assert caught.value.message == (
        "`add_one` would be read from the disk cache for `sm_90a` inside `no_jit()`"
    )


def test_guards_nest_and_end_with_their_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILELOOM_CACHE", "0")
    function, failures = add_one.trace(), []

    def compile_elsewhere() -> None:
        try:
            compile_kernel(function)
        except JitError as error:
            failures.append(error)

    with no_jit():
        with pytest.raises(JitError), no_jit():
            compile_kernel(function)
        with pytest.raises(JitError):
            compile_kernel(function)
        thread = threading.Thread(target=compile_elsewhere)
        thread.start()
        thread.join()
    assert failures == []
    compile_kernel(function)
