"""Clusters of blocks and dependent launches: what is emitted, and that it assembles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from execution import agree, assemble, emulate

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import dtype, f32, i32
from tileloom.vm.interpreter import run

RING = """func @f(%x: *f32, %y: *f32) warps = 2, grid = [8]{cluster} {{
  %gx = global_view %x : global<f32, [8, 64]>
  %gy = global_view %y : global<f32, [8, 64]>
  %s = alloc_shared : shared<f32, [64]>
  %t = alloc_shared : shared<f32, [64]>
  {wait}
  %a = load %gx[block.x, 0] {{dims = [1]}} : reg<f32, [64]>
  store %s[0], %a
  cluster_barrier
  %b = load_remote %s[0], (cluster_rank + 1) % {size} : reg<f32, [64]>
  {launch}
  store_remote %t[0], %b, {size} - 1 - cluster_rank
  cluster_barrier
  %c = load %t[0] : reg<f32, [64]>
  %d = add %c, cluster.x
  store %gy[block.x, 0], %d {{dims = [1]}}
}}"""
CLUSTERED = RING.format(
    cluster=", cluster = [4]", size=4, wait="wait_dependencies", launch="launch_dependents"
)
ALONE = RING.format(cluster="", size=1, wait="", launch="")


def test_a_cluster_is_asked_for_and_its_memory_addressed(tmp_path: Path) -> None:
    ptx = compile_function(parse(CLUSTERED)).ptx
    assert ".reqnctapercluster 4, 1, 1\n" in ptx
    assert ptx.count("mapa.shared::cluster.u32") == 2
    assert ptx.count("ld.shared::cluster.b32") == ptx.count("st.shared::cluster.b32") == 1
    assert ptx.count("barrier.cluster.wait.acquire.aligned;") == 2
    assert ".explicitcluster\n" in ptx and "and.b32" in ptx
    wait, load = ptx.index("griddepcontrol.wait;"), ptx.index("ld.global")
    assert wait < load < ptx.index("griddepcontrol.launch_dependents;")
    assemble(ptx, "sm_90a", tmp_path)


@pytest.mark.parametrize("target", ["sm_80", "sm_90a"])
def test_without_clusters_a_block_is_one_by_itself(target: str, tmp_path: Path) -> None:
    ptx = compile_function(parse(ALONE), target).ptx
    assert "mapa" not in ptx and ptx.count("bar.sync 0;") == 2
    assemble(ptx, target, tmp_path)
    x = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)
    np.testing.assert_array_equal(agree(ALONE, [x, np.zeros_like(x)], target)[1], x)


def test_targets_without_clusters() -> None:
    with pytest.raises(VMError) as caught:
        compile_function(parse(CLUSTERED), "sm_80")
    assert caught.value.message == "`@f` makes clusters of blocks, `sm_80` has none"


@vm.kernel
def split_k(x: vm.Ptr[f32], y: vm.Ptr[f32], n: i32, ranks: int, width: int) -> None:
    """y[n] = the sum of x[ranks, n] over the ranks of a cluster, in order."""
    vm.launch(grid=[vm.cdiv(n, width), 1, ranks], warps=2, cluster=(1, 1, ranks))
    gx = vm.global_view(x, [ranks, n])
    start, rank = vm.block_index() * width, vm.cluster_rank()
    shared = vm.alloc_shared(f32, (width,))
    vm.store(shared, [0], vm.load(gx, [vm.cluster_index(2), start], (width,)))
    vm.cluster_barrier()
    size = -(-width // ranks)  # the last slices may be short, or empty
    whole = vm.load_remote(shared, [rank * size], 0, (size,))
    for other in range(1, ranks):
        whole = whole + vm.load_remote(shared, [rank * size], other, (size,))
    vm.cluster_barrier()
    end = vm.smaller(n, start + width)
    vm.store(vm.global_view(y, [end], alignment=4), [start + rank * size], whole)


@pytest.mark.parametrize(
    ("ranks", "width"), [(2, 128), (3, 100), (4, 64), (5, 96), (7, 64), (8, 4)]
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_split_sum_through_the_cluster(ranks: int, width: int, seed: int) -> None:
    x = np.random.default_rng(ranks).normal(size=(ranks, 333)).astype(np.float32)
    function = split_k.trace(ranks=ranks, width=width)
    expected = x[0]
    for row in x[1:]:
        expected = expected + row
    meant, found = np.zeros(333, np.float32), np.zeros(333, np.float32)
    run(function, [x, meant, 333], seed=seed)
    emulate(function, [x, found, 333], seed=seed)
    np.testing.assert_array_equal(meant, expected)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("cluster", "size"),
    [("[4]", 4), ("[2, 2]", 4), ("[1, 2, 2]", 4), ("[1, 1, 3]", 3), ("[2, 1, 3]", 6)],
)
def test_every_axis(cluster: str, size: int) -> None:
    text = f"""func @f(%y: *i32) warps = 2, grid = [4, 2, 6], cluster = {cluster} {{
  %g = global_view %y : global<i32, [6, 2, 4, 64]>
  %s = alloc_shared : shared<i32, [64]>
  %a = full {{fill = 0}} : reg<i32, [64]>
  %b = add %a, cluster_rank + 10 * cluster.x + 100 * cluster.y + 1000 * cluster.z
  store %s[0], %b
  cluster_barrier
  %c = load_remote %s[0], {size - 1} - cluster_rank : reg<i32, [64]>
  cluster_barrier
  %d = mul %b, 10000
  %e = add %c, %d
  store %g[block.z, block.y, block.x, 0], %e
}}"""
    agree(text, [np.zeros((6, 2, 4, 64), np.int32)])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_stores_to_other_blocks(seed: int) -> None:
    x = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)
    found, meant = np.zeros_like(x), np.zeros_like(x)
    run(parse(CLUSTERED), [x, meant], seed=seed)
    emulate(CLUSTERED, [x, found], seed=seed)
    np.testing.assert_array_equal(found, meant)
    for block in range(8):
        sender = 3 - block % 4
        source = x[block // 4 * 4 + (sender + 1) % 4]
        np.testing.assert_array_equal(found[block], source + np.float32(block % 4))


@pytest.mark.parametrize("element", ["f16", "u8", "u4", "i64", "bf16"])
def test_remote_tiles_of_any_dtype_under_a_swizzle(element: str, tmp_path: Path) -> None:
    text = f"""layout #s = row_major(16, 64) ^ swizzle(3, 4, 3)
