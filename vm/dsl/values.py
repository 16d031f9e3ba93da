"""What a traced kernel handles: scalars, tiles in registers, and tiles in memory."""

from __future__ import annotations

from typing import Any, NoReturn, TypeAlias

from ..diagnostics import VMSyntaxError, VMTypeError
from ..dtypes import Dtype
from ..expr import Const, Expr, Ref, Select, Unary, binary
from ..instructions import elementwise, scalars, transform
from ..ir import Value
from ..text import print_expr
from ..types import GlobalType, PointerType, RegType, ScalarType, SharedType
from .refusals import NotAnArray, NotANumber, no_truth
from .slicing import box
from .trace import emit, here

ScalarLike: TypeAlias = "Scalar | int | float | bool"
TileLike: TypeAlias = "Tile | Scalar | int | float | bool"

_BinaryClass: TypeAlias = type[elementwise.Binary]

_SCALARS = (
    "branch with `vm.when(condition)`, loop with `vm.loop(condition)`, join conditions with `&`, "
    "`|` and `~`; or pass it as a constant (an `int` parameter)"
)
_TILES = "choose elements with `vm.where(condition, a, b)`; `vm.when` takes a scalar"


class Scalar(NotANumber):
    """A uniform scalar of a traced kernel; Python's operators build expressions."""

    __slots__ = ("expr",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, expr: Expr) -> None:
        self.expr = expr

    def _binary(self, op: str, other: Any, swapped: bool = False) -> Scalar:
        if isinstance(other, Tile | MemoryTile | Pointer) or not isinstance(
            other, Scalar | int | float | bool
        ):
            unknown: Scalar = NotImplemented
            return unknown
        pair = (as_expr(other), self.expr) if swapped else (self.expr, as_expr(other))
        try:
            return Scalar(binary(op, *pair))
        except ZeroDivisionError:
            raise VMTypeError("division by zero", here()) from None

    def __add__(self, other: ScalarLike) -> Scalar:
        return self._binary("+", other)

    def __radd__(self, other: ScalarLike) -> Scalar:
        return self._binary("+", other, True)

    def __sub__(self, other: ScalarLike) -> Scalar:
        return self._binary("-", other)

    def __rsub__(self, other: ScalarLike) -> Scalar:
        return self._binary("-", other, True)

    def __mul__(self, other: ScalarLike) -> Scalar:
        return self._binary("*", other)

    def __rmul__(self, other: ScalarLike) -> Scalar:
        return self._binary("*", other, True)

    def __floordiv__(self, other: ScalarLike) -> Scalar:
        return self._binary("/", other)

    def __rfloordiv__(self, other: ScalarLike) -> Scalar:
        return self._binary("/", other, True)

    def __mod__(self, other: ScalarLike) -> Scalar:
        return self._binary("%", other)

    def __rmod__(self, other: ScalarLike) -> Scalar:
        return self._binary("%", other, True)

    def __and__(self, other: ScalarLike) -> Scalar:
        return self._binary("and" if _is_condition(self.expr) else "&", other)

    def __or__(self, other: ScalarLike) -> Scalar:
        return self._binary("or" if _is_condition(self.expr) else "|", other)

    def __xor__(self, other: ScalarLike) -> Scalar:
        return self._binary("^", other)

    def __lshift__(self, other: ScalarLike) -> Scalar:
        return self._binary("<<", other)

    def __rshift__(self, other: ScalarLike) -> Scalar:
        return self._binary(">>", other)

    def __neg__(self) -> Scalar:
        return Scalar(Unary("-", self.expr))

    def __invert__(self) -> Scalar:
        return Scalar(Unary("not", self.expr))

    def __lt__(self, other: ScalarLike) -> Scalar:
        return self._binary("<", other)

    def __le__(self, other: ScalarLike) -> Scalar:
        return self._binary("<=", other)

    def __gt__(self, other: ScalarLike) -> Scalar:
        return self._binary(">", other)

    def __ge__(self, other: ScalarLike) -> Scalar:
        return self._binary(">=", other)

    def __eq__(self, other: object) -> Scalar:  # type: ignore[override]
        return self._binary("==", other)

    def __ne__(self, other: object) -> Scalar:  # type: ignore[override]
        return self._binary("!=", other)

    def __bool__(self) -> bool:
        no_truth("a traced scalar", self.name, _SCALARS)

    def __index__(self) -> int:
        raise VMSyntaxError(
            "a traced scalar is no Python integer",
            here(),
            notes=[(f"`{self.name}` gets its value when the kernel runs", None)],
            hint="loop with `vm.range(n)`; extents of register tiles must be constants",
        )

    def __iter__(self) -> NoReturn:
        raise VMSyntaxError("a traced scalar can't be iterated", here(), hint="use `vm.range(n)`")

    @property
    def name(self) -> str:
        """The scalar's name where it is a single value, else the expression."""
        return self.expr.value.name if isinstance(self.expr, Ref) else print_expr(self.expr)

    def set(self, value: ScalarLike) -> None:
        """Writes a new value to a `vm.var`."""
        if not isinstance(self.expr, Ref):
            raise VMTypeError("only a `vm.var` can be set, not an expression", here())
        emit(scalars.Assign, target=self.expr.value, value=as_expr(value))


