"""Clusters of blocks and dependent launches: what is emitted, and that it assembles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from execution import agree, assemble

from tileloom.compiler import compile_function
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError

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