func @f(%x: *{element}, %y: *{element}) warps = 2, grid = [2], cluster = [2] {{
  %gx = global_view %x : global<{element}, [2, 16, 64]>
  %gy = global_view %y : global<{element}, [2, 16, 64]>
  %s = alloc_shared : shared<{element}, [16, 64], #s>
  %a = load %gx[block.x, 0, 0] : reg<{element}, [16, 64]>
  store %s[0, 0], %a
  cluster_barrier
  %b = load_remote %s[0, 0], 1 - cluster_rank : reg<{element}, [16, 64]>
  cluster_barrier
  store %gy[block.x, 0, 0], %b
}}"""
    if element not in ("f16", "bf16"):
        text = text.replace(", #s>", ">").split("\n", 1)[1]
    bits = dtype(element).bits
    x = np.random.default_rng(0).integers(0, 256, (2, 1024 * bits // 8), np.uint8)
    found = agree(text, [x, np.zeros_like(x)])[1]
    np.testing.assert_array_equal(found, x[::-1])
    ptx = compile_function(parse(text)).ptx
    assert ("ld.shared::cluster.v4.b32" in ptx) is (bits in (8, 16))
    assemble(ptx, "sm_90a", tmp_path)


def test_which_barriers_wait_for_the_whole_gpu() -> None:
    """The first only publishes the block's own shared memory; the second also ends reads of the
    others', so that it must be a full release."""
    ptx = compile_function(split_k.trace(ranks=4, width=64)).ptx
    first, second = (ptx.index(f"barrier.cluster.arrive.{k}") for k in ("relaxed", "release"))
    assert ptx.index("fence.release.sync_restrict::shared::cta.cluster") < first < second
    assert ptx.startswith(".version 8.6\n")
    stored = CLUSTERED.replace("store %s[0], %a", "store %gy[block.x, 0], %a {dims = [1]}")
    assert "sync_restrict" not in compile_function(parse(stored)).ptx
    updated = CLUSTERED.replace("global_view %y", "global_view %x")
    assert "sync_restrict" not in compile_function(parse(updated)).ptx
    looped = CLUSTERED.replace("store %s[0], %a\n", "for %i in 0 to 2 {\n").replace(
        "%c = load", "}\n%c = load"
    )
    assert "sync_restrict" not in compile_function(parse(looped)).ptx


