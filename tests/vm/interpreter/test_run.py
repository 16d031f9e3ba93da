"""Arguments, the registries, and what is shown."""

from typing import Any

import numpy as np
import pytest

from tileloom.vm import executors, parse
from tileloom.vm.diagnostics import DeviceError, LaunchError
from tileloom.vm.instruction import REGISTRY
from tileloom.vm.interpreter import run
from tileloom.vm.semantics import rules

COPY = """func @copy(%p: *{t}, %n: i32, %q: *{t}) warps = 1, grid = [1] {{
  %g = global_view %p : global<{t}, [%n]>
  %h = global_view %q : global<{t}, [%n]>
  %x = load %g[0] : reg<{t}, [16]>
  store %h[0], %x
}}"""


def test_every_instruction_has_a_meaning_in_the_file_of_its_family() -> None:
    found = rules()
    assert {cls.name for cls in found} == set(REGISTRY)
    for cls, rule in found.items():
        assert rule.__module__.split(".")[-1] == cls.__module__.split(".")[-1], cls.name


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("f32", np.ones(16, np.float32)),
        ("f32", np.ones(64, np.uint8)),
        ("f32", np.ones((4, 4), np.uint32)),
        ("bf16", np.ones(16, np.uint16)),
        ("u3", np.ones(6, np.uint8)),
        ("i8", np.ones(16, np.int8)),
    ],
)
def test_arrays_that_fit(name: str, array: np.ndarray) -> None:
    out = np.zeros_like(array)
    run(parse(COPY.format(t=name)), [array, 16, out])
    np.testing.assert_array_equal(out, array)


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ([], "`@copy` takes 3 arguments, not 0"),
        ([np.zeros(16, np.float64), 16, None], "`%p` points to `f32`, the array holds `float64`"),
        ([np.zeros(16, np.int32), 16, None], "`%p` points to `f32`, the array holds `int32`"),
        ([np.zeros((16, 2), np.float32)[:, 0], 16, None], "for `%p` is not C-contiguous"),
        ([[1.0], 16, None], "`%p` is a pointer: it takes a numpy array, not a `list`"),
        ([None, 1.5, None], "`%n` is `i32`, not a `float`"),
        ([None, "16", None], "`%n` is `i32`, not a `str`"),
        ([None, 2**31, None], "`%n` = 2147483648 is no `i32`"),
    ],
)
def test_arguments_that_do_not_fit(args: list[Any], wanted: str) -> None:
    with pytest.raises(LaunchError) as caught:
        run(parse(COPY.format(t="f32")), args)
    assert wanted in caught.value.message


def test_numpy_numbers_are_numbers() -> None:
    run(parse(COPY.format(t="f32")), [None, np.int64(0), None])


def test_the_grid() -> None:
    text = "func @f(%n: i32) warps = 1, grid = [16 / %n, 1, 1] {\n  trap\n}"
    run(parse(text.replace("16 / %n", "%n")), [0])  # no block, no trap
    with pytest.raises(LaunchError, match="the grid: integer division by zero"):
        run(parse(text), [0])
    with pytest.raises(LaunchError, match="outside the limits"):
        run(parse(text.replace("16 / %n", "%n")), [-1])


def test_the_interpreter_is_an_executor() -> None:
    assert "interpreter" in executors.names()
    out = np.zeros(16, np.float32)
    interpreter = executors.executor("interpreter")
    interpreter(parse(COPY.format(t="f32")), [np.ones(16, np.float32), 16, out], seed=3)
    assert (out == 1).all()


def test_other_executors_can_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_EXECUTORS", dict(executors._EXECUTORS))
    executors.register("mine", lambda function, args: ("ran", args))
    assert executors.executor("mine")(None, 3) == ("ran", 3)
    assert "mine" in executors.names()
    with pytest.raises(DeviceError, match="unknown device `interpretr`") as caught:
        executors.executor("interpretr")
    assert "did you mean `interpreter`?" in str(caught.value)


def test_printing(interpret: Any, capsys: Any) -> None:
    interpret(
        """func @f(%n: i32) warps = 1 {
  %x = arange {start = 1} : reg<bf16, [3]>
  %c = cast %x {dtype = e2m1}
  print %x {label = x}
  print %c
  print %n + 1 {label = "n plus one"}
  print %n > 1
}""",
        [4],
    )
    assert capsys.readouterr().out == "x[0:3] 1 2 3\n[0:3] 1 2 3\nn plus one 5\n1\n"


def test_errors_show_the_users_frames_only() -> None:
    with pytest.raises(LaunchError) as caught:
        run(parse(COPY.format(t="f32")), [])
    frames = []
    trace = caught.value.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame.f_globals["__name__"])
        trace = trace.tb_next
    assert not [name for name in frames if name.startswith("tileloom")]


def test_full_encodes_in_its_dtype(interpret: Any) -> None:
    out = np.zeros(8, np.uint8)
    interpret(
        """func @f(%p: *u8) warps = 1 {
  %g = global_view %p : global<u8, [8]>
  %x = full {fill = 0.7} : reg<e2m1, [8]>
  %y = cast %x {dtype = f16}
  %z = mul %y, 2.0
  %w = cast %z {dtype = u8}
  store %g[0], %w
  %big = full {fill = 9.0} : reg<e2m1, [1]>
  %most = cast %big {dtype = u8}
  store %g[7], %most
}""",
        [out],
    )
    assert out.tolist() == [1] * 7 + [6]  # 9 is beyond it; 0.7 is nearest to 0.5
