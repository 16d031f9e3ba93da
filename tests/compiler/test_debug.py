"""Printing and failing checks: the interpreter and the compiled code say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from execution import assemble, emulate

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.runtime.emulator import EmulatorError
from tileloom.vm import dtype, parse
from tileloom.vm.diagnostics import ExecutionError, VMError
from tileloom.vm.dtypes import pack_bits
from tileloom.vm.interpreter import run
from tileloom.vm.ir import Function

Capture = pytest.CaptureFixture[str]


def printed(program: str | Function, args: list[Any], capsys: Capture) -> list[str]:
    """What both executors print, which must be the same."""
    function = parse(program) if isinstance(program, str) else program
    capsys.readouterr()
    run(function, args)
    meant = capsys.readouterr().out
    emulate(function, args)
    assert capsys.readouterr().out == meant
    return meant.splitlines()


TILE = """func @f(%x: *{t}) warps = {warps} {{
  %gx = global_view %x : global<{t}, [{shape}]>
  %a = load %gx[{zeros}] : reg<{t}, [{shape}]{layout}>
  print %a {{label = "tile"}}
}}"""
LAYOUTS = [
    "",
    ", spatial(1, 2, 4) * local(2, 3, 5)",
    ", replicate(2) * local(2, 1, 1) * spatial(1, 6, 5) * local(1, 1, 4)",
    ", column_spatial(2, 3, 10) * local(1, 2, 2)",
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["f32", "i32", "u8", "f16"])
def test_tiles(kind: str, layout: str, capsys: Capture) -> None:
    """Rows of 20 elements are a line of 16 and one of 4."""
    x = np.random.default_rng(0).integers(0, 99, (2, 6, 20)).astype(dtype(kind).numpy)
    text = TILE.format(t=kind, warps=2, shape="2, 6, 20", zeros="0, 0, 0", layout=layout)
    lines = printed(text, [x], capsys)
    meant = []
    for i in range(2):
        for j in range(6):
            for start, stop in ((0, 16), (16, 20)):
                row = " ".join(str(int(value)) for value in x[i, j, start:stop])
                meant.append(f"tile[{i}, {j}, {start}:{stop}] {row}")
    assert lines == meant


@pytest.mark.parametrize(
    ("kind", "codes", "shown"),
    [
        ("u3", [0, 5, 7, 1], "0 5 7 1"),
        ("i4", [0, 7, 8, 15], "0 7 -8 -1"),
        ("e2m3", [0, 1, 31, 63], "0 0.125 7.5 -7.5"),
        ("nf4", [0, 7, 8, 15], "-1 0 0.0795803 1"),
        ("b3", [0, 1, 4, 7], "-7 -5 1 7"),
        ("i64", [0, 1, 2**63, 2**64 - 1], "0 1 -9223372036854775808 -1"),
        ("u64", [0, 1, 2**63, 2**64 - 1], "0 1 9223372036854775808 18446744073709551615"),
        ("bf16", [0x3F80, 0xBDCD, 0x7F80, 0x0001], "1 -0.1001 inf 9.184e-41"),
    ],
)
def test_dtypes(kind: str, codes: list[int], shown: str, capsys: Capture) -> None:
    element = dtype(kind)
    if element.bits < 8:
        x: Any = pack_bits(np.array(codes, np.uint8), element.bits)
    else:
        x = np.array(codes, element.code_dtype)
        x = x if element.numpy is None else x.view(element.numpy)
    text = TILE.format(t=kind, warps=1, shape="4", zeros="0", layout="")
    assert printed(text, [x], capsys) == [f"tile[0:4] {shown}"]


SCALARS = """func @f(%n: i32, %u: u32, %l: i64, %x: f32, %d: f64, %b: bool) warps = 2, grid = [2] {
  if block.x == 1 {
    print %n
    print %u {label = "100% of u"}
    print %l * 4 {label = l}
    print %x {label = x}
    print %d / 3.0 {label = "d/3"}
    print %b {label = b}
    print %n > 3 and %b
    print block.x {label = block}
    %t = full {fill = 3} : reg<u8, []>
    print %t {label = t}
    %v = var %x : f16
    print %v
  }
}"""


def test_scalars(capsys: Capture) -> None:
    arguments = [7, 2**32 - 1, -(2**60), 0.1, 1.0, True]
    assert printed(SCALARS, arguments, capsys) == [
        "7", "100% of u 4294967295", "l -4611686018427387904", "x 0.1",
        "d/3 0.333333333333333", "b 1", "1", "block 1", "t 3", "0.099976",
    ]  # fmt: skip


LOOP = """func @f(%x: *i32, %n: i32) warps = 1 {
  %g = global_view %x : global<i32, [%n]>
  for %i in 0 to 3 {
    %a = load %g[%i * 2] : reg<i32, [4]>
    print %a {label = a}
    %p = lt %a, %n
    print %p
    %two = full {fill = 2} : reg<i32, [4]>
    assign %a, %two
  }
}"""


def test_in_a_loop_with_a_ragged_tile(capsys: Capture) -> None:
    lines = printed(LOOP, [np.arange(5, dtype=np.int32), 5], capsys)
    assert lines[::2] == ["a[0:4] 0 1 2 3", "a[0:4] 2 3 4 0", "a[0:4] 4 0 0 0"]
    assert lines[1] == "[0:4] 1 1 1 1"


CHECKED = """func @f(%x: *i32, %n: i32) warps = 2, grid = [3] {
  %g = global_view %x : global<i32, [3]>
  assert %n >= 1
  assert %n < 10 {message = "100% too large"}
  %one = full {fill = 1} : reg<i32, [1]>
  store %g[block.x], %one
  if %n == 5 {
    trap {message = "five is out"}
  }
  if %n == 6 {
    trap
  }
}"""


@pytest.mark.parametrize(
    ("n", "meant", "emulated"),
    [
        (0, "assertion failed: %n >= 1", "assertion failed: %n >= 1 (<text>:3: f)"),
        (12, "assertion failed: 100% too large", "assertion failed: 100% too large (<text>:4: f)"),
        (5, "trap: five is out", "assertion failed: trap: five is out (<text>:8: f)"),
        (6, "trap: no message", "`trap` was executed in block (0, 0, 0), warp 0, lane 0"),
    ],
)
def test_failing_checks(n: int, meant: str, emulated: str) -> None:
    with pytest.raises(ExecutionError, match=meant.replace("(", r"\(")):
        run(parse(CHECKED), [np.zeros(3, np.int32), n])
    with pytest.raises(EmulatorError) as caught:
        emulate(CHECKED, [np.zeros(3, np.int32), n])
    assert caught.value.message == emulated


def test_checks_that_hold() -> None:
    x = np.zeros(3, np.int32)
    emulate(CHECKED, [x, 3])
    assert (x == 1).all()


def test_known_conditions_cost_nothing() -> None:
    text = CHECKED.replace("  assert %n >= 1\n", "  assume %n >= 1\n  assert %n >= 1\n")
    assert compile_function(parse(text)).ptx.count("call __assertfail") == 2


@pytest.mark.parametrize("text", [SCALARS, LOOP, CHECKED])
@pytest.mark.parametrize("target", ["sm_80", "sm_90a"])
def test_the_code_assembles(text: str, target: str, tmp_path: Path) -> None:
    assemble(compile_function(parse(text), target).ptx, target, tmp_path)


def test_memory_cannot_be_printed() -> None:
    text = """func @f(%p: *f32) warps = 1 {
  %g = global_view %p : global<f32, [4]>
  print %g
}"""
    with pytest.raises(VMError) as caught:
        parse(text)
    assert caught.value.message == "`print`: `%g` is no scalar or register tile"


def test_from_python(capsys: Capture) -> None:
    @vm.kernel
    def f(x: vm.Ptr[vm.i32], n: vm.i32) -> None:
        vm.assert_(n > 0, "n is positive")
        tile = vm.load(vm.global_view(x, [4]), [0], (4,))
        vm.print(tile, "x")
        vm.print(n + 1)
        with vm.when(n > 100):
            vm.trap("too many")

    lines = printed(f.trace(), [np.arange(4, dtype=np.int32), 3], capsys)
    assert lines == ["x[0:4] 0 1 2 3", "4"]
    with pytest.raises(EmulatorError, match="trap: too many"):
        emulate(f.trace(), [np.arange(4, dtype=np.int32), 101])
