"""Atomics, semaphores, barriers and fences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from execution import agree, emulate

from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError
from tileloom.vm.verifier import verify

ATOMIC = """func @f(%p: *{t}, %q: *{t}, %r: *{t}) warps = 2 {{
  %g = global_view %p : global<{t}, [70]>
  %h = global_view %q : global<{t}, [64]>
  %o = global_view %r : global<{t}, [64]>
  %x = load %h[0] : reg<{t}, [64]{layout}>
  {old}atomic %g[10], %x {{op = {op}}}
  {store}
}}"""


@pytest.mark.parametrize("kind", ["i32", "u32", "u64"])
@pytest.mark.parametrize("op", ["add", "min", "max", "and", "or", "xor", "exchange"])
@pytest.mark.parametrize("old", [True, False])
def test_atomics(old: bool, op: str, kind: str) -> None:
    numpy: Any = {"i32": np.int32, "u32": np.uint32, "u64": np.uint64}[kind]
    rng = np.random.default_rng(0)
    memory, values = (rng.integers(0, 2**31, n).astype(numpy) for n in (70, 64))
    text = ATOMIC.format(
        t=kind,
        op=op,
        layout="",
        old="%old = " if old else "",
        store="store %o[0], %old" if old else "",
    )
    agree(text, [memory, values, np.zeros(64, numpy)])


@pytest.mark.parametrize("kind", ["f32", "f16"])
@pytest.mark.parametrize(
    "layout", ["", ", spatial(32) * local(2)", ", replicate(2) * spatial(8) * local(8)"]
)
def test_float_atomics_count_replicas_once(kind: str, layout: str) -> None:
    numpy: Any = {"f32": np.float32, "f16": np.float16}[kind]
    memory, values = np.ones(70, numpy), (np.arange(64) / 8).astype(numpy)
    text = ATOMIC.format(t=kind, op="add", layout=layout, old="", store="")
    agree(text, [memory, values, np.zeros(64, numpy)])


SHARED = """func @f(%q: *i32, %r: *i32) warps = 2 {
  %h = global_view %q : global<i32, [128]>
  %o = global_view %r : global<i32, [32]>
  %s = alloc_shared : shared<i32, [32]>
  %zero = full : reg<i32, [32]>
  store %s[0], %zero
  barrier
  %x = load %h[0] : reg<i32, [128]>
  %y = reshape %x {shape = [4, 32]}
  for %i in 0 to 4 {
    %z = load %h[%i * 32] : reg<i32, [32]>
    atomic %s[0], %z
  }
  barrier
  %t = load %s[0] : reg<i32, [32]>
  store %o[0], %t
}"""


def test_shared_atomics() -> None:
    values = np.arange(128, dtype=np.int32)
    found = agree(SHARED, [values, np.zeros(32, np.int32)])[1]
    np.testing.assert_array_equal(found, values.reshape(4, 32).sum(axis=0))


LAST_BLOCK = """func @f(
  %x: *f32, %parts: *f32, %y: *f32, %count: *u32, %n: i32
) warps = 2, grid = [%n] {
  %gx = global_view %x : global<f32, [%n, 128]>
  %gp = global_view %parts : global<f32, [%n, 128]>
  %gy = global_view %y : global<f32, [1, 128]>
  %gc = global_view %count : global<u32, [1]>
  %a = load %gx[block.x, 0] : reg<f32, [1, 128]>
  %b = mul %a, 2.0
  store %gp[block.x, 0], %b
  %arrived = atomic_scalar %gc[0], 1
  if %arrived == %n - 1 {
    atomic_scalar %gc[0], 0 {op = exchange}
    %sum = full : reg<f32, [1, 128]>
    for %i in 0 to %n {
      %c = load %gp[%i, 0] : reg<f32, [1, 128]>
      %d = add %sum, %c
      assign %sum, %d
    }
    store %gy[0, 0], %sum
  }
}"""


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_last_block_sums(seed: int) -> None:
    x = np.random.default_rng(0).integers(-9, 9, (5, 128)).astype(np.float32)
    args = [x, np.zeros_like(x), np.zeros((1, 128), "f4"), np.zeros(1, np.uint32), 5]
    agree(LAST_BLOCK, args)
    emulate(LAST_BLOCK, args, seed=seed)
    np.testing.assert_array_equal(args[2][0], 2 * x.sum(axis=0))
    assert args[3][0] == 0


IN_TURN = """func @f(%y: *f32, %lock: *u32, %n: i32) warps = 1, grid = [%n] {
  %gy = global_view %y : global<f32, [32]>
  %gl = global_view %lock : global<u32, [1]>
  lock %gl[0], block.x
  %a = load %gy[0] : reg<f32, [32]>
  %b = mul %a, 3.0
  %c = add %b, block.x
  store %gy[0], %c
  fence {scope = gpu}
  release %gl[0], block.x + 1
}"""


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_semaphores_order_blocks(seed: int) -> None:
    args = [np.ones(32, np.float32), np.zeros(1, np.uint32), 6]
    emulate(IN_TURN, args, seed=seed)
    value = 1.0
    for block in range(6):
        value = 3 * value + block
    assert (args[0] == value).all() and args[1][0] == 6


WARP_BARRIER = """layout #copy = spatial(4, 1) * spatial(4, 8) * local(2, 4)
func @f(%p: *f32, %q: *f32) warps = 4 {{
  %g = global_view %p : global<f32, [{rows}, 32]>
  %h = global_view %q : global<f32, [32, 32]>
  %s = alloc_shared : shared<f32, [32, 32], {memory}>
  copy_async %s[0, 0], %g[0, 0] {{shape = [32, 32], layout = #copy}}
  copy_async_commit
  copy_async_wait
  warp_barrier
  %x = load %s[0, 0] : reg<f32, [32, 32], {layout}>
  store %h[0, 0], %x
}}"""


@pytest.mark.parametrize(
    "layout",
    [
        "spatial(4, 1) * spatial(8, 4) * local(1, 8)",
        "spatial(4, 1) * local(8, 1) * spatial(1, 32)",
        "spatial(4, 1) * local(2, 1) * spatial(4, 8) * local(1, 4)",
    ],
)
@pytest.mark.parametrize("memory", ["row_major(32, 32)", "strided([32, 32], [36, 1])"])
@pytest.mark.parametrize("rows", [32, 13])
def test_warps_read_their_own_copies(layout: str, memory: str, rows: int) -> None:
    x = np.random.default_rng(0).standard_normal((rows, 32)).astype(np.float32)
    text = WARP_BARRIER.format(rows=rows, memory=memory, layout=layout)
    _, y = agree(text, [x, np.full((32, 32), np.nan, np.float32)])
    np.testing.assert_array_equal(y[:rows], x)
    assert not y[rows:].any()


def test_a_warp_barrier_is_one_instruction_and_copies_lie_as_said() -> None:
    text = WARP_BARRIER.format(
        rows=32, memory="row_major(32, 32)", layout="spatial(4, 1) * local(8, 1) * spatial(1, 32)"
    )
    ptx = emulate(text, [np.zeros((32, 32), np.float32)] * 2).ptx
    assert ptx.count("bar.warp.sync") == 1 and "bar.sync" not in ptx
    assert ptx.count("cp.async.cg") == 2


def test_a_copy_of_more_threads_than_there_are() -> None:
    text = WARP_BARRIER.format(rows=32, memory="row_major(32, 32)", layout="spatial(4, 1)")
    with pytest.raises(VMError) as caught:
        verify(parse(text.replace("warps = 4", "warps = 2")))
    assert "`layout` needs 128 threads, the function has 64" in str(caught.value)


def test_a_copy_of_another_shape() -> None:
    text = WARP_BARRIER.format(rows=32, memory="row_major(32, 32)", layout="spatial(4, 1)")
    with pytest.raises(VMError) as caught:
        parse(text.replace("local(2, 4)", "local(1, 4)"))
    assert "the layout covers [16, 32], not [32, 32]" in str(caught.value)
