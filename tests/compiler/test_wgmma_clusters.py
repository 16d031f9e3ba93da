"""Products of warp groups in clusters, where the address of shared memory says whose it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from execution import agree

from tileloom.compiler import compile_function
from tileloom.runtime.compiled import compile_kernel
from tileloom.runtime.cuda import context
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.vm import parse

CLUSTER = """func @f(%x: *f16, %w: *f16, %y: *f32, %n: i32) warps = 4, grid = [4], cluster = [2] {
  %gx = global_view %x : global<f16, [4, 64, 64]>
  %gw = global_view %w : global<f16, [4, 64, 64]>
  %gy = global_view %y : global<f32, [4, 64, 32]>
  %p = load %gx[block.x, 0, 0] : reg<f16, [64, 64]>
  %q = load %gw[block.x, 0, 0] : reg<f16, [64, 64]>
  %a = alloc_shared : shared<f16, [2, 64, 64]LEFT>
  %b = alloc_shared : shared<f16, [64, 64]>
  store %a[0, 0, 0], %p {dims = [1, 2]}
  store %b[0, 0], %q
  fence_proxy_async
  barrier
  %acc = full {fill = 0.0} : reg<f32, [64, 32]>
  wgmma %acc, FROM, %b[0, 0]
  wgmma_commit
  wgmma_wait
  store %gy[block.x, 0, 0], %acc
}"""


def product_of_a_cluster(left: str, source: str) -> tuple[str, list[Any], Any]:
    """A program, its arguments, and what it must give."""
    draw = np.random.default_rng(0).integers
    x, w = (draw(-3, 4, (4, 64, 64)).astype(np.float16) for _ in range(2))
    text = CLUSTER.replace("LEFT", left).replace("FROM", source)
    meant = x.astype(np.float32) @ w[:, :, :32].astype(np.float32)
    return text, [x, w, np.zeros((4, 64, 32), np.float32), 1], meant


OPERANDS = [
    ("", "%a[1 - %n, 0, 0]"),
    ("", "%p"),
    (", row_major(2, 64, 64) ^ swizzle(3, 4, 3)", "%a[1 - %n, 0, 0]"),
]


@pytest.mark.parametrize(("left", "source"), OPERANDS)
def test_every_block_of_a_cluster_reads_its_own_operands(left: str, source: str) -> None:
    """There the addresses of shared memory have a rank in their upper bits."""
    text, arguments, meant = product_of_a_cluster(left, source)
    np.testing.assert_array_equal(agree(text, arguments)[2], meant)
    alone = text.replace(", cluster = [2]", "")
    np.testing.assert_array_equal(agree(alone, [*arguments[:2], 0 * meant, 1])[2], meant)
    assert "bfe.u32" in compile_function(parse(text)).ptx


@pytest.mark.gpu
@pytest.mark.parametrize(("left", "source"), OPERANDS)
def test_every_block_of_a_cluster_on_a_gpu(left: str, source: str) -> None:
    if not context.available():
        pytest.skip("no GPU")
    text, (x, w, y, n), meant = product_of_a_cluster(left, source)
    arrays = [DeviceArray.of(each) for each in (x, w, y)]
    compile_kernel(parse(text))(*arrays, n)
    np.testing.assert_array_equal(arrays[2].numpy(), meant)
