"""Products of warp groups on the interpreter: asynchrony, and what it finds to be wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tileloom.vm import parse
from tileloom.vm.diagnostics import ExecutionError, VMError
from tileloom.vm.interpreter import run

START = """
  %p = load %gx[0, 0] : reg<f16, [64, 32]>
  %q = load %gw[0, 0] : reg<f16, [32, 16]>
  %a = alloc_shared : shared<f16, [64, 32]>
  %b = alloc_shared : shared<f16, [32, 16]>
  %acc = full {fill = 0.0} : reg<f32, [64, 16]>
  store %a[0, 0], %p
  store %b[0, 0], %q
"""
READY = START + "  fence_proxy_async\n  barrier\n"
SHARED, REGISTERS = "wgmma %acc, %a[0, 0], %b[0, 0]", "wgmma %acc, %p, %b[0, 0]"
DONE = "wgmma_commit\n  wgmma_wait"
END = "store %gy[0, 0], %acc"


def program(*lines: str, start: str = READY) -> str:
    body = "\n".join(f"  {line}" for line in lines)
    return f"""func @f(%x: *f16, %w: *f16, %y: *f32, %n: i32) warps = 4 {{
  %gx = global_view %x : global<f16, [64, 32]>
  %gw = global_view %w : global<f16, [32, 16]>
  %gy = global_view %y : global<f32, [64, 16]>
{start}{body}
}}"""


def arrays() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return (
        rng.integers(-3, 4, (64, 32)).astype(np.float16),
        rng.integers(-3, 4, (32, 16)).astype(np.float16),
    )


def result(text: str, n: int = 0) -> Any:
    x, w = arrays()
    y = np.zeros((64, 16), np.float32)
    run(parse(text), [x, w, y, n])
    return y


def product() -> Any:
    x, w = arrays()
    return x.astype(np.float32) @ w.astype(np.float32)


def test_products_add_up() -> None:
    np.testing.assert_array_equal(result(program(SHARED, DONE, END)), product())
    twice = program(SHARED, REGISTERS, "wgmma_commit", SHARED, DONE, END)
    np.testing.assert_array_equal(result(twice), 3 * product())


@pytest.mark.parametrize("n", [0, 1])
def test_without_the_old_value(n: int) -> None:
    text = program(SHARED, f"{SHARED}, %n > 0", DONE, END)
    np.testing.assert_array_equal(result(text, n), (1 + n) * product())
    fresh = READY.replace("full {fill = 0.0}", "alloc_registers")
    text = program(f"{SHARED}, %n > 0", DONE, END, start=fresh)
    if n:
        with pytest.raises(VMError, match="an uninitialised value is stored to global memory"):
            result(text, n)
    else:
        np.testing.assert_array_equal(result(text, n), product())


def test_depth() -> None:
    text = program("wgmma %acc, %a[0, 16], %b[16, 0] {depth = 16}", DONE, END)
    x, w = (array.astype(np.float32) for array in arrays())
    np.testing.assert_array_equal(result(text), x[:, 16:] @ w[16:])


def test_groups_are_waited_for_in_order() -> None:
    other = "%more = full {fill = 1.0} : reg<f32, [64, 16]>"
    second = "wgmma %more, %p, %b[0, 0]"
    lines = (other, SHARED, "wgmma_commit", second, "wgmma_commit", "wgmma_wait {pending = 1}", END)
    np.testing.assert_array_equal(result(program(*lines)), product())
    wrong = [*lines[:-1], "store %gy[0, 0], %more"]
    assert "`%more` is read while a product" in message(program(*wrong))


def message(text: str) -> str:
    with pytest.raises(ExecutionError) as caught:
        result(text)
    return caught.value.message


WRONG: dict[str, tuple[str, Callable[[], str]]] = {
    "read before the wait": (
        "`%acc` is read while a product that accumulates into it is in flight",
        lambda: program(SHARED, "wgmma_commit", END),
    ),
    "not committed": (
        "`%acc` is read while a product that accumulates into it is in flight",
        lambda: program(SHARED, "wgmma_wait", END),
    ),
    "accumulator changed": (
        "`%acc` is changed while a product that accumulates into it is in flight",
        lambda: program(SHARED, "assign %acc, %zero", start=READY + ZERO),
    ),
    "register operand changed": (
        "`%p` is changed while a product that reads it is in flight",
        lambda: program(REGISTERS, "assign %p, %other", start=READY + OTHER),
    ),
    "shared operand changed": (
        "`%b` is written while a product that reads it is in flight",
        lambda: program(SHARED, "barrier", "store %b[0, 0], %q"),
    ),
    "copied over": (
        "`%a` is written while a product that reads it is in flight",
        lambda: program(
            SHARED, "wgmma_commit", "barrier", "copy_async %a[0, 0], %gx[0, 0] {shape = [64, 32]}"
        ),
    ),
    "freed": (
        "`%a` can't be freed: a product that reads it is in flight",
        lambda: program(SHARED, "free_shared %a"),
    ),
    "no fence": (
        "`%a` is read through the asynchronous proxy, but its element [0, 0] was written by other "
        "means with no proxy fence since",
        lambda: program(SHARED, start=START + "  barrier\n"),
    ),
    "no barrier": (
        "race on `%a`: element [0, 0] is accessed by several threads, and was written by several "
        "threads "
        "with no barrier in between",
        lambda: program(SHARED, start=START + "  fence_proxy_async\n"),
    ),
    "no barrier after the wait": (
        "race on `%b`: element [0, 0] is accessed by several threads, and was read by several "
        "threads "
        "with no barrier in between",
        lambda: program(SHARED, DONE, "store %b[0, 0], %q"),
    ),
    "a barrier before the wait only": (
        "race on `%b`: element [0, 0] is accessed by several threads, and was read by several "
        "threads "
        "with no barrier in between",
        lambda: program(SHARED, "wgmma_commit", "barrier", "wgmma_wait", "store %b[0, 0], %q"),
    ),
    "outside": (
        "the operand of shape [64, 16] leaves `%a` of shape [64, 32]",
        lambda: program("wgmma %acc, %a[0, 32], %b[0, 0] {depth = 16}"),
    ),
}
ZERO = "  %zero = full {fill = 0.0} : reg<f32, [64, 16]>\n"
OTHER = "  %other = full {fill = 0.0} : reg<f16, [64, 32]>\n"


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong(name: str) -> None:
    expected, text = WRONG[name]
    found = message(text())
    assert found.removeprefix("`wgmma`: ").removeprefix("`store`: ").endswith(expected), found


def test_after_the_wait_all_may_change() -> None:
    lines = (REGISTERS, DONE, "assign %p, %other", "barrier", "store %b[0, 0], %q", END)
    np.testing.assert_array_equal(result(program(*lines, start=READY + OTHER)), product())


TYPES = {
    "wgmma %acc, %a[0, 0], %b[0, 0], 1": "`accumulate`",
    "wgmma %acc, %p[0, 0], %b[0, 0]": "a register operand has no index list and no `depth`",
    "wgmma %acc, %a, %b[0, 0]": "0 indices for a tile of rank 2",
    "wgmma %acc, %p, %q[0, 0]": "`%q` must be a shared tile",
    "wgmma %q, %p, %b[0, 0]": "acc [32, 16] += a [64, 32] @ b [32, 16] doesn't fit",
    "wgmma %acc, %a[0, 0], %b[0, 0] {depth = 8}": "m, n, k are 64, 16, 8",
    "wgmma %acc, %a[0, 0], %b[0, 0] {depth = 64}": "doesn't fit",
    "wgmma_wait {pending = 9}": "`pending` is 9",
}


@pytest.mark.parametrize("line", TYPES)
def test_what_the_types_forbid(line: str) -> None:
    with pytest.raises(VMError) as caught:
        parse(program(line))
    assert TYPES[line] in caught.value.message
    assert caught.value.location is not None


def test_types_without_tensor_cores() -> None:
    text = program(SHARED).replace("f32", "f64")
    with pytest.raises(VMError) as caught:
        parse(text)
    assert "no tensor core multiplies `f16` by `f16` into `f64`" in caught.value.message
    mixed = program(REGISTERS).replace("%p = load %gx[0, 0] : reg<f16", "%p = full : reg<bf16")
    mixed = mixed.replace("  store %a[0, 0], %p\n", "")
    with pytest.raises(VMError) as caught:
        parse(mixed)
    assert caught.value.hint == "cast a: `cast %p {dtype = f16}`"
