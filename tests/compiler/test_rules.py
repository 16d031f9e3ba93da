"""What can't be compiled says so."""

from __future__ import annotations

import pytest

from tileloom.compiler import compile_function
from tileloom.compiler.lowering.registry import RULES
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError
from tileloom.vm.instruction import REGISTRY


def fails(body: str, target: str = "sm_90a") -> VMError:
    text = f"""func @f(%x: *f32, %h: *bf16, %n: i32) warps = 1 {{
  %gx = global_view %x : global<f32, [16, 32]>
  %gh = global_view %h : global<bf16, [32]>
{body}
}}"""
    with pytest.raises(VMError) as caught:
        compile_function(parse(text), target)
    return caught.value


def test_an_instruction_without_a_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(RULES, REGISTRY["print"])
    error = fails("  print %n")
    assert str(error).startswith("lowering error: `print` can't be compiled yet\n --> <text>:4:3")
    assert error.hint == 'run the program with `device="interpreter"`'


def test_atomics_that_a_target_lacks() -> None:
    body = "  %a = load %gh[0] : reg<bf16, [32]>\n  atomic %gh[0], %a"
    assert fails(body, "sm_80").message == "`atomic`: `sm_80` has no atomics on `bf16`"


def test_too_many_threads_for_a_block() -> None:
    with pytest.raises(VMError) as caught:
        compile_function(parse("func @f() warps = 33 {\n}"))
    assert "1056 threads" in caught.value.message or "33" in caught.value.message


def test_every_error_has_a_place() -> None:
    """Also those that the layout algebra raises."""
    body = """  %a = load %gx[0, 0] : reg<f32, [16, 32], spatial(1, 32) * local(16, 1)>
  %b = slice %a {offsets = [0, 1], shape = [16, 3]}"""
    error = fails(body)
    assert error.location is not None and error.location.line == 5
