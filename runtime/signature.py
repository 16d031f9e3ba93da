"""A kernel's parameters as a launch sees them: what each takes, and what the arguments imply.

`Signature.bind` checks the arguments of one launch against the function: their number, dtypes,
sizes (every global view of a parameter must lie inside its array), density, the promises of
`assume`, and the grid they give. Executors then pack `Bound.arguments` in their own way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from tileloom.vm.diagnostics import LaunchError, LimitError, VMError, call_location, quote
from tileloom.vm.dtypes import Dtype
from tileloom.vm.expr import references
from tileloom.vm.instructions.dependencies import WaitDependencies
from tileloom.vm.interpreter.launch import check_clusters
from tileloom.vm.ir import Function, Value
from tileloom.vm.ranges import is_far, last_element
from tileloom.vm.text.printer import print_expr
from tileloom.vm.types import PointerType, ScalarType

from .arrays import Array, accepts, describe, packed_nbytes, storage
from .errors import AlignmentError, ArgumentError
from .facts import View, evaluate, facts_of

Number: TypeAlias = int | float
Argument: TypeAlias = Array | Number | None

MAX_GRID = (2**31 - 1, 65535, 65535)
_FLOAT_CODES = {"f16": "e", "bf16": "H", "f32": "f", "tf32": "f", "f64": "d"}
_INTEGER_CODES = {8: "b", 16: "h", 32: "i", 64: "q"}


@dataclass(frozen=True)
class Strided:
    """An argument whose kernel knows its strides: the array needn't be dense, and its extent isn't
    checked."""

    array: object


@dataclass(frozen=True)
class Bound:
    """The arguments of one launch, checked. `arguments` holds an `Array`, a number, or None (a null
    pointer) each; `grid` has a zero where there is nothing to do; views that reach beyond 32 bits
    make a launch `is_far` (`tileloom.vm.ranges`)."""

    arguments: tuple[Argument, ...]
    grid: tuple[int, int, int]
    is_far: bool = False

    @property
    def arrays(self) -> Iterator[tuple[int, Array]]:
        """The arrays among the arguments, with their numbers."""
        return ((i, a) for i, a in enumerate(self.arguments) if isinstance(a, Array))

    @property
    def is_empty(self) -> bool:
        """True if the grid has no block."""
        return 0 in self.grid


class Signature:
    """The parameters of a function, and what its text says of them."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.params = function.params
        self.facts = facts_of(function)
        scalars = (i for i, p in enumerate(self.params) if isinstance(p.type, ScalarType))
        self.scalars = frozenset(scalars)

    def codes(self) -> list[str]:
        """The `struct` code of each parameter, as the generated code reads it."""
        return [_code(p) for p in self.params]

    def is_packed_specially(self, index: int) -> bool:
        """True if a parameter's value isn't what its `struct` code takes: bf16 has none, so its
        code goes as an integer."""
        type_ = self.params[index].type
        return isinstance(type_, ScalarType) and type_.dtype.name == "bf16"

    def pack(self, index: int, value: Number) -> Number:
        """A scalar as its `struct` code takes it."""
        type_ = self.params[index].type
        assert isinstance(type_, ScalarType)
        return int(type_.dtype.encode(value)) if self.is_packed_specially(index) else value

    def bind(self, arguments: Sequence[object]) -> Bound:
        """The arguments, checked.

        Raises:
            LaunchError: an argument, or their number, doesn't fit. Its place is the user's call.
            LimitError: the grid or a view is larger than a launch can have.
        """
        try:
            return self._bind(arguments)
        except VMError as error:
            if error.location is None:
                error.location = call_location()
            raise

    def _bind(self, arguments: Sequence[object]) -> Bound:
        if len(arguments) != len(self.params):
            names = ", ".join(p.name for p in self.params)
            raise LaunchError(
                f"`{self.function.name}` takes {len(self.params)} arguments, "
                f"{len(arguments)} were given",
                hint=f"in this order: {names}" if names else None,
            )
        loose = {i for i, a in enumerate(arguments) if isinstance(a, Strided)}
        bound = [self._bind_one(i, a) for i, a in enumerate(arguments)]
        values = dict(zip(self.params, bound, strict=True))
        for assumption in self.facts.assumptions:
            if not evaluate(assumption.condition, values):
                raise LaunchError(
                    f"`{self.function.name}` was built for "
                    f"`{print_expr(assumption.condition)}`, which doesn't hold",
                    notes=[("it is assumed here", assumption.location)],
                    hint=_values_text(assumption.condition, values),
                )
        for view in self.facts.views:
            if view.param not in loose:
                self._check_view(view, values)
        return Bound(tuple(bound), self._grid(values), self._is_far(values))

    def _bind_one(self, index: int, argument: object) -> Argument:
        param = self.params[index]
        loose = isinstance(argument, Strided)
        if isinstance(argument, Strided):
            argument = argument.array
        if isinstance(param.type, PointerType):
            return self._array(index, param.type.element, argument, loose)
        assert isinstance(param.type, ScalarType)
        return _number(param, param.type.dtype, argument)

    def _array(self, index: int, element: Dtype, argument: object, loose: bool) -> Array | None:
        if argument is None:
            return None  # a null pointer: a kernel may take one for what it doesn't use
        param = self.params[index]
        try:
            array = describe(argument)
        except VMError as error:
            error.message = f"`{param.name}`: {error.message}"
            raise
        if array is None:
            raise _mistake(
                param, f"`{param.name}` is a pointer to `{element.name}`, not {_kind(argument)}",
                "pass a numpy array, or torch's or cupy's",
            )  # fmt: skip
        if not accepts(element, array.dtype):
            raise _mistake(
                param, f"`{param.name}` takes `{element.name}`, but the array is `{array.dtype}`",
                _dtype_hint(element),
            )  # fmt: skip
        if not (loose or array.is_dense):
            raise _mistake(
                param, f"`{param.name}` must be dense, but an array of shape "
                f"{list(array.shape)} has strides {list(array.strides)}",
                "pass a contiguous copy; a kernel that knows strides takes `Strided(array)`",
            )  # fmt: skip
        if index in self.facts.written and not array.writable:
            raise _mistake(param, f"`{param.name}` is written, but the array is read-only")
        return array

    def _is_far(self, values: Mapping[Value, Any]) -> bool:
        return any(
            is_far(
                *([evaluate(e, values) for e in exprs] for exprs in (v.type.shape, v.type.strides))
            )
            for v in self.facts.views
            if values[self.params[v.param]] is not None
        )

    def _check_view(self, view: View, values: Mapping[Value, Any]) -> None:
        shape = [evaluate(e, values) for e in view.type.shape]
        strides = [evaluate(e, values) for e in view.type.strides]
        param = self.params[view.param]
        array = values[param]
        last = last_element(shape, strides)
        if array is None or last < 0:
            return  # nothing is inside it, so nothing is read or written
        what = f"its view `{view.type.dtype.name}` {list(shape)}"
        needed = packed_nbytes(view.type.dtype, int(last) + 1)
        if needed > array.nbytes:
            raise _mistake(
                param, f"`{param.name}` is too small: {what} takes {needed} bytes, "
                f"the array has {array.nbytes}",
            )  # fmt: skip

    def _grid(self, values: Mapping[Value, Any]) -> tuple[int, int, int]:
        extents = [int(evaluate(e, values)) for e in self.function.grid]
        extents += [1] * (3 - len(extents))
        for axis, extent, limit in zip("xyz", extents, MAX_GRID, strict=True):
            if not 0 <= extent <= limit:
                raise LimitError(
                    f"the grid of `{self.function.name}` has {extent} blocks along {axis}, "
                    f"not 0 to {limit}",
                    notes=[("it is defined here", self.function.location)],
                )
        check_clusters(self.function, extents)
        return extents[0], extents[1], extents[2]

    def check_programmatic(self) -> None:
        """Raises LaunchError if the function doesn't wait for the launch before it, as one that
        starts early must, in every block."""
        if any(isinstance(statement, WaitDependencies) for statement in self.function.body):
            return
        raise LaunchError(
            f"`{self.function.name}` can't start early: it doesn't wait for the launch before it",
            call_location(),
            notes=[("it is defined here", self.function.location)],
            hint="call `wait_dependencies` (outside every branch and loop) before it touches what "
            "another launch reads or writes",
        )

    def check_alignment(self, index: int, address: int) -> None:
        """Raises AlignmentError if an address isn't what the views of a parameter promise."""
        alignment = self.facts.alignments.get(index, 1)
        if address % alignment == 0:
            return
        param = self.params[index]
        error = AlignmentError(
            f"`{param.name}` must start at a multiple of {alignment} bytes, but {address:#x} is "
            f"{address % alignment} past one",
            call_location(),
            notes=[(f"`{param.name}` is declared here", param.location)],
            hint="pass a copy, or say `alignment=` where the kernel makes its view",
        )
        raise error


