"""Reductions within threads, lanes and warps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from execution import agree

from tileloom.compiler import compile_function
from tileloom.vm import parse

REDUCE = """func @f(%x: *{t}, %y: *{t}) warps = 4 {{
  %gx = global_view %x : global<{t}, [8, 16, 12]>
  %gy = global_view %y : global<{t}, [8, 16, 12]>
  %a = load %gx[0, 0, 0] : reg<{t}, [8, 16, 12]{layout}>
  %b = reduce %a {{op = {op}, dim = {dim}}}
  store %gy[0, 0, 0], %b
}}"""
LAYOUTS = {
    "inferred": "",
    "lanes": ", local(2, 1, 1) * spatial(4, 16, 2) * local(1, 1, 6)",
    "warps": ", spatial(4, 8, 4) * local(2, 2, 3)",
    "three": ", local(2, 1, 1) * spatial(1, 4, 3) * local(4, 4, 4)",
    "spans": ", local(4, 1, 1) * column_spatial(2, 16, 4) * local(1, 1, 3)",
    "replicas": ", replicate(4) * spatial(8, 2, 2) * local(1, 8, 6)",
}
KINDS: dict[str, Any] = {
    "f32": np.float32, "f16": np.float16, "i32": np.int32, "u8": np.uint8, "i64": np.int64,
}  # fmt: skip


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("dim", [0, 1, 2])
@pytest.mark.parametrize("op", ["sum", "max", "min"])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_reductions(kind: str, op: str, dim: int, layout: str) -> None:
    x = np.random.default_rng(dim).integers(0, 90, (8, 16, 12)).astype(KINDS[kind])
    text = REDUCE.format(t=kind, op=op, dim=dim, layout=LAYOUTS[layout])
    found = agree(text, [x, np.zeros_like(x)])[1]
    meant = {"sum": np.sum, "max": np.max, "min": np.min}[op](x, axis=dim, keepdims=True)
    box = tuple(slice(0, extent) for extent in meant.shape)
    np.testing.assert_array_equal(found[box], meant.astype(x.dtype))


BOOLEAN = """func @f(%x: *i32, %y: *i32) warps = 2 {{
  %gx = global_view %x : global<i32, [16, 32]>
  %gy = global_view %y : global<i32, [16, 1]>
  %a = load %gx[0, 0] : reg<i32, [16, 32]{layout}>
  %p = lt %a, {limit}
  %b = reduce %p {{op = {op}, dim = 1}}
  %c = cast %b {{dtype = i32}}
  store %gy[0, 0], %c
}}"""


@pytest.mark.parametrize("op", ["any", "all"])
@pytest.mark.parametrize(
    "layout",
    ["", ", spatial(1, 32) * replicate(2) * local(16, 1)", ", column_spatial(2, 32) * local(8, 1)"],
)
def test_truth_values(op: str, layout: str) -> None:
    x = np.random.default_rng(0).integers(0, 100, (16, 32)).astype(np.int32)
    x[3], x[7] = 99, 1
    text = BOOLEAN.format(op=op, layout=layout, limit=8 if op == "any" else 92)
    found = agree(text, [x, np.zeros((16, 1), np.int32)])[1]
    assert 0 < found.sum() < 16


def test_only_warps_need_shared_memory() -> None:
    def shared(dim: int) -> int:
        text = REDUCE.format(t="f32", op="sum", dim=dim, layout=LAYOUTS["warps"])
        return compile_function(parse(text)).shared_bytes

    assert shared(0) == 4 * 128 * 6
    assert shared(1) == shared(2) == 0
