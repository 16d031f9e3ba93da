"""The tracer: the body of a kernel runs once, and what it calls is written down as IR."""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import CodeType, FrameType
from typing import Any, NoReturn

from ..diagnostics import Location, UsageError, VMSyntaxError, at_location, frame_location
from ..diagnostics.location import is_machinery
from ..expr import Const, Expr
from ..instruction import Instruction
from ..ir import Block, Function, Statement, Value
from ..types import Type
from ..verifier.attributes import check_attributes

_current: ContextVar[Trace | None] = ContextVar("tileloom_trace", default=None)


class Trace:
    """A function being written: its parameters, launch shape, and the blocks still open."""

    def __init__(self, name: str, params: tuple[Value, ...], location: Location | None) -> None:
        self.name, self.params, self.location = name, params, location
        self.grid: tuple[Expr, ...] = (Const(1),)
        self.num_warps, self.min_blocks = 1, 0
        self.launched: Location | None = None
        self.cluster: tuple[int, ...] = ()
        self.blocks: list[list[Statement]] = [[]]
        self._open: list[Location] = []
        self._names: dict[str, int] = {}
        for param in params:
            self.unique(param.name)

    def unique(self, name: str) -> str:
        """`name`, or `name_2`, ... if it is taken."""
        while True:
            count = self._names[name] = self._names.get(name, 0) + 1
            if count == 1:
                return name
            name = f"{name}_{count}"

    def value(self, name: str, type_: Type, location: Location | None) -> Value:
        """A new value of the function."""
        return Value(self.unique(name), type_, location)

    def append(self, statement: Statement) -> None:
        self.blocks[-1].append(statement)

    def open(self, location: Location) -> None:
        """Statements from here on go to a block of their own."""
        self.blocks.append([])
        self._open.append(location)

    def close(self, location: Location) -> Block:
        """Ends the block opened at `location` and gives its statements.

        Raises:
            VMSyntaxError: a loop inside it was left by Python's own `break`.
        """
        if self._open and self._open[-1] is not location:
            self._left(self._open[-1])
        self._open.pop()
        return tuple(self.blocks.pop())

    def _left(self, location: Location) -> NoReturn:
        raise VMSyntaxError(
            "python's `break` or `return` left a traced loop",
            location,
            hint="write `vm.break_()` or `vm.return_()`; traced loops run once in Python",
        )

    def finish(self) -> Function:
        """The traced function."""
        if self._open:
            self._left(self._open[-1])
        body: Block = tuple(self.blocks[0])
        return Function(
            self.name,
            self.params,
            self.num_warps,
            self.grid,
            body,
            min_blocks=self.min_blocks,
            cluster=self.cluster,
            location=self.location,
        )


def current() -> Trace:
    """The trace in progress.

    Raises:
        UsageError: there is none: a VM operation outside a kernel.
    """
    trace = _current.get()
    if trace is None:
        raise UsageError(
            "a vm operation outside a kernel",
            frame_location(user_frame()),
            hint="call it in a function decorated with `@vm.kernel`",
        )
    return trace


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Makes `trace` the one that operations are written to."""
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)


def user_frame() -> FrameType:
    """The innermost frame outside the machinery: the user's."""
    frame = sys._getframe(1)
    while is_machinery(frame.f_globals.get("__name__", "")) and frame.f_back is not None:
        frame = frame.f_back
    return frame


def here() -> Location:
    """The place in the user's source that is being traced."""
    return frame_location(user_frame())


def emit(cls: type[Instruction], annotation: Type | None = None, **fields: Any) -> Value | None:
    """Appends an instruction and gives its result; the user's variable name becomes the value's.

    Raises:
        VMError: the operands don't fit.
    """
    trace, frame = current(), user_frame()
    location = frame_location(frame)
    made = cls(**fields, location=location)
    check_attributes(made)
    with at_location(location, f"`{cls.name}`: "):
        type_ = made.result_type(annotation)
    trace.append(made)
    if type_ is None or cls.has_result is False:
        return None
    name = _assigned_name(frame.f_code, frame.f_lasti) or cls.name
    value = trace.value(name, type_, location)
    made.complete(value, is_implied=annotation is None)
    return value


def assigned_name() -> str | None:
    """The user's variable that the expression being traced is stored in, if it is."""
    frame = user_frame()
    return _assigned_name(frame.f_code, frame.f_lasti)


_MAX_CODES = 4096
# By identity, since hashing code takes long: the entry keeps the code.
_assigned: dict[int, tuple[CodeType, dict[int, str]]] = {}


def _assigned_name(code: CodeType, offset: int) -> str | None:
    found = _assigned.get(id(code))
    if found is None:
        if len(_assigned) >= _MAX_CODES:
            _assigned.clear()
        found = _assigned[id(code)] = (code, _assignments(code))
    return found[1].get(offset)


def _assignments(code: CodeType) -> dict[int, str]:
    """For each bytecode offset whose result is stored at once in a variable, that variable, if
    the text form could name it so."""
    names: dict[int, str] = {}
    previous: dis.Instruction | None = None
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("CACHE", "EXTENDED_ARG"):
            continue
        stored = instruction.opname in ("STORE_FAST", "STORE_NAME", "STORE_DEREF", "STORE_GLOBAL")
        name = instruction.argval if stored else None
        if previous and isinstance(name, str) and name.isidentifier() and name.isascii():
            # A frame inside an inlined call stands on one of the call's cache entries.
            for offset in range(previous.offset, instruction.offset, 2):
                names[offset] = name
        previous = instruction
    return names
