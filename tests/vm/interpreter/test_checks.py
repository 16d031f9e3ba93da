"""Every check has a program that trips it and one, as near as can be, that does not."""

from typing import Any

import numpy as np
import pytest

from .program_text import body

DATA = np.zeros(64, np.float32)


# Values that were never given


UNINITIALISED = {
    "stored": """
        %x = alloc_registers : reg<f32, [32]>
        %y = add %x, 1.0
        store %g[0], %y""",
    "atomic": """
        %x = alloc_registers : reg<f32, [32]>
        atomic %g[0], %x""",
    "from shared memory": """
        %s = alloc_shared : shared<f32, [32]>
        %x = load %s[0] : reg<f32, [32]>
        store %g[0], %x""",
    "through a product": """
        %acc = full : reg<f32, [4, 4]>
        %a = alloc_registers : reg<f32, [4, 4]>
        %b = full : reg<f32, [4, 4]>
        simt_dot %acc, %a, %b
        %flat = reshape %acc {shape = [16]}
        store %g[0], %flat""",
    "through a reduction": """
        %x = alloc_registers : reg<f32, [2, 32]>
        %y = reduce %x
        %z = reshape %y {shape = [32]}
        store %g[0], %z""",
}


@pytest.mark.parametrize("case", sorted(UNINITIALISED))
def test_uninitialised_values_must_not_reach_memory(
    message: Any, interpret: Any, case: str
) -> None:
    text = message(body(UNINITIALISED[case]), [DATA.copy()])
    assert "an uninitialised value" in text
    assert "was never given a value" in text
    interpret(body(UNINITIALISED[case]), [DATA.copy()], checks=False)
    whole = UNINITIALISED[case].replace("alloc_registers", "full")
    filled = "%s = alloc_shared : shared<f32, [32]>\n%one = full {fill = 1.0} : reg<f32, [32]>\n"
    filled += "store %s[0], %one\nbarrier"
    whole = whole.replace("%s = alloc_shared : shared<f32, [32]>", filled)
    interpret(body(whole), [DATA.copy()])


def test_the_message_names_the_element(message: Any) -> None:
    text = message(
        body("""
        %s = alloc_shared : shared<f32, [4]>
        %one = full {fill = 1.0} : reg<f32, [3]>
        store %s[0], %one
        barrier
        %x = load %s[0] : reg<f32, [4]>
        store %g[0], %x"""),
        [DATA.copy()],
    )
    assert text == (
        "execution error: `store`: an uninitialised value is stored to global memory\n"
        "  --> <text>:10:3\n"
        "   |\n"
        "10 |   store %g[0], %x\n"
        "   |   ^^^^^^^^^^^^^^^\n"
        "note: element [3] of `%x` was never given a value\n"
        "hint: write every element (`full`, a `store` to shared memory) before it is used"
    )


def test_padding_raises_no_alarm(interpret: Any) -> None:
    """Elements without a value may be computed with, moved, and dropped at the edge."""
    data = DATA.copy()
    interpret(
        body("""
        %x = alloc_registers : reg<f32, [32]>
        %i = arange : reg<i32, [32]>
        %one = full {fill = 1.0} : reg<f32, [32]>
        %inside = lt %i, 16
        %junk = mul %x, 2.0
        %y = where %inside, %one, %junk
        store %g[48], %y
        %s = alloc_shared : shared<f32, [32]>
        store %s[0], %y
        barrier
        %z = load %s[0] : reg<f32, [16]>
        store %g[0], %z"""),
        [data],
    )
    assert data.tolist() == [1.0] * 16 + [0.0] * 32 + [1.0] * 16


SCALARS = {
    "branch": ("if %v > 0.0 {\ntrap\n}", "`if` depends on an uninitialised scalar"),
    "loop": ("while %v > 0.0 {\nbreak\n}", "`while` depends on an uninitialised scalar"),
    "bound": ("for %j in 0 to min(%n, %w) {\n}", "`for` depends on an uninitialised scalar"),
    "address": ("%y = load %g[%w + 1] : reg<f32, [4]>", "`load` depends on an uninitialised"),
    "assertion": ("assert -%w == select(%w > 0, 1, 2)", "`assert` depends on an uninitialised"),
}


@pytest.mark.parametrize("case", sorted(SCALARS))
def test_uninitialised_scalars_must_not_decide(message: Any, interpret: Any, case: str) -> None:
    use, wanted = SCALARS[case]
    text = body(
        f"""
        %x = alloc_registers : reg<f32, [1]>
        %i = alloc_registers : reg<i32, [1]>
        %v = item %x
        %w = item %i
        {use}""",
        params=", %n: i32",
    )
    found = message(text, [DATA.copy(), 4])
    assert wanted in found
    assert "it comes from a tile without a value" in found
    filled = text.replace("alloc_registers", "full").replace("assert -%w", "assert 2 - %w")
    interpret(filled, [DATA.copy(), 4])


def test_an_uninitialised_scalar_may_be_carried_along(interpret: Any, capsys: Any) -> None:
    interpret(
        body("""
        %x = alloc_registers : reg<i32, [1]>
        %v = item %x
        %w = var %v + 1 : i32
        assign %w, max(%w, 2) * 3
        print %w {label = w}
        print %x"""),
        [DATA.copy()],
    )
    assert capsys.readouterr().out == "w ?\n[0:1] ?\n"


# Shared tiles' lives


def test_a_freed_tile_can_not_be_used(message: Any, interpret: Any) -> None:
    text = """
        %s = alloc_shared : shared<f32, [32]>
        %x = full : reg<f32, [32]>
        store %s[0], %x
        free_shared %s"""
    interpret(body(text), [DATA.copy()])
    again = text + "\nbarrier\n%y = load %s[0] : reg<f32, [32]>"
    assert "`%s` is read after it was freed" in message(body(again), [DATA.copy()])
    assert "can't be freed: it was freed before" in message(
        body(text + "\nfree_shared %s"), [DATA.copy()]
    )


# What the program says of itself


def test_assumptions_and_assertions(message: Any, interpret: Any) -> None:
    text = """func @f(%n: i32) warps = 1 {
  assume %n % 8 == 0
  assert %n < 100 {message = "n is too large"}
}"""
    interpret(text, [64])
    assert "`assume`: the program promises what does not hold" in message(text, [63])
    assert "`assert`: assertion failed: n is too large" in message(text, [800])


def test_trap_and_the_block_it_happened_in(message: Any, interpret: Any) -> None:
    text = """func @f(%n: i32) warps = 1, grid = [%n] {
  if block.x == 3 {
    trap {message = stop}
  }
}"""
    interpret(text, [3])
    found = message(text, [4])
    assert "`trap`: trap: stop" in found
    assert "note: in block [3, 0, 0]" in found
