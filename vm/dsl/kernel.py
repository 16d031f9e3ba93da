"""`@kernel`: a Python function traced into a VM program."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, ClassVar

from tileloom.layouts.tracebacks import user_code

from ..diagnostics import (
    Location,
    UsageError,
    VMNameError,
    VMTypeError,
    did_you_mean,
    user_errors,
)
from ..dtypes import Dtype, DtypeError, dtype
from ..ir import Function, Value
from ..types import PointerType, ScalarType, Type
from ..verifier import verify
from .trace import Trace, here, tracing
from .values import wrap


class PointerSpec:
    """`Ptr[f16]`: the annotation of a pointer parameter."""

    def __init__(self, element: Dtype | str) -> None:
        self.element = element


class _PointerMaker(type):
    def __getitem__(cls, element: Dtype | str) -> Any:
        return PointerSpec(element)


class Ptr(metaclass=_PointerMaker):
    """`x: Ptr[f16]` annotates a pointer to f16; `Ptr["T"]` takes the dtype from the constant T."""


class Kernel:
    """A traced function. Parameters annotated with a dtype or `Ptr[...]` are given at launch; all
    others are constants of the compilation, given by name.

    `kernel.trace(**constants)` is the VM program, `kernel.compile(target=..., **constants)` a
    compiled kernel, `kernel(*arguments, device=..., **constants)` runs it.
    """

    # Filled by the runtime: `vm` can't import what stands above it.
    compiler: ClassVar[Callable[..., Any] | None] = None

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self.name = function.__name__
        update_wrapper(self, function)
        self.location = _definition(function)
        self.signature = inspect.signature(function, eval_str=True)

    def __repr__(self) -> str:
        return f"<kernel {self.name}>"

    @property
    def constants(self) -> list[str]:
        """The names of the compile-time constants."""
        return [p.name for p in self.signature.parameters.values() if not _is_runtime(p)]

    @user_errors()
    def trace(self, **constants: Any) -> Function:
        """Runs the body once and gives the VM program.

        Raises:
            VMError: the body, or a constant that is missing or unknown.
        """
        self._check_constants(constants)
        constants = self._defaults() | constants
        params, arguments = [], {}
        for parameter in self.signature.parameters.values():
            if _is_runtime(parameter):
                type_ = self._type(parameter.annotation, constants)
                value = Value(parameter.name, type_, self.location)
                params.append(value)
                arguments[parameter.name] = wrap(value)
            else:
                arguments[parameter.name] = constants[parameter.name]
        trace = Trace(self.name, tuple(params), self.location)
        with tracing(trace), user_code():
            given = self.function(**arguments)
        if given is not None:
            raise VMTypeError(
                f"`{self.name}` returns a value, but a kernel gives none",
                self.location,
                hint="write results to memory: `vm.store(view, offsets, value)`",
            )
        function = trace.finish()
        verify(function, typed=True)
        return function

    def _type(self, annotation: Any, constants: dict[str, Any]) -> Type:
        if isinstance(annotation, PointerSpec):
            element = annotation.element
            if isinstance(element, str):
                element = constants.get(element, element)
            return PointerType(self._dtype(element))
        assert isinstance(annotation, Dtype)
        return ScalarType(annotation)

    def _defaults(self) -> dict[str, Any]:
        parameters = self.signature.parameters
        return {n: parameters[n].default for n in self.constants}

    def _dtype(self, name: Any) -> Dtype:
        try:
            return dtype(name) if isinstance(name, str) else name
        except DtypeError as error:
            raise VMNameError(str(error), here(), notes=[("the kernel", self.location)]) from None

    def _check_constants(self, given: dict[str, Any]) -> None:
        known = self.constants
        for name in given:
            if name not in known:
                raise VMNameError(
                    f"`{self.name}` has no constant `{name}`",
                    here(),
                    hint=did_you_mean(name, known)
                    or f"its constants: {', '.join(known) or 'none'}",
                )
        for name in known:
            missing = self.signature.parameters[name].default is inspect.Parameter.empty
            if missing and name not in given:
                raise VMTypeError(
                    f"`{self.name}` needs the constant `{name}`",
                    here(),
                    notes=[("defined here", self.location)],
                    hint=f"pass `{name}=...`, or annotate it as a run-time parameter "
                    "(`: vm.i32`, `: vm.Ptr[vm.f32]`)",
                )

    @user_errors()
    def compile(self, target: str = "sm_90a", **constants: Any) -> Any:
        """The kernel compiled for a target: `.text()`, `.ptx`, `.cubin`, `.resources`, callable."""
        from ..executors import compiler

        return compiler()(self.trace(**constants), target=target)

    @user_errors()
    def override(self, *, ptx: Any, target: str = "sm_90a", **constants: Any) -> Any:
        """The kernel compiled for a target, with edited PTX in place of its own: callable."""
        return self.compile(target, **constants).override(ptx=ptx)

    @user_errors()
    def __call__(self, *arguments: Any, device: str | None = None, **constants: Any) -> Any:
        """Runs the kernel on numpy, torch or cupy arrays and numbers, in the parameters' order."""
        from ..executors import launch

        runtime = [p.name for p in self.signature.parameters.values() if _is_runtime(p)]
        if len(arguments) != len(runtime):
            raise UsageError(
                f"`{self.name}` takes {len(runtime)} arguments, {len(arguments)} were given",
                here(),
                hint=f"in this order: {', '.join(runtime)}",
            )
        return launch(self, arguments, device, constants)


def _is_runtime(parameter: inspect.Parameter) -> bool:
    return isinstance(parameter.annotation, PointerSpec | Dtype)


def _definition(function: Callable[..., None]) -> Location:
    code = function.__code__
    column = 1
    return Location(code.co_filename, code.co_firstlineno, column, column + 1)


def kernel(function: Callable[..., None]) -> Kernel:
    """Makes a kernel of a function: its body is traced when constants are known.

    Raises:
        VMError: an annotation that is no type of the VM.
    """
    return Kernel(function)