def _code(param: Value) -> str:
    if isinstance(param.type, PointerType):
        return "Q"
    assert isinstance(param.type, ScalarType)
    element = param.type.dtype
    if element.name in _FLOAT_CODES:
        return _FLOAT_CODES[element.name]
    code = _INTEGER_CODES.get(8 if element.kind == "bool" else element.bits)
    if code is None or element.kind not in ("int", "uint", "bool"):
        raise LaunchError(f"`{param.name}` is a scalar of `{element.name}`: no launch passes one")
    return code if element.kind == "int" else code.upper()


def _number(param: Value, element: Dtype, argument: object) -> Number:
    if isinstance(argument, np.generic):
        argument = argument.item()
    if element.is_float:
        if isinstance(argument, int | float):
            return float(argument)
    elif isinstance(argument, int):
        low, high = int(element.min_finite), int(element.max_finite)
        if low <= argument <= high:
            return int(argument)
        raise _mistake(
            param, f"`{param.name}` is {argument}, which no `{element.name}` is: {low} to {high}"
        )
    raise _mistake(
        param, f"`{param.name}` takes a number of `{element.name}`, not {_kind(argument)}"
    )


def _kind(argument: object) -> str:
    if argument is None or isinstance(argument, bool | int | float):
        return quote(argument)
    return f"a `{type(argument).__name__}`"


def _dtype_hint(element: Dtype) -> str:
    if element.name == "bf16":
        return "bf16 is torch's bfloat16, or its codes in an array of uint16"
    if element.bits < 8 or (element.numpy is None and element.name != "tf32"):
        return f"`{element.name}` travels as packed bytes, in an array of uint8"
    return f"convert it: `x.astype(numpy.{storage(element).name})`"


def _values_text(expr: Any, values: Mapping[Value, Any]) -> str:
    return ", ".join(f"`{v.name}` is {values[v]}" for v in dict.fromkeys(references(expr)))


def _mistake(param: Value, message: str, hint: str | None = None) -> ArgumentError:
    place = param.location
    notes = [(f"`{param.name}` is declared here", place)] if place is not None else []
    return ArgumentError(message, notes=notes, hint=hint)
