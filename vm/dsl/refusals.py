"""What Python does with numbers and arrays, and traced values can't: each with what to write."""

from __future__ import annotations

import operator
from typing import Any, NoReturn

from ..diagnostics import VMSyntaxError, VMTypeError
from .trace import here

_OPERATORS = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
    "divide": operator.truediv, "less": operator.lt, "less_equal": operator.le,
    "greater": operator.gt, "greater_equal": operator.ge, "equal": operator.eq,
    "not_equal": operator.ne, "bitwise_and": operator.and_, "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
}  # fmt: skip


def no_truth(what: str, name: str, hint: str) -> NoReturn:
    """Refuses `if`, `while`, `and`, `or` and `not` on a traced value."""
    raise VMSyntaxError(
        f"the truth of {what} isn't known while the kernel is traced",
        here(),
        notes=[(f"`{name}` gets its value when the kernel runs", None)],
        hint=hint,
    )


def _refuse(message: str, hint: str) -> NoReturn:
    raise VMTypeError(message, here(), hint=hint)


class NotANumber:
    """A traced scalar where Python wants a float, or divides as numbers do."""

    __slots__ = ()

    def __truediv__(self, other: object) -> NoReturn:
        _refuse("scalars have no `/`", "write `//`, or `vm.cdiv(a, b)` to round up")

    def __rtruediv__(self, other: object) -> NoReturn:
        self.__truediv__(other)

    def __float__(self) -> NoReturn:
        _refuse("a traced scalar is no Python number", "it gets its value when the kernel runs")


class NotAnArray:
    """A register tile where Python or numpy wants an array."""

    __slots__ = ()

    def __matmul__(self, other: object) -> NoReturn:
        _refuse("tiles have no `@`", "write `vm.mma(acc, a, b)`, which adds a @ b to acc")

    def __pow__(self, other: object) -> NoReturn:
        _refuse("tiles have no `**`", "multiply, or use `vm.exp2` and `vm.log2`")

    def __float__(self) -> NoReturn:
        _refuse(
            "a tile is no Python number", "functions of tiles are `vm.exp`, `vm.sqrt` and others"
        )

    def __len__(self) -> int:
        _refuse("a tile has no length", "its extents are `tile.shape`")

    def __setitem__(self, index: object, value: object) -> NoReturn:
        _refuse(
            "elements of a tile can't be set one by one",
            "make the whole tile: `vm.where(condition, a, b)`, then `tile.set(...)`",
        )

    def __array_ufunc__(self, function: Any, method: str, *inputs: Any, **_: Any) -> Any:
        """numpy's numbers ask it first when they stand left of a tile."""
        name = getattr(function, "__name__", "function")
        if name in _OPERATORS and method == "__call__":
            numbers = [x.item() if hasattr(x, "item") else x for x in inputs]
            return _OPERATORS[name](*numbers)
        _refuse(f"numpy's `{name}` can't work on a tile", "use the functions of `vm`, or operators")

    def __array__(self, *_: object, **__: object) -> NoReturn:
        _refuse("a tile is no numpy array", "store it, and read the array after the launch")
