"""What a launch checks before it starts, with the words a user reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tileloom import vm
from tileloom.runtime.errors import AlignmentError, ArgumentError
from tileloom.runtime.signature import Signature, Strided
from tileloom.vm.diagnostics import LaunchError, VMError

from .kernels import add_one, copy_packed, rows, unaligned

ADD_ONE = Signature(add_one.trace())
ROWS = Signature(rows.trace())


def floats(n: int) -> Any:
    return np.zeros(n, np.float32)


def message(signature: Signature, *arguments: Any) -> str:
    with pytest.raises(VMError) as caught:
        signature.bind(arguments)
    error = caught.value
    assert error.location is not None and Path(error.location.file).name == Path(__file__).name
    hint = f" | {error.hint}" if error.hint else ""
    return f"{error.kind}: {error.message}{hint}"


def test_arguments_and_grid() -> None:
    x, y = floats(300), floats(300)
    bound = ADD_ONE.bind([x, y, np.int32(300)])
    assert bound.grid == (3, 1, 1) and not bound.is_empty
    assert [a.address for _, a in bound.arrays] == [x.ctypes.data, y.ctypes.data]
    assert bound.arguments[2] == 300
    assert ADD_ONE.bind([x, y, 0]).is_empty
    assert ROWS.bind([np.zeros(96, np.uint16), 3, 32]).grid == (3, 2, 1)


def test_facts() -> None:
    assert ADD_ONE.facts.written == {1}
    assert ADD_ONE.facts.sizing == {2}
    assert ADD_ONE.facts.alignments == {0: 16, 1: 16}
    assert ADD_ONE.scalars == {2}
    assert ROWS.facts.sizing == {1, 2}
    assert ADD_ONE.codes() == ["Q", "Q", "i"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((), "launch error: `add_one` takes 3 arguments, 0 were given | in this order: x, y, n"),
        ((floats(8), 3.0, 8),
         "launch error: `y` is a pointer to `f32`, not `3.0` | "
         "pass a numpy array, or torch's or cupy's"),
        ((np.zeros(8, np.float16), floats(8), 8),
         "launch error: `x` takes `f32`, but the array is `f16` | "
         "convert it: `x.astype(numpy.float32)`"),
        ((floats(16)[::2], floats(8), 8),
         "launch error: `x` must be dense, but an array of shape [8] has strides [2] | "
         "pass a contiguous copy; a kernel that knows strides takes `Strided(array)`"),
        ((floats(8), floats(7), 8),
         "launch error: `y` is too small: its view `f32` [8] takes 32 bytes, the array has 28"),
        ((floats(8), floats(8), 2**31),
         "launch error: `n` is 2147483648, which no `i32` is: -2147483648 to 2147483647"),
        ((floats(8), floats(8), 8.0), "launch error: `n` takes a number of `i32`, not `8.0`"),
        ((floats(8), floats(8), "8"), "launch error: `n` takes a number of `i32`, not a `str`"),
        ((floats(8), np.zeros(8, object), 8),
         "type error: `y`: arrays of numpy's `object` can't be arguments"),
    ],
)  # fmt: skip
def test_mistakes(arguments: tuple[Any, ...], text: str) -> None:
    assert message(ADD_ONE, *arguments) == text


def test_packed_and_bf16_hints() -> None:
    packed = Signature(copy_packed.trace())
    fine = np.zeros(128, np.uint8)
    assert message(packed, np.zeros(256, np.int8), fine) == (
        "launch error: `x` takes `u4`, but the array is `i8` | "
        "`u4` travels as packed bytes, in an array of uint8"
    )
    assert message(packed, fine, fine[:127]) == (
        "launch error: `y` is too small: its view `u4` [256] takes 128 bytes, the array has 127"
    )
    assert message(ROWS, np.zeros(32, np.float16), 1, 32) == (
        "launch error: `x` takes `bf16`, but the array is `f16` | "
        "bf16 is torch's bfloat16, or its codes in an array of uint16"
    )


def test_a_read_only_array_may_be_read_but_not_written() -> None:
    locked = floats(8)
    locked.flags.writeable = False
    ADD_ONE.bind([locked, floats(8), 8])
    assert message(ADD_ONE, floats(8), locked, 8) == (
        "launch error: `y` is written, but the array is read-only"
    )


def test_a_broken_promise() -> None:
    assert message(ROWS, np.zeros(100, np.uint16), 1, 33) == (
        "launch error: `rows` was built for `k % 8 == 0`, which doesn't hold | `k` is 33"
    )


def test_limits() -> None:
    assert message(ROWS, np.zeros(8, np.uint16), -1, 8).startswith(
        "limit error: the grid of `rows` has -1 blocks along x, not 0 to 2147483647"
    )


def test_a_null_pointer_and_strides_skip_the_size_check() -> None:
    bound = ADD_ONE.bind([None, floats(8), 8])
    assert bound.arguments[0] is None
    every_other = floats(16)[::2]
    assert ADD_ONE.bind([Strided(every_other), floats(8), 8]).grid == (1, 1, 1)
    with pytest.raises(ArgumentError, match="takes `f32`"):
        ADD_ONE.bind([Strided(np.zeros(4, np.int8)), floats(8), 8])


def test_alignment() -> None:
    ADD_ONE.check_alignment(0, 4096)
    with pytest.raises(AlignmentError) as caught:
        ADD_ONE.check_alignment(0, 4100)
    assert caught.value.message == (
        "`x` must start at a multiple of 16 bytes, but 0x1004 is 4 past one"
    )
    Signature(unaligned.trace()).check_alignment(0, 4097)


def test_scalars_of_every_kind() -> None:
    f = vm.parse(
        "func @f(%a: i8, %b: u16, %c: i64, %d: f16, %e: bf16, %g: f32, %h: f64, %i: bool)"
        " warps = 1, grid = [1] {\n}\n"
    )
    signature = Signature(f)
    assert signature.codes() == ["b", "H", "q", "e", "H", "f", "d", "B"]
    values: list[Any] = [-128, 65535, 2**40, 1.5, 1.5, 2, np.float32(3.5), True]
    bound = signature.bind(values)
    assert bound.arguments == (-128, 65535, 2**40, 1.5, 1.5, 2.0, 3.5, 1)
    assert signature.pack(4, 1.5) == 0x3FC0
    assert signature.pack(3, 1.5) == 1.5
    with pytest.raises(LaunchError, match="no `i8` is: -128 to 127"):
        signature.bind([128, *values[1:]])


def test_a_grid_that_divides_by_zero() -> None:
    f = vm.parse("func @f(%n: i32) warps = 1, grid = [16 / %n] {\n}\n")
    assert message(Signature(f), 0) == "launch error: the grid or a view's shape divides by zero"


@pytest.mark.parametrize("type_", ["i32", "i64"])
def test_views_beyond_32_bits_are_far(type_: str) -> None:
    text = (
        f"func @f(%p: *u8, %n: {type_}) warps = 1, grid = [1] {{\n"
        "  %v = global_view %p : global<u8, [%n, 32768, 2]>\n}\n"
    )
    signature = Signature(vm.parse(text))
    assert "takes 4294967296 bytes" in message(signature, np.zeros(8, np.uint8), 2**16)
    assert not signature.bind([np.zeros(2**17, np.uint8), 2]).is_far
    large = np.zeros(2**31 + 2**16, np.uint8)  # no page of it is touched
    assert signature.bind([large, 2**15 + 1]).is_far
    assert not signature.bind([large, 2**15]).is_far
