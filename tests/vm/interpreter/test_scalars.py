"""Scalar expressions, mutable scalars, and control flow."""

from typing import Any

import numpy as np
import pytest

from tileloom.vm import parse
from tileloom.vm.interpreter import run


def evaluate(expression: str, kind: str = "i32", params: str = "", args: Any = ()) -> Any:
    """The value of an expression, as the program stores it."""
    element = {"bool": "i32"}.get(kind, kind)
    text = f"""func @f(%out: *{element}{params}) warps = 1 {{
  %v = var {expression} : {kind}
  %one = full {{fill = 1}} : reg<{element}, [1]>
  %tile = mul %one, %v
  %g = global_view %out : global<{element}, [1]>
  store %g[0], %tile
}}"""
    from tileloom.vm import dtype

    out = np.zeros(1, dtype(element).numpy)
    run(parse(text), [out, *args])
    return out[0].item()


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("%a + %b * 2", 7 + -3 * 2),
        ("%a / 2", 3),
        ("%b / 2", -2),
        ("%b % 4", 1),
        ("%a - %b", 10),
        ("-%a", -7),
        ("%a << 3 | 1", 57),
        ("%b >> 1", -2),
        ("%a & 6 ^ 3", 5),
        ("min(%a, %b)", -3),
        ("max(%a, %b)", 7),
        ("select(%a > %b, 10, 20)", 10),
        ("select(not %a > %b or %a == 8 and %b != 0, 10, 20)", 20),
        ("%a * 1000000000 + %a", (7_000_000_000 + 7 + 2**31) % 2**32 - 2**31),
    ],
)
def test_expressions(expression: str, value: int) -> None:
    assert evaluate(expression, params=", %a: i32, %b: i32", args=[7, -3]) == value


def test_widths_and_signs() -> None:
    wide = ", %a: i32, %b: i64"
    assert evaluate("%a * %a", "i64", wide, [2**20, 0]) == 0  # 2**40 wraps in 32 bits
    assert evaluate("%a * %a + %b", "i64", wide, [2**20, 2**40]) == 2**40
    assert evaluate("%b * %b", "i64", wide, [0, 2**40]) == 0
    assert evaluate("%a * 4294967296", "i64", wide, [3, 0]) == 3 * 2**32
    unsigned = ", %a: u32"
    assert evaluate("%a - 1", "u32", unsigned, [0]) == 2**32 - 1
    assert evaluate("(%a - 1) / 2", "u32", unsigned, [0]) == 2**31 - 1


def test_floats_round_to_their_type() -> None:
    params = ", %a: f32, %b: f64"
    assert evaluate("%a + 1e-9", "f32", params, [1.0, 0.0]) == 1.0
    assert evaluate("%b + 1e-9", "f64", params, [0.0, 1.0]) == 1.0 + 1e-9
    assert evaluate("%a * 3", "f32", params, [0.1, 0.0]) == float(np.float32(0.1) * np.float32(3))
    assert evaluate("%a / (%a + 1.0)", "f32", params, [-1.0, 0.0]) == -np.inf


def test_division_by_zero(message: Any, interpret: Any) -> None:
    text = """func @f(%n: i32) warps = 1 {
  %v = var 8 / %n : i32
}"""
    interpret(text, [2])
    assert "`var`: integer division by zero" in message(text, [0])


def test_var_and_assign_wrap_to_their_type(interpret: Any, capsys: Any) -> None:
    interpret(
        """func @f(%n: i32) warps = 1 {
  %v = var %n : i8
  assign %v, %v + 100
  print %v
  %w = var %n : u8
  assign %w, %w - 41
  print %w
  %h = var 0.1 : f16
  print %h
}""",
        [40],
    )
    assert capsys.readouterr().out.split() == ["-116", "255", "0.099976"]


def test_loops_bounds_are_read_once(interpret: Any, capsys: Any) -> None:
    interpret(
        """func @f(%n: i32) warps = 1 {
  %end = var %n : i32
  for %i in 0 to %end step 2 {
    assign %end, 100
    for %j in %i to 3 {
      if %j == 2 {
        break
      }
      print %i * 10 + %j
    }
    if %i == 4 {
      return
    }
  }
  print 999
}""",
        [7],
    )
    assert capsys.readouterr().out.split() == ["0", "1"]


def test_while_and_else(interpret: Any, capsys: Any) -> None:
    interpret(
        """func @f(%n: i32) warps = 1 {
  %v = var %n : i32
  while %v != 1 {
    if %v % 2 == 0 {
      assign %v, %v / 2
    } else {
      assign %v, 3 * %v + 1
    }
    print %v
  }
}""",
        [6],
    )
    assert [int(x) for x in capsys.readouterr().out.split()] == [3, 10, 5, 16, 8, 4, 2, 1]


def test_a_step_must_be_positive(message: Any) -> None:
    text = "func @f(%n: i32) warps = 1 {\n  for %i in 0 to 4 step %n {\n  }\n}"
    assert "`for`: the step is -1, not positive" in message(text, [-1])


def test_load_scalar_and_item(interpret: Any, capsys: Any) -> None:
    interpret(
        """func @f(%p: *f16, %q: *u64) warps = 1 {
  %g = global_view %p : global<f16, [4]>
  %h = global_view %q : global<u64, [1]>
  %a = load_scalar %g[2]
  print %a
  %b = load_scalar %g[4]
  print %b
  %c = load_scalar %h[0]
  print %c
  %s = alloc_shared : shared<f16, [4]>
  %t = load %g[0] : reg<f16, [4]>
  store %s[0], %t
  barrier
  %d = load_scalar %s[1]
  print %d
  %sum = reduce %t
  %e = item %sum
  print %e
}""",
        [np.array([1, 2.5, 0.1, 4], np.float16), np.array([2**64 - 1], np.uint64)],
    )
    tenth = float(np.float16(0.1))
    printed = [float(x) for x in capsys.readouterr().out.split()]
    meant = [tenth, 0.0, float(2**64 - 1), 2.5, float(np.float16(7.5 + tenth))]
    assert printed == pytest.approx(meant, rel=1e-4)


def test_a_scalar_of_shared_memory_is_read_by_all_threads(message: Any, interpret: Any) -> None:
    text = """func @f() warps = 1 {
  %s = alloc_shared : shared<i32, [4]>
  %x = full : reg<i32, [4], spatial(4)>
  store %s[0], %x
  %v = load_scalar %s[0]
  print %v
}"""
    assert "`load_scalar`: race on `%s`" in message(text, [])
    interpret(text.replace("%v =", "barrier\n%v ="), [])
    unset = text.replace("store %s[0], %x", "").replace("print %v", "assert %v == 0")
    assert "it comes from `%s` in shared memory" in message(unset, [])


def test_special_values_and_the_grid(interpret: Any) -> None:
    out = np.zeros((2, 3, 4), np.int32)
    interpret(
        """func @f(%p: *i32, %n: i32) warps = 1, grid = [%n, %n - 1, %n / 2] {
  %g = global_view %p : global<i32, [grid.z, grid.y, grid.x]>
  %one = full {fill = 1} : reg<i32, [1]>
  %x = mul %one, block.x + 10 * block.y + 100 * block.z
  store %g[block.z, block.y, block.x], %x
}""",
        [out, 4],
    )
    z, y, x = np.indices(out.shape)
    np.testing.assert_array_equal(out, x + 10 * y + 100 * z)
