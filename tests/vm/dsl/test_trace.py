"""Kernels traced from Python: what they become, and what a wrong one is told."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest

from tileloom import vm
from tileloom.vm.diagnostics import VMError
from tileloom.vm.ir import For, If, While, instructions

TILE = (16, 16)


def scale(x: vm.Ptr[vm.f32], y: vm.Ptr[vm.f32], n: vm.i32, factor: float = 2.0) -> None:
    vm.launch(grid=[vm.cdiv(n, 256)], warps=2)
    source, target = vm.global_view(x, [n]), vm.global_view(y, [n])
    start = vm.block_index() * 256
    loaded = vm.load(source, [start], (256,))
    scaled = loaded * factor
    vm.store(target, [start], scaled)


def test_a_kernel_becomes_a_program_that_its_text_says_too() -> None:
    function = vm.kernel(scale).trace(factor=3.0)
    assert [p.name for p in function.params] == ["x", "y", "n"]
    text = function.text()
    assert "%scaled = mul %loaded, 3.0" in text
    assert "warps = 2, grid = [(%n + 255) / 256]" in text
    assert vm.parse(text).text() == text


def test_control_flow_nests() -> None:
    def body(x: vm.Ptr[vm.f32], n: vm.i32) -> None:
        view = vm.global_view(x, [n])
        step = vm.var(1, vm.i32)
        for i in vm.range(0, n, 4):
            with vm.when(i < 8):
                vm.store(view, [i], vm.full(vm.f32, (4,), 1.0))
            with vm.otherwise():
                vm.break_()
        with vm.loop(step < n):
            step.set(step * 2)

    function = vm.kernel(body).trace()
    loop = next(s for s in function.body if isinstance(s, For))
    branch = loop.body[0]
    assert loop.index.name == "i"
    assert isinstance(branch, If) and len(branch.then) == 2 and len(branch.orelse) == 1
    assert isinstance(function.body[-1], While)
    assert vm.parse(function.text()).text() == function.text()


def test_places_are_the_users_own_columns() -> None:
    function = vm.kernel(scale).trace()
    multiply = next(i for i in instructions(function.body) if i.name == "mul")
    assert multiply.location is not None
    line = multiply.location.source_line() or ""
    start, end = multiply.location.column - 1, multiply.location.end_column - 1
    assert line[start:end] == "loaded * factor"


def test_constants_are_checked() -> None:
    with pytest.raises(VMError) as missing:
        vm.kernel(needs_constant).trace()
    assert "`needs_constant` needs the constant `size`" in str(missing.value)
    with pytest.raises(VMError) as unknown:
        vm.kernel(needs_constant).trace(sice=3)
    assert "has no constant `sice`" in str(unknown.value)
    assert "`size`" in (unknown.value.hint or "")


def needs_constant(x: vm.Ptr[vm.f32], size: int) -> None:
    vm.global_view(x, [size])


def python_if(x: vm.Ptr[vm.f32], n: vm.i32) -> None:
    if n > 4:
        vm.global_view(x, [n])


def python_range(x: vm.Ptr[vm.f32], n: vm.i32) -> None:
    for _ in range(n):  # type: ignore[arg-type]
        vm.global_view(x, [n])


def python_break(x: vm.Ptr[vm.f32], n: vm.i32) -> None:
    for _ in vm.range(n):
        break


def indexed_pointer(x: vm.Ptr[vm.f32], n: vm.i32) -> None:
    x[n]


def indexed_memory(x: vm.Ptr[vm.f32], n: vm.i32) -> None:
    vm.global_view(x, [n])[0]


def mixed_dtypes(x: vm.Ptr[vm.f32], n: vm.i32) -> None:
    left = vm.full(vm.f32, TILE, 1.0)
    right = vm.full(vm.f16, TILE, 1.0)
    left + right


def mixed_shapes(x: vm.Ptr[vm.f32], n: vm.i32) -> None:
    left = vm.full(vm.f32, (16, 16), 1.0)
    right = vm.full(vm.f32, (16, 8), 1.0)
    left + right


def wrong_rank(x: vm.Ptr[vm.f32], n: vm.i32) -> None:
    view = vm.global_view(x, [n, n])
    vm.load(view, [0], TILE)


def wrong_element(x: vm.Ptr[vm.f32], n: vm.i32) -> None:
    view = vm.global_view(x, [n])
    vm.store(view, [0], vm.full(vm.f16, (16,), 0.0))


def narrow_arithmetic(x: vm.Ptr[vm.f32], n: vm.i32) -> None:
    codes = vm.full(vm.dtype("u4"), TILE, 1)
    codes + codes


def set_expression(x: vm.Ptr[vm.f32], n: vm.i32) -> None:
    (n + 1).set(3)


def otherwise_alone(x: vm.Ptr[vm.f32], n: vm.i32) -> None:
    with vm.otherwise():
        vm.trap("never")


MISTAKES = [
    (python_if, "isn't known while the kernel is traced", "n > 4", "vm.when"),
    (python_range, "a traced scalar is no Python integer", "range(n)", "vm.range"),
    (python_break, "left a traced loop", "vm.range(n)", "vm.break_()"),
    (indexed_pointer, "the pointer `x` has no shape", "x[n]", "vm.global_view(x, [m, n])"),
    (indexed_memory, "can't be indexed", "vm.global_view(x, [n])[0]", "vm.load("),
    (mixed_dtypes, "operands are `f32` and `f16`", "left + right", "cast one"),
    (mixed_shapes, "[16, 16] and [16, 8] don't broadcast", "left + right", "equal or 1"),
    (wrong_rank, "1 indices for a tile of rank 2", "vm.load(view, [0], TILE)", "2 indices"),
    (wrong_element, "the value is `f16` but the memory is `f32`", "vm.store(", "cast it"),
    (narrow_arithmetic, "has no arithmetic on `u4`", "codes + codes", "cast to f16"),
    (set_expression, "only a `vm.var` can be set", "(n + 1).set(3)", None),
    (otherwise_alone, "must directly follow a `vm.when`", "with vm.otherwise()", None),
]


@pytest.mark.parametrize(
    ("body", "message", "caret", "hint"), MISTAKES, ids=[m[0].__name__ for m in MISTAKES]
)
def test_a_mistake_names_its_place(
    body: Callable[..., None], message: str, caret: str, hint: str | None
) -> None:
    with pytest.raises(VMError) as caught:
        vm.kernel(body).trace()
    error = caught.value
    assert message in error.message
    assert error.location is not None and error.location.file == __file__
    line = error.location.source_line() or ""
    assert line[error.location.column - 1 : error.location.end_column - 1].startswith(caret)
    assert hint is None or hint in (error.hint or "")
    frames = traceback.extract_tb(error.__traceback__)
    assert all("tileloom" not in f.filename and "/vm/" not in f.filename for f in frames[1:-1])


def test_operations_need_a_kernel() -> None:
    with pytest.raises(VMError, match="outside a kernel"):
        vm.barrier()
