"""A kernel's parameters as a launch sees them: what each takes, and what the arguments imply.

`Signature.bind` checks the arguments of one launch against the function: their number, dtypes,
sizes (every global view of a parameter must lie inside its array), density, and the grid they
give. Executors then pack `Bound.arguments` in their own way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tileloom.vm.diagnostics import (
    LaunchError,
    LimitError,
    Location,
    VMError,
    caller_location,
    quote,
)
from tileloom.vm.dtypes import Dtype
from tileloom.vm.expr import Binary, Const, Expr, Ref, Select, Unary, apply_binary
from tileloom.vm.instruction import Effect, Instruction
from tileloom.vm.ir import Function, Value, instructions
from tileloom.vm.types import GlobalType, PointerType, ScalarType

from .arrays import Array, accepts, describe, packed_nbytes, storage
from .errors import AlignmentError, ArgumentError

Number = int | float
MAX_GRID = (2**31 - 1, 65535, 65535)
MAX_OFFSET = 2**31 - 1
_FLOAT_CODES = {"f16": "e", "bf16": "H", "f32": "f", "tf32": "f", "f64": "d"}
_INTEGER_CODES = {8: "b", 16: "h", 32: "i", 64: "q"}


@dataclass(frozen=True)
class Strided:
    """An argument whose kernel knows its strides: the array needn't be dense, and its extent isn't
    checked."""

    array: object


@dataclass(frozen=True)
class Bound:
    """The arguments of one launch, checked. `arguments` holds an `Array` or a number each; `grid`
    has a zero where there is nothing to do."""

    arguments: tuple[Array | Number, ...]
    grid: tuple[int, int, int]

    @property
    def arrays(self) -> Iterator[Array]:
        """The arrays among the arguments."""
        return (a for a in self.arguments if isinstance(a, Array))

    @property
    def is_empty(self) -> bool:
        """True if the grid has no block."""
        return 0 in self.grid


class Signature:
    """The parameters of a function. `written` and `sized` hold numbers of parameters."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.params = function.params
        self.origins = dict(_origins(function))
        self.written = frozenset(_written(function, self.origins))
        self._views = list(_checked_views(function, self.origins))
        needed = {v for e in function.grid for v in _references(e)}
        for _, view in self._views:
            needed |= {v for e in (*view.shape, *view.strides) for v in _references(e)}
        # Only these decide the grid and the sizes: a plan of a launch may be kept by their values.
        self.sizing = tuple(i for i, p in enumerate(self.params) if p in needed)
        self.pointers = tuple(
            i for i, p in enumerate(self.params) if isinstance(p.type, PointerType)
        )

    def codes(self) -> list[str]:
        """The `struct` code of each parameter, as the generated code reads it."""
        return [self._code(p) for p in self.params]

    def _code(self, param: Value) -> str:
        if isinstance(param.type, PointerType):
            return "Q"
        assert isinstance(param.type, ScalarType)
        element = param.type.dtype
        if element.name in _FLOAT_CODES:
            return _FLOAT_CODES[element.name]
        code = _INTEGER_CODES.get(8 if element.kind == "bool" else element.bits)
        if code is None or element.kind not in ("int", "uint", "bool"):
            raise LaunchError(
                f"`{param.name}` is a scalar of `{element.name}`: no kernel takes one"
            )
        return code if element.kind == "int" else code.upper()

    def bind(self, arguments: Sequence[object]) -> Bound:
        """The arguments, checked.

        Raises:
            LaunchError: an argument, or their number, doesn't fit. Its place is the user's call.
            LimitError: the grid is larger than a launch can be.
        """
        try:
            return self._bind(arguments)
        except VMError as error:
            if error.location is None:
                error.location = caller_location()
            raise

    def _bind(self, arguments: Sequence[object]) -> Bound:
        if len(arguments) != len(self.params):
            names = ", ".join(p.name for p in self.params)
            raise LaunchError(
                f"`{self.function.name}` takes {len(self.params)} arguments, "
                f"{len(arguments)} were given",
                hint=f"in this order: {names}" if names else None,
            )
        loose = set()
        bound: list[Array | Number] = []
        for index, (param, argument) in enumerate(zip(self.params, arguments, strict=True)):
            if isinstance(argument, Strided):
                loose.add(index)
                argument = argument.array
            if isinstance(param.type, PointerType):
                bound.append(self._array(index, param.type.element, argument, index in loose))
            else:
                assert isinstance(param.type, ScalarType)
                bound.append(_number(param, param.type.dtype, argument))
        values = dict(zip(self.params, bound, strict=True))
        for index, view in self._views:
            if index not in loose:
                self._check_view(index, view, values)
        return Bound(tuple(bound), self._grid(values))

    def _array(self, index: int, element: Dtype, argument: object, loose: bool) -> Array:
        param = self.params[index]
        array = describe(argument)
        if array is None:
            raise _mistake(
                ArgumentError, param,
                f"`{param.name}` is a pointer to `{element.name}`, but {_kind(argument)} was given",
                hint="pass a numpy array, or torch's or cupy's",
            )  # fmt: skip
        if not accepts(element, array.dtype):
            raise _mistake(
                ArgumentError, param,
                f"`{param.name}` takes `{element.name}`, but the array is `{array.dtype}`",
                hint=_dtype_hint(element, array.dtype),
            )  # fmt: skip
        if not (loose or array.is_dense):
            raise _mistake(
                ArgumentError, param,
                f"`{param.name}` must be dense, but an array of shape {list(array.shape)} has "
                f"strides {list(array.strides)}",
                hint="pass a contiguous copy, or `Strided(array)` to a kernel that knows the strides",
            )  # fmt: skip
        if index in self.written and not array.writable:
            raise _mistake(
                ArgumentError, param, f"`{param.name}` is written, but the array is read-only"
            )
        return array

    def _check_view(self, index: int, view: GlobalType, values: Mapping[Value, Any]) -> None:
        shape = [evaluate(e, values) for e in view.shape]
        strides = [evaluate(e, values) for e in view.strides]
        if min(shape, default=1) <= 0 or min(strides, default=0) < 0:
            return  # nothing is inside it, so nothing is read or written
        last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        array, param = values[self.params[index]], self.params[index]
        needed = packed_nbytes(view.dtype, int(last) + 1)
        if needed > array.nbytes:
            raise _mistake(
                ArgumentError, param,
                f"`{param.name}` is too small: its view `{view.dtype.name}` {list(shape)} takes "
                f"{needed} bytes, the array has {array.nbytes}",
            )  # fmt: skip

    def _grid(self, values: Mapping[Value, Any]) -> tuple[int, int, int]:
        extents = [int(evaluate(e, values)) for e in self.function.grid]
        extents += [1] * (3 - len(extents))
        for axis, extent, limit in zip("xyz", extents, MAX_GRID, strict=True):
            if not 0 <= extent <= limit:
                raise LimitError(
                    f"the grid of `{self.function.name}` has {extent} blocks along {axis}, "
                    f"not 0 to {limit}",
                    notes=[("the grid is given here", self.function.location)],
                )
        return extents[0], extents[1], extents[2]