ENDS = """func @f(%x: *f32, %y: *f32) warps = 2, grid = [8], cluster = [4] {
  %gx = global_view %x : global<f32, [8, 64]>
  %gy = global_view %y : global<f32, [8, 64]>
  %s = alloc_shared : shared<f32, [64]>
  %a = load %gx[block.x, 0] {dims = [1]} : reg<f32, [64]>
  store %s[0], %a
  cluster_barrier
  %b = load_remote %s[0], 0 : reg<f32, [64]>
  %c = load_remote %s[0], (cluster_rank + 1) % 4 : reg<f32, [64]>
  %d = add %b, %c
  store %gy[block.x, 0], %d {dims = [1]}
  cluster_barrier
}"""


STORED_BEHIND = "  cluster_barrier\n  store %gy[block.x, 0], %d {dims = [1]}"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_last_barrier_that_ends_reads_waits_for_no_memory(seed: int, tmp_path: Path) -> None:
    ptx = compile_function(parse(ENDS)).ptx
    assert "arrive.release" not in ptx and ptx.count("barrier.cluster.arrive.relaxed") == 2
    assemble(ptx, "sm_90a", tmp_path)
    x = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)
    found, meant = np.zeros_like(x), np.zeros_like(x)
    run(parse(ENDS), [x, meant], seed=seed)
    emulate(ENDS, [x, found], seed=seed)
    np.testing.assert_array_equal(found, meant)
    for block in range(8):
        start = block // 4 * 4
        np.testing.assert_array_equal(found[block], x[start] + x[start + (block + 1) % 4])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  store %gy[block.x, 0], %d {dims = [1]}\n  cluster_barrier", STORED_BEHIND),
        ("%d = add %b, %c", "%d = add %b, 1.0"),
        ("%d {dims = [1]}", "%d {dims = [1]}\n  store_remote %s[0], %d, 0"),
        ("  store %gy[block.x, 0], %d", "  if block.x == 0 {\n store %gy[block.x, 0], %d"),
        ("%d = add %b, %c", '%e = add %b, %c\n  %d = reduce %e {op = "sum", dim = 0}'),
    ],
)
def test_other_last_barriers_release(old: str, new: str) -> None:
    text = ENDS.replace(old, new)
    if "if block" in new:
        text = text.replace("[1]}\n  cluster", "[1]}\n}\n  cluster")
    assert text != ENDS
    assert "barrier.cluster.arrive.release" in compile_function(parse(text)).ptx


def test_the_cluster_is_checked_against_the_target() -> None:
    with pytest.raises(VMError) as caught:
        compile_function(split_k.trace(ranks=2, width=64), "sm_89")
    assert caught.value.kind == "target error" and caught.value.location is not None
    one = compile_function(split_k.trace(ranks=1, width=64), "sm_80").ptx
    assert not any(word in one for word in ("barrier.cluster", "reqncta", "mapa", "::cluster"))


def test_dependent_launches_keep_their_place() -> None:
    """Nothing moves across them, and older targets have nothing to do."""
    text = CLUSTERED.replace(", cluster = [4]", "").replace("% 4", "% 1").replace("4 - 1", "0")
    old, new = compile_function(parse(text), "sm_80").ptx, compile_function(parse(text)).ptx
    assert "griddepcontrol" not in old
    assert new.index("ld.param") < new.index("griddepcontrol.wait;") < new.index("ld.global")
