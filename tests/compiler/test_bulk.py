"""Copies by the copy engine: what is emitted, that it assembles, and that the emulator agrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from execution import agree, assemble, emulate

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.runtime.emulator import EmulatorError
from tileloom.vm import dtype, parse
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import f32, i32
from tileloom.vm.interpreter import run

from ..vm.interpreter.test_bulk import CAST, REUSE, THROUGH, rows


@pytest.mark.parametrize("when", ["late", "early"])
@pytest.mark.parametrize("seed", range(3))
def test_in_and_out(when: str, seed: int, tmp_path: Path) -> None:
    x, y, n = rows()
    lowered = emulate(THROUGH, [x, y, n], seed=seed, asynchronous=when)
    np.testing.assert_array_equal(y, x + np.float32(1))
    opcode = "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes ["
    assert opcode in lowered.ptx and "cp.async.bulk.global.shared::cta.bulk_group [" in lowered.ptx
    assert "cp.async.bulk.wait_group.read 1;" in lowered.ptx
    assert "cp.async.bulk.wait_group 0;" in lowered.ptx
    assemble(lowered.ptx, "sm_90a", tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("    mbarrier_wait %full[%i % 2], %i / 2\n", ""), "race"),
        (("    fence_proxy_async\n", ""), "with no fence.proxy.async between"),
        (("    bulk_wait {pending = 1, read = true}\n", ""), "race"),
        (("  bulk_wait\n", ""), "the thread ends without a wait for this copy"),
        (("], 512", "], 496"), "16 bytes more land at the mbarrier"),
        (("], 512", "], 528"), "16 bytes are outstanding"),
        (("    barrier\n    store_bulk", "    store_bulk"), "race"),
        (("    barrier\n    store %t", "    store %t"), "race"),
    ],
)
def test_the_emulator_finds_what_is_missing(change: tuple[str, str], said: str) -> None:
    assert change[0] in THROUGH
    with pytest.raises(EmulatorError) as caught:
        emulate(THROUGH.replace(*change), rows())
    assert said in caught.value.message


def test_what_is_overwritten_must_be_behind_a_fence_too() -> None:
    x, y = rows(2)[0][:, :32].copy(), np.zeros((2, 32), np.float32)
    emulate(REUSE, [x, y])
    np.testing.assert_array_equal(y[0], x[1])
    with pytest.raises(EmulatorError) as caught:
        emulate(REUSE.replace("  fence_proxy_async\n", ""), [x, y])
    assert "overwrites through the asynchronous proxy what was written" in caught.value.message


def test_memory_used_again_is_fenced() -> None:
    """A tile for the engine lies where an ordinary one was."""
    text = REUSE.replace("  fence_proxy_async\n  barrier\n", "").replace("%s[0], %gx", "%t[0], %gx")
    text = text.replace(
        "  mbarrier_expect",
        "  %k = load %s[0] : reg<f32, [32], spatial(32)>\n"
        "  store %gy[1, 0], %k {dims = [1]}\n  free_shared %s\n"
        "  %t = alloc_shared : shared<f32, [32]>\n  mbarrier_expect",
        1,
    )
    text = text.replace("%b = load %s", "%b = load %t")
    x, y = rows(2)[0][:, :32].copy(), np.zeros((2, 32), np.float32)
    found = agree(text, [x, y])[1]
    np.testing.assert_array_equal(found, x[::-1])
    assert "fence.proxy.async.shared::cta;\n    bar.sync 0;" in compile_function(parse(text)).ptx


@pytest.mark.parametrize("when", ["late", "early"])
@pytest.mark.parametrize("seed", range(3))
def test_to_many_blocks(when: str, seed: int, tmp_path: Path) -> None:
    x = np.arange(256, dtype=np.int32).reshape(8, 32)
    y = np.zeros((8, 4, 32), np.int32)
    lowered = emulate(CAST, [x, y], seed=seed, asynchronous=when)
    np.testing.assert_array_equal(y, x.reshape(2, 4, 32)[np.arange(8) // 4])
    assert ".multicast::cluster [" in lowered.ptx
    assemble(lowered.ptx, "sm_90a", tmp_path)


@vm.kernel
def ring(x: vm.Ptr[f32], y: vm.Ptr[f32], n: i32, stages: int) -> None:
    """y = 2 x, the rows by a thread that loads and warps that compute and store."""
    vm.launch(grid=[2], warps=5)
    gx, gy = vm.global_view(x, [n, 256]), vm.global_view(y, [n, 256])
    shared, out = vm.alloc_shared(f32, (stages, 256)), vm.alloc_shared(f32, (256,))
    full, empty = vm.alloc_mbarrier([stages]), vm.alloc_mbarrier([stages], count=4)
    first = vm.block_index()
    with vm.warp_group(4, 1), vm.single_thread():
        turn = vm.var(0, i32)
        for row in vm.range(first, n, 2):
            vm.mbarrier_wait(empty, turn % stages, turn // stages + 1)
            vm.mbarrier_expect(full, turn % stages, 1024)
            vm.copy_bulk(
                shared, [turn % stages, 0], gx, [row, 0], full, turn % stages, 256, cache="stream"
            )
            turn.set(turn + 1)
    with vm.warp_group(0, 4):
        turn = vm.var(0, i32)
        for row in vm.range(first, n, 2):
            vm.mbarrier_wait(full, turn % stages, turn // stages)
            tile = vm.load(shared, [turn % stages, 0], (256,), dims=[1])
            vm.mbarrier_arrive(empty, turn % stages, per="warp")
            vm.bulk_wait(read=True)
            vm.barrier()
            vm.store(out, [0], tile * 2.0)
            vm.fence_proxy_async()
            vm.barrier()
            vm.store_bulk(gy, [row, 0], out, [0], 256, cache="keep")
            vm.bulk_commit()
            turn.set(turn + 1)
        vm.bulk_wait()


@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("rows_", [0, 1, 9])
def test_rings(stages: int, rows_: int, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(rows_, 256)).astype(np.float32)
    function = ring.trace(stages=stages)
    found = agree(function, [x, np.zeros_like(x), rows_])
    np.testing.assert_array_equal(found[1], x * np.float32(2))
    ptx = compile_function(function).ptx
    assert "createpolicy.fractional.L2::evict_first" in ptx and ".L2::cache_hint [" in ptx
    assemble(ptx, "sm_90a", tmp_path)


@pytest.mark.parametrize("element", ["u4", "u3", "e4m3", "f64", "i16"])
def test_any_dtype(element: str) -> None:
    bits = dtype(element).bits
    text = f"""func @f(%x: *{element}, %y: *{element}) warps = 1 {{
  %gx = global_view %x : global<{element}, [3, 256]>
  %gy = global_view %y : global<{element}, [3, 256]>
  %s = alloc_shared : shared<{element}, [2, 256]>
  %full = alloc_mbarrier : mbarrier<[1]>
  mbarrier_expect %full[0], {128 * bits // 8}
  copy_bulk %s[1, 0], %gx[2, 128], %full[0] {{count = 128}}
  mbarrier_wait %full[0], 0
  store_bulk %gy[1, 0], %s[1, 0] {{count = 128}}
  bulk_commit
  bulk_wait
}}"""
    x = np.random.default_rng(1).integers(0, 256, (3, 32 * bits), np.uint8)
    found: Any = agree(text, [x, np.zeros_like(x)])[1]
    np.testing.assert_array_equal(found[1, : 16 * bits], x[2, 16 * bits :])
    assert not found[[0, 2]].any() and not found[1, 16 * bits :].any()


@pytest.mark.parametrize(
    ("change", "of"),
    [
        (("%gx[%i, 0], %full", "%gx[%i, %n - %n + %i], %full"), "%gx"),
        (("global<f32, [%n, 128]>", "global<f32, [%n, %n], strides = [%n, 1]>"), "%gx"),
        (("%t[%i % 2, 0] {count = 128}", "%t[0, %n] {count = 4}"), "%t"),
        (("global_view %x :", "global_view %x {alignment = 8} :"), "%gx"),
    ],
)
def test_starts_must_be_known_to_be_aligned(change: tuple[str, str], of: str) -> None:
    assert change[0] in THROUGH
    with pytest.raises(VMError) as caught:
        compile_function(parse(THROUGH.replace(*change)))
    assert f"the run in `{of}` may start at no multiple of 16 bytes" in caught.value.message
    assert caught.value.kind == "lowering error" and caught.value.location is not None


def test_older_targets_have_none() -> None:
    text = """func @f() warps = 1 {
  bulk_commit
  bulk_wait
}"""
    with pytest.raises(VMError) as caught:
        compile_function(parse(text), "sm_89")
    assert caught.value.message == "`bulk_commit` doesn't exist on `sm_89`"


def test_what_will_be_read_is_asked_for(tmp_path: Path) -> None:
    """A hint: it changes the code alone, and not that of targets without the engine."""
    x, y, n = rows()
    text = THROUGH.replace(
        "    mbarrier_expect",
        "    prefetch %gx[%i, 64] {count = 64, cache = keep}\n    mbarrier_expect",
    )
    lowered = emulate(text, [x, y, n])
    np.testing.assert_array_equal(y, x + np.float32(1))
    (line,) = [each for each in lowered.ptx.splitlines() if "prefetch" in each and ";" in each]
    assert "cp.async.bulk.prefetch.L2.global.L2::cache_hint [" in line and "], 256, " in line
    assemble(lowered.ptx, "sm_90a", tmp_path)
    alone = """func @f(%x: *f32) warps = 1 {
  %gx = global_view %x : global<f32, [256]>
  prefetch %gx[0] {count = 256}
}"""
    assert "cp.async.bulk.prefetch.L2.global [" in compile_function(parse(alone)).ptx
    for target in ("sm_80", "sm_89"):
        assert "prefetch." not in compile_function(parse(alone), target).ptx
    agree(alone, [np.zeros(256, np.float32)])
    outside = alone.replace("[0]", "[4]")
    with pytest.raises(EmulatorError, match=r"1024 bytes at .* are out of bounds"):
        emulate(outside, [np.zeros(256, np.float32)])
    with pytest.raises(VMError, match=r"the run of 256 elements at \[4\] leaves `%gx`"):
        run(parse(outside), [np.zeros(256, np.float32)])
    with pytest.raises(VMError) as refused:
        compile_function(parse(alone.replace("[0]", "[1]")))
    assert "may start at no multiple of 16 bytes" in refused.value.message
