"""Cache hints of loads: what is emitted, that it assembles, and that values stay the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from execution import TARGETS, agree, assemble

from tileloom.compiler import compile_function
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import dtype

HINTS = {
    "stream": ("ld.global.L1::no_allocate.L2::cache_hint", "evict_first"),
    "keep": ("ld.global.L2::cache_hint", "evict_last"),
}


def program(element: str, hint: str, count: int = 256) -> str:
    return f"""func @f(%x: *{element}, %y: *{element}, %n: i32) warps = 1, grid = [2] {{
  assume %n % 8 == 0
  %gx = global_view %x : global<{element}, [2, %n]>
  %gy = global_view %y : global<{element}, [2, %n]>
  for %i in 0 to %n step {count} {{
    %a = load %gx[block.x, %i] {{dims = [1], cache = {hint}}} : reg<{element}, [{count}]>
    store %gy[block.x, %i], %a {{dims = [1]}}
  }}
}}"""


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("hint", HINTS)
def test_hints_assemble(hint: str, target: str, tmp_path: Path) -> None:
    opcode, priority = HINTS[hint]
    for element in ("f32", "f16", "u8", "u4", "f64"):
        ptx = compile_function(parse(program(element, hint)), target).ptx
        assert opcode in ptx and ptx.count(f"createpolicy.fractional.L2::{priority}.b64") == 1
        # The policy is made once, before the loop.
        assert ptx.index("createpolicy") < ptx.index("$loop") or "$loop" not in ptx
        assemble(ptx, target, tmp_path)


@pytest.mark.parametrize("hint", HINTS)
@pytest.mark.parametrize("element", ["f32", "f16", "u8", "u4", "f64"])
def test_hints_change_no_value(hint: str, element: str) -> None:
    bits = dtype(element).bits
    x = np.random.default_rng(0).integers(0, 256, (2, 600 * bits // 8), np.uint8)
    y = agree(program(element, hint), [x, np.zeros_like(x), 600])[1]
    np.testing.assert_array_equal(y, x)


def test_no_hint_and_shared_memory() -> None:
    text = program("f32", "stream").replace(", cache = stream", "")
    assert "cache_hint" not in compile_function(parse(text)).ptx
    shared = """func @f(%y: *f32) warps = 1 {
  %gy = global_view %y : global<f32, [32]>
  %s = alloc_shared : shared<f32, [32]>
  %a = full {fill = 1.0} : reg<f32, [32]>
  store %s[0], %a
  barrier
  %b = load %s[0] {cache = stream} : reg<f32, [32]>
  store %gy[0], %b
}"""
    assert "cache_hint" not in compile_function(parse(shared)).ptx


@pytest.mark.parametrize("hint", HINTS)
@pytest.mark.parametrize("rows", [16, 9])
def test_hints_of_asynchronous_copies(hint: str, rows: int, tmp_path: Path) -> None:
    text = f"""func @f(%x: *f16, %y: *f16) warps = 1 {{
  %gx = global_view %x : global<f16, [{rows}, 64]>
  %gy = global_view %y : global<f16, [16, 64]>
  %s = alloc_shared : shared<f16, [16, 64]>
  copy_async %s[0, 0], %gx[0, 0] {{shape = [16, 64], cache = {hint}}}
  copy_async_commit
  copy_async_wait
  barrier
  %a = load %s[0, 0] : reg<f16, [16, 64]>
  store %gy[0, 0], %a
}}"""
    x = np.random.default_rng(0).standard_normal((rows, 64)).astype(np.float16)
    y = agree(text, [x, np.full((16, 64), np.nan, np.float16)])[1]
    np.testing.assert_array_equal(y[:rows], x)
    for target in TARGETS:
        ptx = compile_function(parse(text), target).ptx
        assert "cp.async.cg.shared.global.L2::cache_hint" in ptx and HINTS[hint][1] in ptx
        assemble(ptx, target, tmp_path)


def test_an_unknown_hint() -> None:
    with pytest.raises(VMError) as caught:
        parse(program("f32", "sometimes"))
    assert "unknown cache hint `sometimes`" in str(caught.value)
