"""Compilations: counted, and forbidden where a program must not wait for one.

    with no_jit():
        model(x)                     # a kernel that isn't compiled yet: JitError, naming it

    compilation_counts().late        # compilations that launches had to wait for

A compilation is a run of our compiler or of the assembler. One is *late* if a launch needed it,
rather than a call of `compile`.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from tileloom.vm.diagnostics import Location, call_location, user_errors

from .errors import JitError


@dataclass(frozen=True)
class CompilationCounts:
    """How often, since the process began, the compiler and the assembler ran, how many kernels
    came from the disk cache, and how many runs of either a launch had to wait for."""

    compiled: int
    assembled: int
    cached: int
    late: int


@dataclass(frozen=True)
class _Guard:
    place: Location
    allow_cached: bool


_guard: ContextVar[_Guard | None] = ContextVar("tileloom_no_jit", default=None)
_in_launch: ContextVar[bool] = ContextVar("tileloom_in_launch", default=False)
_counts: Counter[str] = Counter()
_lock = threading.Lock()


@contextmanager
def no_jit(*, allow_cached: bool = True) -> Iterator[None]:
    """Forbids compilations in its body, in this thread.

    `allow_cached` lets kernels come from the disk cache, which takes about a millisecond; False
    forbids that too, so that the body passes only if everything is in memory.

    Raises:
        JitError: in the body, when a kernel would have to be compiled.
    """
    token = _guard.set(_Guard(call_location(), allow_cached))
    try:
        with user_errors():
            yield
    finally:
        _guard.reset(token)


def compilation_counts() -> CompilationCounts:
    """What has been compiled so far in this process."""
    with _lock:
        return CompilationCounts(*(_counts[n] for n in ("compiled", "assembled", "cached", "late")))


@contextmanager
def launching() -> Iterator[None]:
    """Marks what a launch needs before it can start: compilations inside are late."""
    token = _in_launch.set(True)
    try:
        yield
    finally:
        _in_launch.reset(token)


def note_run(step: str, kernel: str, target: str) -> None:
    """Counts a run of the compiler ("compiled") or the assembler ("assembled") about to start.

    Raises:
        JitError: they are forbidden here.
    """
    guard = _guard.get()
    if guard is not None:
        raise _forbidden(f"`{kernel}` would be {step} for `{target}`", guard)
    _count(step, *(["late"] if _in_launch.get() else []))


def note_hit(kernel: str, target: str) -> None:
    """Counts a kernel found in the disk cache.

    Raises:
        JitError: that is forbidden here.
    """
    guard = _guard.get()
    if guard is not None and not guard.allow_cached:
        raise _forbidden(f"`{kernel}` would be read from the disk cache for `{target}`", guard)
    _count("cached")


def _count(*names: str) -> None:
    with _lock:
        _counts.update(names)


def _forbidden(what: str, guard: _Guard) -> JitError:
    return JitError(
        f"{what} inside `no_jit()`",
        call_location(),
        notes=[("the guard begins here", guard.place)],
        hint="launch it once before, or call what its `compile` gave",
    )