def _is_condition(expr: Expr) -> bool:
    match expr:
        case Const(bool()) | Unary("not", _):
            return True
    op = getattr(expr, "op", None)
    return op in ("==", "!=", "<", "<=", ">", ">=", "and", "or")


def as_expr(value: object) -> Expr:
    """The expression of a scalar or number.

    Raises:
        VMTypeError: anything else.
    """
    if isinstance(value, Scalar):
        return value.expr
    if isinstance(value, bool | int | float):
        return Const(value)
    if hasattr(value, "__index__") and not isinstance(value, Tile):
        return Const(int(value))  # numpy integers
    raise VMTypeError(
        f"expected a scalar, found {kind_of(value)}",
        here(),
        hint="scalars are kernel parameters, loop indices, `vm.var`s and Python numbers",
    )


def kind_of(value: object) -> str:
    """What to call a thing in a message."""
    match value:
        case Tile():
            return f"the register tile `{value.value.name}`"
        case MemoryTile():
            return f"the memory tile `{value.value.name}`"
        case Pointer():
            return f"the pointer `{value.value.name}`"
        case Scalar():
            return "a scalar"
    return str(getattr(value, "description", f"a Python {type(value).__name__}"))


class Pointer:
    """A pointer parameter; `vm.global_view` gives it a shape."""

    __slots__ = ("value",)

    def __init__(self, value: Value) -> None:
        self.value = value

    @property
    def dtype(self) -> Dtype:
        type_ = self.value.type
        assert isinstance(type_, PointerType)
        return type_.element

    def __getitem__(self, index: object) -> NoReturn:
        raise VMTypeError(
            f"the pointer `{self.value.name}` has no shape",
            here(),
            hint=f"make a view: `vm.global_view({self.value.name}, [m, n])`",
        )


class MemoryTile:
    """A view of global memory or a tile in shared memory."""

    __slots__ = ("value",)

    def __init__(self, value: Value) -> None:
        self.value = value

    @property
    def type(self) -> GlobalType | SharedType:
        type_ = self.value.type
        assert isinstance(type_, GlobalType | SharedType)
        return type_

    @property
    def dtype(self) -> Dtype:
        return self.type.dtype

    def __getitem__(self, index: object) -> NoReturn:
        raise VMTypeError(
            f"`{self.value.name}` is in memory and can't be indexed",
            here(),
            hint=f"load a tile: `vm.load({self.value.name}, [i, j], shape=[16, 16])`",
        )


