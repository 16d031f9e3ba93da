"""What a user passes to the functions of the DSL, checked and converted: a wrong argument is an
error at the user's call that shows what to write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tileloom.layouts import MemoryLayout, RegisterLayout

from ..diagnostics import VMNameError, VMTypeError, VMValueError, quote
from ..dtypes import Dtype, DtypeError, dtype, suggestions
from ..expr import Expr
from .trace import here
from .values import MemoryTile, Pointer, Scalar, Tile, as_expr, kind_of


def as_dtype(value: object) -> Dtype:
    """A dtype, or the one of a name.

    Raises:
        VMNameError: there is no dtype of that name.
        VMTypeError: anything else.
    """
    if isinstance(value, Dtype):
        return value
    if not isinstance(value, str):
        raise VMTypeError(
            f"expected a dtype, found {kind_of(value)}", here(), hint="such as `vm.f16` or `'u4'`"
        )
    try:
        return dtype(value)
    except DtypeError:
        near = suggestions(value)
        hint = f"did you mean `{near[0]}`?" if near else None
        raise VMNameError(f"unknown dtype {quote(value)}", here(), hint=hint) from None


def as_shape(value: object, what: str = "the shape") -> tuple[int, ...]:
    """Constant integers in a list or tuple.

    Raises:
        VMTypeError: a single number, a run-time scalar, or anything else.
    """
    if isinstance(value, str | bytes | Scalar | Tile) or not hasattr(value, "__iter__"):
        hint = f"write `({value},)`" if isinstance(value, int) else "write `(16, 16)`"
        raise VMTypeError(
            f"{what} must be a list of integers, not {kind_of(value)}", here(), hint=hint
        )
    return tuple(_constant(item, what) for item in value)


def as_dims(value: object, what: str = "`dims`") -> tuple[int, ...] | None:
    """A list of dimensions, or None."""
    return None if value is None else as_shape(value, what)


def _constant(item: Any, what: str) -> int:
    if isinstance(item, Scalar):
        raise VMTypeError(
            f"{what} must be constant, but {quote(item.name)} gets its value when the kernel runs",
            here(),
            hint="tiles have constant extents: make it a constant of the kernel (an `int`)",
        )
    if isinstance(item, bool) or not hasattr(item, "__index__"):
        raise VMTypeError(f"{what} must hold integers, not {kind_of(item)}", here())
    return int(item)


def as_offsets(value: object, what: str = "the offsets") -> tuple[Expr, ...]:
    """An index list: scalars or numbers, one a dimension.

    Raises:
        VMTypeError: it is no list.
    """
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise VMTypeError(
            f"{what} must be a list, not {kind_of(value)}",
            here(),
            hint="write `[start]`, one entry a dimension",
        )
    return tuple(as_expr(item) for item in value)


def as_pointer(value: object) -> Pointer:
    """A pointer parameter.

    Raises:
        VMTypeError: anything else.
    """
    if isinstance(value, Pointer):
        return value
    raise VMTypeError(
        f"expected a pointer, found {kind_of(value)}",
        here(),
        hint="pointers are parameters annotated `x: vm.Ptr[vm.f16]`",
    )


def as_memory(value: object) -> MemoryTile:
    """A global view or shared tile.

    Raises:
        VMTypeError: anything else.
    """
    if isinstance(value, MemoryTile):
        return value
    raise VMTypeError(
        f"expected a global view or shared tile, found {kind_of(value)}",
        here(),
        hint="make a view of a pointer: `vm.global_view(x, [m, n])`",
    )


def as_tile(value: object) -> Tile:
    """A register tile.

    Raises:
        VMTypeError: anything else.
    """
    if isinstance(value, Tile):
        return value
    hint = "load it first: `vm.load(x, [i, j], (16, 16))`"
    raise VMTypeError(
        f"expected a register tile, found {kind_of(value)}",
        here(),
        hint=hint if isinstance(value, MemoryTile) else None,
    )


def as_layout(value: object) -> RegisterLayout | None:
    """A register layout, or None."""
    if value is None or isinstance(value, RegisterLayout):
        return value
    raise VMTypeError(
        f"expected a register layout, found {kind_of(value)}",
        here(),
        hint="such as `spatial(8, 4) * local(1, 2)`",
    )


def as_memory_layout(value: object) -> MemoryLayout | None:
    """A memory layout, or None."""
    if value is None or isinstance(value, MemoryLayout):
        return value
    raise VMTypeError(
        f"expected a memory layout, found {kind_of(value)}",
        here(),
        hint="such as `row_major(64, 64)`",
    )


def as_number(value: Any) -> int | float | bool:
    """A constant number; numpy's are converted."""
    if isinstance(value, bool | int) or type(value) is float:
        return value
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        number: int | float | bool = value.item()
        return number
    raise VMTypeError(f"expected a constant number, found {kind_of(value)}", here())


def as_axis(value: object) -> str:
    """The letter of a grid axis.

    Raises:
        VMValueError: it isn't 0, 1 or 2.
    """
    if value in (0, 1, 2) and isinstance(value, int):
        return "xyz"[value]
    raise VMValueError(f"a grid has axes 0, 1 and 2, not {quote(value)}", here())
