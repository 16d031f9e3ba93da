"""Barriers that count: what is emitted, that it assembles, and that the emulator agrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from execution import agree, assemble, emulate

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.runtime.emulator import EmulatorError
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import f32, i32
from tileloom.vm.interpreter import run

REVERSE = """func @f(%x: *f32, %y: *f32, %n: i32) warps = 2 {
  %gx = global_view %x : global<f32, [%n, 64]>
  %gy = global_view %y : global<f32, [%n, 64]>
  %s = alloc_shared : shared<f32, [64]>
  %full = alloc_mbarrier {count = 64} : mbarrier<[2]>
  %k = arange {start = 63, step = -1} : reg<i32, [64], spatial(64)>
  for %i in 0 to %n {
    %a = load %gx[%i, 0] {dims = [1]} : reg<f32, [64], spatial(64)>
    store %s[0], %a
    mbarrier_arrive %full[%i % 2]
    mbarrier_wait %full[%i % 2], %i / 2
    %b = gather %s[0], %k : reg<f32, [64], spatial(64)>
    barrier
    store %gy[%i, 0], %b {dims = [1]}
  }
}"""


def arrays() -> list[Any]:
    x = np.random.default_rng(0).normal(size=(7, 64)).astype(np.float32)
    return [x, np.zeros_like(x), 7]


def test_arrivals_and_waits(tmp_path: Path) -> None:
    x, y, n = arrays()
    np.testing.assert_array_equal(agree(REVERSE, [x, y, n])[1], x[:, ::-1])
    ptx = compile_function(parse(REVERSE)).ptx
    assert ptx.count("mbarrier.init.shared::cta.b64") == 2
    init, fence, first = (
        ptx.index(t) for t in ("mbarrier.init", "fence.mbarrier_init", "bar.sync")
    )
    assert init < fence < first < ptx.index("mbarrier.arrive.release.cta.shared::cta.b64 _, [")
    assert "mbarrier.try_wait.parity.acquire.cta.shared::cta.b64" in ptx
    assemble(ptx, "sm_90a", tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_warps(seed: int) -> None:
    x, y, n = arrays()
    emulate(REVERSE, [x, y, n], seed=seed)
    np.testing.assert_array_equal(y, x[:, ::-1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("    mbarrier_wait %full[%i % 2], %i / 2\n", ""), "race: block (0, 0, 0)"),
        (("count = 64", "count = 65"), "phase 0 runs, 64 of 65 arrivals have come"),
        (("count = 64", "count = 63"), "64 arrivals at the mbarrier at shared address 256"),
        (("%i / 2", "%i / 2 + 1"), "deadlock: nobody can run; waiting: block (0, 0, 0), warp 0"),
    ],
)
def test_the_emulator_finds_mistakes_too(change: tuple[str, str], said: str) -> None:
    assert change[0] in REVERSE
    with pytest.raises(EmulatorError) as caught:
        emulate(REVERSE.replace(*change), arrays())
    assert said in caught.value.message


@vm.kernel
def ring(x: vm.Ptr[f32], y: vm.Ptr[f32], ranks: int) -> None:
    """y[b] = x of the block before b in its cluster, plus 1 if a test says what a wait would."""
    vm.launch(grid=[8], warps=1, cluster=(ranks,))
    gx, gy = vm.global_view(x, [8, 32]), vm.global_view(y, [8, 32])
    shared = vm.alloc_shared(f32, (32,))
    came, left = vm.alloc_mbarrier([1], count=2), vm.alloc_mbarrier([2, 2], count=1)
    after = (vm.cluster_rank() + 1) % ranks
    a = vm.load(gx, [vm.block_index(), 0], (32,), dims=[1])
    vm.cluster_barrier()
    vm.store_remote(shared, [0], a, after)
    vm.mbarrier_arrive(came, 0, after, per="warp")
    vm.mbarrier_expect(came, [0], 0, after)
    vm.mbarrier_wait(came, 0, 0)
    over = vm.mbarrier_test(came, 0, 0)
    b = vm.load(shared, [0], (32,)) + vm.select(over, 1.0, 0.0)
    vm.store(gy, [vm.block_index(), 0], b, dims=[1])
    vm.mbarrier_expect(left, [1, 0], 0)
    vm.mbarrier_wait(left, [1, 0], 0)
    vm.cluster_barrier()


@pytest.mark.parametrize("ranks", [1, 2, 4, 8])
@pytest.mark.parametrize("seed", [0, 1])
def test_arrivals_in_a_cluster(ranks: int, seed: int, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(8, 32)).astype(np.float32)
    meant, found = np.zeros_like(x), np.zeros_like(x)
    function = ring.trace(ranks=ranks)
    run(function, [x, meant], seed=seed)
    lowered = emulate(function, [x, found], seed=seed)
    before = [b // ranks * ranks + (b - 1) % ranks for b in range(8)]
    np.testing.assert_array_equal(meant, x[before] + np.float32(1))
    np.testing.assert_array_equal(found, meant)
    assert ("release.cluster.shared::cluster" in lowered.ptx) is (ranks > 1)
    # Who waits for others' arrivals drops the L1 cache; at `left` only its own block arrives.
    assert lowered.ptx.count("acquire.cluster.shared") == (2 if ranks > 1 else 0)
    assert lowered.ptx.count("acquire.cta.shared") == (1 if ranks > 1 else 3)
    assemble(lowered.ptx, "sm_90a", tmp_path)


def test_older_targets_have_none() -> None:
    with pytest.raises(VMError) as caught:
        compile_function(parse(REVERSE), "sm_89")
    assert caught.value.message == "`alloc_mbarrier` doesn't exist on `sm_89`"
    assert caught.value.kind == "target error" and caught.value.location is not None


def test_barriers_in_python_are_checked() -> None:
    @vm.kernel
    def wrong(n: i32) -> None:
        vm.launch(grid=[1], warps=1)
        vm.mbarrier_wait(n, 0, 0)  # type: ignore[arg-type]

    with pytest.raises(VMError) as caught:
        wrong.trace()
    assert caught.value.message == "expected barriers, found a scalar"


TEST = """func @f(%y: *i32) warps = 2 {
  %gy = global_view %y : global<i32, [32]>
  %b = alloc_mbarrier {count = 32} : mbarrier<[1]>
  warp_group 1 to 2 {
    mbarrier_arrive %b[0]
  }
  warp_group 0 to 1 {
    %c = full {fill = 1} : reg<i32, [32], spatial(32)>
    %over = mbarrier_test %b[0], 0
    if %over {
      %d = add %c, 1
      assign %c, %d
    }
    store %gy[0], %c
  }
}"""


def test_a_warp_agrees_on_what_it_sees() -> None:
    """Lanes may see a phase end at different times; of a warp nobody has then seen it."""
    found = set()
    for seed in range(1, 25):
        y = np.zeros(32, np.int32)
        emulate(TEST, [y], seed=seed)
        found.add(tuple(np.unique(y).tolist()))
    assert found == {(1,), (2,)}


def test_barriers_made_together_are_told_of_together() -> None:
    """The block meets once for all of them, and again for those that come later."""
    ptx = compile_function(
        parse("""func @f() warps = 1 {
  %a = alloc_mbarrier {count = 1} : mbarrier<[2]>
  %b = alloc_mbarrier {count = 2} : mbarrier<[1]>
  barrier
  %c = alloc_mbarrier {count = 1} : mbarrier<[1]>
}""")
    ).ptx
    assert ptx.count("mbarrier.init.shared") == 4
    assert ptx.count("fence.mbarrier_init") == 2 and ptx.count("bar.sync") == 3
    before, after = ptx.split("fence.mbarrier_init", 1)
    assert before.count("mbarrier.init.shared") == 3 and after.count("mbarrier.init.shared") == 1