class Tile(NotAnArray):
    """A register tile; Python's operators work elementwise and broadcast."""

    __slots__ = ("value",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Value) -> None:
        self.value = value

    @property
    def type(self) -> RegType:
        type_ = self.value.type
        assert isinstance(type_, RegType)
        return type_

    @property
    def dtype(self) -> Dtype:
        return self.type.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape

    def _binary(self, cls: _BinaryClass, other: Any, swapped: bool = False) -> Tile:
        if not isinstance(other, Tile | Scalar | int | float | bool):
            unknown: Tile = NotImplemented
            return unknown
        pair = (operand(other), self.value) if swapped else (self.value, operand(other))
        return tile(emit(cls, lhs=pair[0], rhs=pair[1]))

    def __add__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.Add, other)

    def __radd__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.Add, other, True)

    def __sub__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.Sub, other)

    def __rsub__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.Sub, other, True)

    def __mul__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.Mul, other)

    def __rmul__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.Mul, other, True)

    def __truediv__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.Div, other)

    def __rtruediv__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.Div, other, True)

    def __floordiv__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.Div, other)

    def __mod__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.Mod, other)

    def __and__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.And, other)

    def __or__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.Or, other)

    def __xor__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.Xor, other)

    def __lshift__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.ShiftLeft, other)

    def __rshift__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.ShiftRight, other)

    def __lt__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.Less, other)

    def __le__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.LessEqual, other)

    def __gt__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.Greater, other)

    def __ge__(self, other: TileLike) -> Tile:
        return self._binary(elementwise.GreaterEqual, other)

    def __eq__(self, other: object) -> Tile:  # type: ignore[override]
        return self._binary(elementwise.Equal, other)

    def __ne__(self, other: object) -> Tile:  # type: ignore[override]
        return self._binary(elementwise.NotEqual, other)

    def __neg__(self) -> Tile:
        return tile(emit(elementwise.Neg, value=self.value))

    def __invert__(self) -> Tile:
        return tile(emit(elementwise.Not, value=self.value))

    def __abs__(self) -> Tile:
        return tile(emit(elementwise.Abs, value=self.value))

    def __bool__(self) -> bool:
        no_truth("a tile", self.value.name, _TILES)

    def __iter__(self) -> NoReturn:
        raise VMSyntaxError(
            "a tile can't be iterated", here(), hint="work on the whole tile, or take a slice"
        )

    def to(self, dtype: Dtype) -> Tile:
        """The values in another dtype (`cast`)."""
        from .arguments import as_dtype

        return tile(emit(transform.Cast, value=self.value, dtype=as_dtype(dtype)))

    def set(self, value: Tile) -> None:
        """Overwrites every element (`assign`)."""
        emit(scalars.Assign, target=self.value, value=operand(value))

    def __getitem__(self, index: object) -> Tile:
        """A box by constant slices: `tile[0:16, :]`."""
        parts: tuple[Any, ...] = index if isinstance(index, tuple) else (index,)
        offsets, shape = box(self.value.name, self.shape, parts)
        return tile(emit(transform.Slice, value=self.value, offsets=offsets, shape=shape))


def tile(value: Value | None) -> Tile:
    """The register tile an instruction gave."""
    assert value is not None and isinstance(value.type, RegType)
    return Tile(value)


def operand(value: object) -> Value | Expr:
    """A value or expression from whatever a user may pass as an operand."""
    if isinstance(value, Tile | MemoryTile | Pointer):
        return value.value
    return as_expr(value)


def wrap(value: Value) -> Scalar | Pointer | MemoryTile | Tile:
    """The Python object for a value, by its type."""
    match value.type:
        case ScalarType():
            return Scalar(Ref(value))
        case PointerType():
            return Pointer(value)
        case RegType():
            return Tile(value)
    return MemoryTile(value)


def select(condition: ScalarLike, then: ScalarLike, otherwise: ScalarLike) -> Scalar:
    """`then` where the scalar condition holds, else `otherwise`; both are evaluated."""
    return Scalar(Select(as_expr(condition), as_expr(then), as_expr(otherwise)))
