"""What a pass or a builder of IR can get wrong; the text's own errors are in tests/errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tileloom.layouts import local, row_major, spatial
from tileloom.vm import dtype, parse
from tileloom.vm.diagnostics import (
    LayoutMismatchError,
    LimitError,
    Location,
    VMError,
    VMNameError,
    VMSyntaxError,
    VMTypeError,
    VMValueError,
)
from tileloom.vm.expr import Binary, Const, Expr, Ref, Select, Special, Unary
from tileloom.vm.instruction import REGISTRY
from tileloom.vm.ir import Block, Break, For, Function, If, Value, While
from tileloom.vm.packing import PAIRED
from tileloom.vm.types import GlobalType, PointerType, RegType, ScalarType, SharedType
from tileloom.vm.verifier import Kind, scalar_kind, verify

F32, I32, BOOL = dtype("f32"), dtype("i32"), dtype("bool")
PLACE = Location("pass.vm", 7, 3, 9, "  %x = something")
POINTER = Value("p", PointerType(F32))
COUNT = Value("n", ScalarType(I32))
ALPHA = Value("alpha", ScalarType(F32))
FLAG = Value("flag", ScalarType(BOOL))
PARAMS = (POINTER, COUNT, ALPHA, FLAG)


def build(*body: Any, **changes: Any) -> Function:
    function = Function("f", PARAMS, 1, (Const(1),), tuple(body), location=PLACE)
    return replace(function, **changes)


def make(name: str, *operands: Any, result: Value | None = None, **attributes: Any) -> Any:
    return REGISTRY[name](*operands, result=result, location=PLACE, **attributes)


def failure(kind: type[VMError], function: Function) -> str:
    with pytest.raises(VMError) as caught:
        verify(function)
    assert type(caught.value) is kind, caught.value
    return caught.value.message


def tile(name: str = "t", *shape: int, **options: Any) -> Value:
    return Value(name, RegType(F32, shape or (8, 4), **options), PLACE)


def test_a_function_that_is_right() -> None:
    t = tile()
    verify(build(make("alloc_registers", result=t), make("print", t)))


def test_use_before_definition_and_after_the_block() -> None:
    t = tile()
    define = make("alloc_registers", result=t)
    assert failure(VMNameError, build(make("print", t))) == "`%t` isn't visible here"
    for block in (
        If(Ref(FLAG), (define,), (), PLACE),
        If(Ref(FLAG), (), (define,), PLACE),
        While(Ref(FLAG), (define,), PLACE),
        For(Value("i", ScalarType(I32)), Const(0), Const(4), Const(1), (define,), 1, PLACE),
    ):
        assert failure(VMNameError, build(block, make("print", t))) == "`%t` isn't visible here"
    branches = If(Ref(FLAG), (define,), (make("print", t),), PLACE)
    assert failure(VMNameError, build(branches)) == "`%t` isn't visible here"


def test_a_value_of_another_function() -> None:
    stranger = Value("n", ScalarType(I32))
    assert failure(VMNameError, build(make("print", Ref(stranger)))) == "`%n` isn't visible here"
    grid = build(grid=(Ref(stranger),))
    assert failure(VMNameError, grid) == "`%n` isn't visible here"
    view = Value("g", GlobalType(F32, (Ref(stranger),), (Const(1),)))
    bad = build(make("global_view", POINTER, result=view))
    assert failure(VMNameError, bad) == "`%n` isn't visible here"


def test_two_definitions_of_one_value() -> None:
    define = make("alloc_registers", result=tile())
    assert failure(VMNameError, build(define, define)) == "`%t` is already defined"
    assert failure(VMNameError, build(params=(COUNT, COUNT))) == "`%n` is already defined"


def test_a_result_of_another_type_than_the_operands_imply() -> None:
    t, wrong = tile(), Value("c", RegType(F32, (8, 4)))
    cast = make("cast", t, dtype=dtype("f16"), result=wrong)
    message = failure(VMTypeError, build(make("alloc_registers", result=t), cast))
    assert message == "`cast`: the result is `reg<f16, [8, 4]>`, not `reg<f32, [8, 4]>`"


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"dims": [0, 1]}, "`load`: `dims` can't be `[0, 1]`"),
        ({"dims": (0, 1.0)}, "`load`: `dims` can't be `(0, 1.0)`"),
        ({"in_bounds": 1}, "`load`: `in_bounds` can't be `1`"),
        ({"cache": None}, "`load`: `cache` can't be `None`"),
    ],
)
def test_attributes_of_another_type(attributes: dict[str, Any], message: str) -> None:
    g = Value("g", GlobalType(F32, (Const(8), Const(4)), (Const(4), Const(1))))
    view = make("global_view", POINTER, result=g)
    load = make("load", g, (Const(0), Const(0)), result=tile(), **attributes)
    assert failure(VMTypeError, build(view, load)) == message


def test_layouts_and_packings() -> None:
    def allocated(type_: Any, name: str = "alloc_registers") -> Function:
        return build(make(name, result=Value("t", type_, PLACE)))

    verify(allocated(RegType(F32, (8, 4), spatial(8, 4))))
    verify(allocated(RegType(dtype("u4"), (8, 4), local(8, 1) * spatial(1, 4), PAIRED)))
    verify(allocated(SharedType(F32, (8, 4), row_major([8, 4])), "alloc_shared"))
    wrong = allocated(RegType(F32, (8, 4), spatial(4, 8)))
    assert failure(LayoutMismatchError, wrong) == "the layout of `%t` covers [4, 8], not [8, 4]"
    many = allocated(RegType(F32, (8, 8), spatial(8, 8)))
    assert (
        failure(LayoutMismatchError, many)
        == "the layout of `%t` needs 64 threads, the function has 32"
    )
    shared = allocated(SharedType(F32, (8, 4), row_major([4, 8])), "alloc_shared")
    assert failure(LayoutMismatchError, shared) == "the layout of `%t` covers [4, 8], not [8, 4]"
    split = allocated(RegType(dtype("u4"), (8, 4), spatial(8, 4), PAIRED))
    assert "units of 8 elements" in failure(LayoutMismatchError, split)
    wide = allocated(RegType(F32, (8, 4), local(8, 1) * spatial(1, 4), PAIRED))
    assert "elements of 1 to 8 bits" in failure(LayoutMismatchError, wide)


@pytest.mark.parametrize(
    ("type_", "kind", "message"),
    [
        (RegType(F32, (0, 4)), VMValueError, "`%t` has shape [0, 4]"),
        (RegType(F32, (1,) * 13), LimitError, "`%t` has rank 13, the limit is 12"),
        (RegType(F32, (1 << 25,)), LimitError, "`%t` has 33554432 elements"),
    ],
)
def test_extents(type_: RegType, kind: type[VMError], message: str) -> None:
    body = build(make("alloc_registers", result=Value("t", type_, PLACE)))
    assert failure(kind, body).startswith(message)


def test_global_views() -> None:
    def view(shape: tuple[Expr, ...], strides: tuple[Expr, ...]) -> Function:
        return build(
            make("global_view", POINTER, result=Value("g", GlobalType(F32, shape, strides)))
        )

    verify(view((Ref(COUNT), Const(0)), (Const(-1), Ref(COUNT) * 2)))
    assert "2 extents and 1 strides" in failure(VMTypeError, view((Const(1),) * 2, (Const(1),)))
    assert "an extent of -1" in failure(VMValueError, view((Const(-1),), (Const(1),)))
    floating = view((Ref(ALPHA),), (Const(1),))
    assert (
        failure(VMTypeError, floating) == "an extent of `%g` is a float, not an integer: `%alpha`"
    )


def test_headers() -> None:
    for changes, message in (
        ({"num_warps": 0}, "`@f` has 0 warps"),
        ({"num_warps": 33}, "`@f` has 33 warps"),
        ({"min_blocks": -1}, "`min_blocks` is -1"),
        ({"cluster": (2, 0)}, "`cluster` is [2, 0]"),
        ({"cluster": (1, 1, 1, 2)}, "`cluster` is [1, 1, 1, 2]"),
        ({"grid": ()}, "a grid of 0 extents"),
        ({"grid": (Const(1),) * 4}, "a grid of 4 extents"),
        ({"grid": (Const(0),)}, "a grid extent of 0"),
    ):
        assert failure(VMValueError, build(**changes)) == message
    verify(build(cluster=(2, 2, 2)))
    assert failure(LimitError, build(cluster=(4, 1, 3))) == "`cluster` is [4, 1, 3], 12 blocks"
    tiled = build(params=(tile(),))
    assert failure(VMTypeError, tiled).startswith("parameter `%t` is `reg<f32, [8, 4]>`")
    storage = build(params=(Value("q", ScalarType(dtype("u4"))),))
    assert failure(VMTypeError, storage) == "`%q` can't be a scalar of `u4`"


def test_loops() -> None:
    index = Value("i", ScalarType(I32))

    def loop(*bounds: Expr, body: Block = (), unroll: int = 1) -> Function:
        return build(For(index, bounds[0], bounds[1], bounds[2], body, unroll, PLACE))

    verify(loop(Const(0), Ref(COUNT), Const(1), body=(Break(PLACE),)))
    verify(loop(Const(0), Const(4), Const(1), unroll=0))
    zero, one = Const(0), Const(1)
    assert failure(VMValueError, loop(zero, one, zero)) == "the step is 0"
    assert failure(VMValueError, loop(zero, one, one, unroll=-1)) == "`unroll` is -1"
    assert "unrolled whole" in failure(VMValueError, loop(zero, Ref(COUNT), one, unroll=0))
    assert failure(VMTypeError, loop(Const(0.5), one, one)).startswith(
        "the lower bound is a float, not an integer"
    )
    assert failure(VMNameError, loop(zero, Ref(index), one)) == "`%i` isn't visible here"
    assert failure(VMSyntaxError, build(Break(PLACE))) == "`break` outside a loop"
    inside = If(Ref(FLAG), (Break(PLACE),), (), PLACE)
    assert failure(VMSyntaxError, build(inside)) == "`break` outside a loop"
    written = loop(zero, one, one, body=(make("assign", index, zero),))
    assert failure(VMTypeError, written) == "`assign`: target is `%i`, which can't be written"


def test_conditions_are_conditions() -> None:
    for statement in (If(Ref(COUNT), (), (), PLACE), While(Ref(COUNT), (), PLACE)):
        message = failure(VMTypeError, build(statement))
        assert message.endswith("is an integer, not a condition: `%n`")


N, A, C = Ref(COUNT), Ref(ALPHA), Ref(FLAG)


@pytest.mark.parametrize(
    ("expr", "kind"),
    [
        (N + 1, "int"),
        (N * A, "float"),
        (Const(1.0), "float"),
        (Special("block.x") % 4, "int"),
        (N < A, "bool"),
        (Binary("==", C, Const(True)), "bool"),
        (Binary("&", C, C), "bool"),
        (Binary("&", N, N), "int"),
        (Binary("min", A, N), "float"),
        (Unary("-", A), "float"),
        (Unary("not", C), "bool"),
        (Select(C, N, A), "float"),
        (Select(C, C, C), "bool"),
        (Binary("/", A, Const(0.0)), "float"),
    ],
)
def test_kinds_of_expressions(expr: Expr, kind: Kind) -> None:
    assert scalar_kind(expr) == kind


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        (Binary("+", C, N), "`+` can't work on a condition `%flag` and an integer `%n`"),
        (Binary("%", A, N), "`%` can't work on a float `%alpha` and an integer `%n`"),
        (Binary("<<", A, N), "`<<` can't work on a float `%alpha` and an integer `%n`"),
        (Binary("&", A, A), "`&` can't work on a float `%alpha` and a float `%alpha`"),
        (Binary("and", N, C), "`and` can't work on an integer `%n` and a condition `%flag`"),
        (Binary("and", N, N), "`and` can't work on an integer `%n` and an integer `%n`"),
        (Binary("<", C, C), "`<` can't work on a condition `%flag` and a condition `%flag`"),
        (Unary("not", N), "`not` can't work on an integer `%n`"),
        (Unary("-", C), "`-` can't work on a condition `%flag`"),
        (Select(N, N, N), "the condition of `select` is an integer, not a condition: `%n`"),
        (Select(C, C, N), "`select` can't work on a condition `%flag` and an integer `%n`"),
        (Ref(tile()), "`%t` is no scalar"),
        (Binary("/", N, Const(0)), "division by zero: `%n / 0`"),
        (Binary("%", N, Const(0)), "division by zero: `%n % 0`"),
        (Binary("<<", N, Const(64)), "a shift by 64"),
        (Binary(">>", N, Const(-1)), "a shift by -1"),
    ],
)
def test_expressions_without_a_meaning(expr: Expr, message: str) -> None:
    with pytest.raises(VMError) as caught:
        scalar_kind(expr, PLACE)
    assert caught.value.message == message and caught.value.location == PLACE


def test_deep_and_large_expressions_are_errors_not_crashes() -> None:
    deep: Expr = N
    for _ in range(5000):
        deep = Binary("+", deep, Const(1))
    with pytest.raises(LimitError, match="more than 256 operations deep"):
        scalar_kind(deep)
    large: Expr = N
    for _ in range(200):
        large = Binary("+", large, large)
    with pytest.raises(LimitError, match="more than 100000 operations"):
        scalar_kind(large)


def test_deep_blocks_are_errors_not_crashes() -> None:
    block: Block = ()
    for _ in range(500):
        block = (If(C, block, (), PLACE),)
    with pytest.raises(LimitError, match="nested more than 64 deep"):
        verify(build(*block))


def test_verified_again_after_parsing() -> None:
    verify(parse("func @f(%n: i32) warps = 1 {\n  print %n\n}\n"))