def check_alignment(param: Value, array: Array, alignment: int) -> None:
    """Raises AlignmentError if the array's address is no multiple of `alignment` bytes."""
    if array.address % alignment and array.size:
        raise _mistake(
            AlignmentError, param,
            f"`{param.name}` must start at a multiple of {alignment} bytes, but its address "
            f"{array.address:#x} is {array.address % alignment} past one",
            hint="pass a copy, or a slice that starts at such an element",
        )  # fmt: skip


def evaluate(expr: Expr, values: Mapping[Value, Any]) -> Any:
    """The value of an expression over the parameters' values.

    Raises:
        KeyError: it reads something else.
        LaunchError: it divides by zero.
    """
    match expr:
        case Const(value):
            return value
        case Ref(value):
            return values[value]
        case Unary("-", operand):
            return -evaluate(operand, values)
        case Unary(_, operand):
            return not evaluate(operand, values)
        case Binary(op, lhs, rhs):
            try:
                return apply_binary(op, evaluate(lhs, values), evaluate(rhs, values))
            except ZeroDivisionError:
                raise LaunchError("the grid or a view's shape divides by zero") from None
        case Select(condition, then, otherwise):
            chosen = then if evaluate(condition, values) else otherwise
            return evaluate(chosen, values)
    raise KeyError(expr)


