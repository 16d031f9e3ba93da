"""Registers that groups give back and take: what the hardware would refuse, or wait for forever."""

from __future__ import annotations

import pytest

from tileloom.compiler import compile_function
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMValueError
from tileloom.vm.verifier import starting_registers


def program(*changes: str, warps: int = 8) -> str:
    """Groups `first to last: change count`, one after the other; indented ones stand in a loop."""
    body = ""
    for each in changes:
        place, _, (change, count) = *each.strip().partition(": ")[:2], each.split(": ")[1].split()
        first, last = place.split()
        group = f"warp_group {first} to {last} {{\n"
        group += f"set_registers {{count = {count}, change = {change}}}\n}}\n"
        body += f"for %i{len(body)} in 0 to %n {{\n{group}}}\n" if each[0] == " " else group
    return f"func @f(%n: i32) warps = {warps}, grid = [1] {{\n{body}}}"


@pytest.mark.parametrize(
    ("changes", "warps", "start", "told"),
    [
        (["0 4: less 24", "4 12: more 240"], 12, 168, False),
        (["0 4: less 64", "4 8: more 160"], 8, 160, False),
        (["4 8: more 128", "4 8: less 56", "0 4: more 160"], 8, 128, True),
        (["0 4: less 56", "4 8: more 160", "4 8: less 56", "0 4: more 128"], 8, 160, False),
        (["0 4: less 56"], 8, 256, False),
        ([" 0 4: less 56", " 4 8: more 128"], 8, 128, False),
        (["0 8: more 160"], 8, 160, False),
    ],
)
def test_where_threads_start(changes: list[str], warps: int, start: int, told: bool) -> None:
    """The assembler lets them start with the most that one takes; who takes less is told."""
    function = parse(program(*changes, warps=warps))
    assert starting_registers(function) == start
    ptx = compile_function(function).ptx
    assert (f".maxnreg {start}\n" in ptx) is told and (".maxnreg" in ptx) is told
    assert ".minnctapersm 1\n" in ptx


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            ["0 4: more 160", "0 4: more 128"],
            "`set_registers`: `more` to 128, but the threads of warps 0 to 4 have 160 registers",
        ),
        (
            ["0 4: less 40", "0 4: less 64"],
            "`set_registers`: `less` to 64, but the threads of warps 0 to 4 have 40 registers",
        ),
        (
            ["0 4: less 168", "4 8: more 128"],
            "`set_registers`: `less` to 168, but the threads of warps 0 to 4 start with 128 "
            "registers",
        ),
        (
            ["0 4: less 40", " 0 8: more 160", "4 8: less 200"],
            "`set_registers`: `less` to 200, but the threads of warps 4 to 8 start with 160 "
            "registers",
        ),
        (
            ["0 4: more 128", "4 8: more 160"],
            "the groups take 288 registers in all for each of their threads, the block has 256: "
            "somebody would wait forever",
        ),
    ],
)
def test_what_cannot_be(changes: list[str], said: str) -> None:
    with pytest.raises(VMValueError) as caught:
        parse(program(*changes))
    assert caught.value.message == said and caught.value.location is not None


def test_branches_may_differ() -> None:
    text = """func @f(%n: i32) warps = 8, grid = [1] {
  if %n < 1 {
    warp_group 0 to 4 {
      set_registers {count = 40, change = less}
    }
  } else {
    warp_group 0 to 4 {
      set_registers {count = 80, change = less}
    }
  }
  warp_group 0 to 4 {
    set_registers {count = COUNT, change = more}
  }
  warp_group 4 to 8 {
    set_registers {count = 160, change = more}
  }
}"""
    parse(text.replace("COUNT", "96"))
    with pytest.raises(VMValueError, match="have 80 registers"):
        parse(text.replace("COUNT", "64"))
