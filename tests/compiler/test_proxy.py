"""Fences between ordinary accesses and the asynchronous proxy: what is emitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from execution import agree, assemble

from tileloom.compiler import compile_function
from tileloom.vm import parse
from tileloom.vm.diagnostics import TargetError

FENCED = """func @f(%x: *f32, %y: *f32) warps = 2 {
  %gx = global_view %x : global<f32, [64]>
  %gy = global_view %y : global<f32, [64]>
  %s = alloc_shared : shared<f32, [64]>
  %a = load %gx[0] : reg<f32, [64]>
  store %s[0], %a
  fence_proxy_async
  barrier
  %b = load %s[0] : reg<f32, [64]>
  store %gy[0], %b
}"""


def test_the_fence_stands_between_store_and_barrier(tmp_path: Path) -> None:
    ptx = compile_function(parse(FENCED)).ptx
    store, fence = ptx.index("st.shared"), ptx.index("fence.proxy.async.shared::cta;")
    assert store < fence < ptx.index("bar.sync 0;")
    assemble(ptx, "sm_90a", tmp_path)


def test_it_changes_no_value() -> None:
    x = np.arange(64, dtype=np.float32)
    np.testing.assert_array_equal(agree(FENCED, [x, np.zeros_like(x)])[1], x)


def test_targets_without_the_proxy() -> None:
    with pytest.raises(TargetError) as caught:
        compile_function(parse(FENCED), "sm_89")
    assert caught.value.message == "`sm_89` has no asynchronous proxy"
    assert caught.value.hint == "proxy fences need sm_90a"