def _references(expr: Expr) -> set[Value]:
    from tileloom.vm.expr import references

    return set(references(expr))


def _origins(function: Function) -> Iterator[tuple[Value, int]]:
    """Every view of global memory, and the pointer parameter behind it."""
    found = {p: i for i, p in enumerate(function.params) if isinstance(p.type, PointerType)}
    yield from found.items()
    for instruction in instructions(function.body):
        result = instruction.result
        if result is None or not isinstance(result.type, GlobalType):
            continue
        for operand in instruction.operands():
            if isinstance(operand, Value) and operand in found:
                found[result] = found[operand]
                yield result, found[operand]


def _written(function: Function, origins: Mapping[Value, int]) -> Iterator[int]:
    """The parameters whose memory an instruction may write."""
    for instruction in instructions(function.body):
        if instruction.effect & Effect.WRITES_MEMORY:
            for operand in _targets(instruction):
                if operand in origins:
                    yield origins[operand]


def _targets(instruction: Instruction) -> Iterator[Value]:
    target = getattr(instruction, "target", None)
    operands = [target] if target is not None else instruction.operands()
    return (o for o in operands if isinstance(o, Value))


def _checked_views(
    function: Function, origins: Mapping[Value, int]
) -> Iterator[tuple[int, GlobalType]]:
    """The views that every run makes and whose extents the parameters alone decide."""
    known = {p for p in function.params if isinstance(p.type, ScalarType)}
    for statement in function.body:
        result = statement.result if isinstance(statement, Instruction) else None
        if result is None or result not in origins or not isinstance(result.type, GlobalType):
            continue
        extents = (*result.type.shape, *result.type.strides)
        if all(_is_known(e, known) for e in extents):
            yield origins[result], result.type


def _is_known(expr: Expr, known: set[Value]) -> bool:
    from tileloom.vm.expr import Special, children

    if isinstance(expr, Ref):
        return expr.value in known
    return not isinstance(expr, Special) and all(_is_known(c, known) for c in children(expr))


def _number(param: Value, element: Dtype, argument: object) -> Number:
    if isinstance(argument, np.generic):
        argument = argument.item()
    name = param.name
    if element.is_float:
        if isinstance(argument, int | float):
            return float(argument)
    elif isinstance(argument, int):
        value = int(argument)
        low, high = (0, 1) if element.kind == "bool" else _integer_range(element)
        if low <= value <= high:
            return value
        raise _mistake(
            ArgumentError, param,
            f"`{name}` is {value}, which no `{element.name}` is: {low} to {high}",
        )  # fmt: skip
    raise _mistake(
        ArgumentError, param, f"`{name}` takes a `{element.name}`, but {_kind(argument)} was given"
    )


def _integer_range(element: Dtype) -> tuple[int, int]:
    if element.kind == "int":
        return -(1 << element.bits - 1), (1 << element.bits - 1) - 1
    return 0, (1 << element.bits) - 1


def _kind(argument: object) -> str:
    if argument is None or isinstance(argument, bool | int | float):
        return quote(argument)
    return f"a `{type(argument).__name__}`"


def _dtype_hint(element: Dtype, given: str) -> str | None:
    numpy_dtype = storage(element)
    if element.bits < 8 or (element.numpy is None and element.name not in ("bf16", "tf32")):
        return f"`{element.name}` travels as packed bytes, in an array of uint8"
    if element.name == "bf16":
        return "bf16 is torch's bfloat16, or its codes in an array of uint16"
    return f"convert it: `x.astype(numpy.{numpy_dtype.name})`" if given else None


def _mistake(
    kind: type[ArgumentError], param: Value, message: str, hint: str | None = None
) -> ArgumentError:
    place: Location | None = param.location
    notes = [(f"`{param.name}` is declared here", place)] if place is not None else []
    return kind(message, notes=notes, hint=hint)
