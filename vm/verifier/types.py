"""The types of values: extents, layouts, packings and the limits of the machine."""

from __future__ import annotations

from math import prod

from ..diagnostics import LayoutMismatchError, LimitError, Location, VMTypeError, VMValueError
from ..dtypes import Dtype
from ..expr import Const, Expr
from ..text import print_type
from ..types import BarrierType, GlobalType, PointerType, RegType, ScalarType, SharedType, Type
from .scalars import expect_kind

MAX_RANK = 12
MAX_ELEMENTS = 1 << 24
MAX_BARRIERS = 1024
_SCALAR_BITS = (8, 16, 32, 64)


def check_type(type_: Type, name: str, num_threads: int, location: Location | None) -> None:
    """Checks the type of the value `%name` in a function of `num_threads` threads.

    Raises:
        VMError: at `location`, with the type in full.
    """
    match type_:
        case ScalarType(dtype):
            _check_scalar(dtype, name, location)
        case PointerType():
            pass
        case GlobalType(_, shape, strides):
            _check_rank(len(shape), name, location)
            _check_global(shape, strides, name, location)
        case SharedType(_, shape, layout):
            _check_extents(shape, name, location)
            if layout is not None and layout.shape != shape:
                _layout_mismatch(
                    type_, f"covers {list(layout.shape)}, not {list(type_.shape)}", name, location
                )
        case BarrierType(shape):
            _check_extents(shape, name, location)
            if prod(shape) > MAX_BARRIERS:
                raise LimitError(
                    f"`{name}` has {prod(shape)} barriers, the limit is {MAX_BARRIERS}", location
                )
        case RegType():
            _check_extents(type_.shape, name, location)
            _check_register_layout(type_, name, num_threads, location)
        case _:
            raise AssertionError(f"no type: {type_!r}")


def check_parameter(type_: Type, name: str, location: Location | None) -> None:
    """A parameter is a pointer or a scalar.

    Raises:
        VMTypeError: it is a tile.
    """
    if not isinstance(type_, PointerType | ScalarType):
        raise VMTypeError(
            f"parameter `{name}` is `{print_type(type_)}`, not a pointer or scalar",
            location,
            hint="pass a pointer `*f16` and make a view of it with `global_view`",
        )


def _check_scalar(dtype: Dtype, name: str, location: Location | None) -> None:
    whole = dtype.kind in ("int", "uint", "float") and dtype.bits in _SCALAR_BITS
    if dtype.kind == "bool" or (whole and not (dtype.kind == "float" and dtype.bits == 8)):
        return
    raise VMTypeError(
        f"`{name}` can't be a scalar of `{dtype.name}`",
        location,
        hint="scalars are bool, 8- to 64-bit integers, f16, bf16, f32 and f64",
    )


def _check_rank(rank: int, name: str, location: Location | None) -> None:
    if rank > MAX_RANK:
        raise LimitError(f"`{name}` has rank {rank}, the limit is {MAX_RANK}", location)


def _check_extents(shape: tuple[int, ...], name: str, location: Location | None) -> None:
    _check_rank(len(shape), name, location)
    for extent in shape:
        if type(extent) is not int or extent < 1:
            raise VMValueError(
                f"`{name}` has shape {list(shape)}", location, hint="extents are 1 or more"
            )
    if prod(shape) > MAX_ELEMENTS:
        raise LimitError(
            f"`{name}` has {prod(shape)} elements, the limit is {MAX_ELEMENTS}", location
        )


def _check_global(
    shape: tuple[Expr, ...], strides: tuple[Expr, ...], name: str, location: Location | None
) -> None:
    if len(shape) != len(strides):
        raise VMTypeError(f"`{name}` has {len(shape)} extents and {len(strides)} strides", location)
    for what, expressions in (("an extent", shape), ("a stride", strides)):
        for expr in expressions:
            expect_kind("int", expr, f"{what} of `{name}`", location)
    for expr in shape:
        if isinstance(expr, Const) and expr.value < 0:
            raise VMValueError(f"`{name}` has an extent of {expr.value}", location)


def _check_register_layout(
    type_: RegType, name: str, num_threads: int, location: Location | None
) -> None:
    layout = type_.layout
    if layout is None:
        return
    if layout.shape != type_.shape:
        _layout_mismatch(
            type_, f"covers {list(layout.shape)}, not {list(type_.shape)}", name, location
        )
    if layout.num_threads > num_threads:
        problem = f"needs {layout.num_threads} threads, the function has {num_threads}"
        _layout_mismatch(type_, problem, name, location)
    # The packing itself says which numbers of elements it can hold.
    type_.packing.words(type_.dtype.bits, layout.num_locals)


def _layout_mismatch(
    type_: RegType | SharedType, problem: str, name: str, location: Location | None
) -> None:
    raise LayoutMismatchError(
        f"the layout of `{name}` {problem}",
        location,
        notes=[f"`{name}` is `{print_type(type_)}`"],
    )
