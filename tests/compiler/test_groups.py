"""Groups of threads: what is emitted, that it assembles, and that the emulator agrees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from execution import agree, assemble, emulate

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.runtime.emulator import EmulatorError
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import f16, f32, i32

RING = (Path(__file__).parents[1] / "vm/text/corpus/groups.vm").read_text()


def rows(count: int = 6) -> tuple[np.ndarray, np.ndarray, int]:
    x = np.random.default_rng(0).normal(size=(count, 128)).astype(np.float32)
    return x, np.zeros_like(x), count


@pytest.mark.parametrize("seed", range(4))
def test_a_producer_and_a_consumer(seed: int, tmp_path: Path) -> None:
    x, y, n = rows()
    lowered = emulate(RING, [x, y, n], seed=seed)
    np.testing.assert_array_equal(y, x + np.float32(1))
    ptx = lowered.ptx
    assert "setmaxnreg.dec.sync.aligned.u32 40;" in ptx and "setmaxnreg.inc" in ptx
    assert "bar.sync 1, 128;" in ptx and ".minnctapersm 1" in ptx
    assert "elect.sync _|%p" in ptx
    said = assemble(ptx, "sm_90a", tmp_path)
    assert "setmaxnreg" not in said, said  # the assembler knows the registers at the start


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("      mbarrier_wait %empty[0], %i + 1\n", ""),
            ("race", "arrivals at the mbarrier", "deadlock"),
        ),
        (("      mbarrier_wait %full[0], %i\n", ""), ("race", "no defined value")),
        (("      barrier\n", ""), ("race",)),
        (("%empty[0], %i + 1", "%empty[0], %i"), ("deadlock",)),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_emulator_finds_what_is_missing(
    change: tuple[str, str], said: tuple[str, ...], seed: int
) -> None:
    assert change[0] in RING
    with pytest.raises(EmulatorError) as caught:
        emulate(RING.replace(*change), [*rows()], seed=seed)
    assert any(words in caught.value.message for words in said), caught.value


@vm.kernel
def halves(x: vm.Ptr[f32], y: vm.Ptr[f32], z: vm.Ptr[i32]) -> None:
    """Sums of rows by one half of the warps, places of the maxima of columns by the other."""
    vm.launch(grid=[3], warps=8)
    block = vm.block_index()
    gx, gy = vm.global_view(x, [3, 48, 40]), vm.global_view(y, [3, 48])
    gz = vm.global_view(z, [3, 40])
    with vm.warp_group(0, 3):
        a = vm.load(gx, [block, 0, 0], (48, 40), dims=[1, 2])
        vm.store(gy, [block, 0], vm.squeeze(vm.reduce(a, "sum", 1), [1]), dims=[1])
    with vm.warp_group(3, 5):
        b = vm.transpose(vm.load(gx, [block, 0, 0], (48, 40), dims=[1, 2]))
        c = vm.scan(b, "add", 1)
        d = vm.squeeze(vm.reduce(c, "argmax", 1), [1])
        vm.store(gz, [block, 0], vm.cast(d, i32), dims=[1])


@pytest.mark.parametrize("target", ["sm_80", "sm_90a"])
def test_tiles_reduced_and_converted_by_parts_of_a_block(target: str, tmp_path: Path) -> None:
    x = np.random.default_rng(1).integers(-5, 6, (3, 48, 40)).astype(np.float32)
    y, z = np.zeros((3, 48), np.float32), np.zeros((3, 40), np.int32)
    found = agree(halves.trace(), [x, y, z], target)
    np.testing.assert_array_equal(found[1], x.sum(2))
    np.testing.assert_array_equal(found[2], x.transpose(0, 2, 1).cumsum(2).argmax(2))
    lowered = compile_function(halves.trace(), target)
    assert "bar.sync 1, 160;" in lowered.ptx
    assert "bar.sync 0" not in lowered.ptx
    assemble(lowered.ptx, target, tmp_path)


@vm.kernel
def products(a: vm.Ptr[f16], b: vm.Ptr[f16], c: vm.Ptr[f32]) -> None:
    """c = a @ b for two pairs of matrices, each by two of four warps."""
    vm.launch(grid=[1], warps=4)
    ga, gb = vm.global_view(a, [2, 32, 64]), vm.global_view(b, [2, 64, 16])
    gc = vm.global_view(c, [2, 32, 16])
    for half in range(2):
        with vm.warp_group(2 * half, 2):
            acc = vm.full(f32, (32, 16), 0.0)
            left = vm.load(ga, [half, 0, 0], (32, 64), dims=[1, 2])
            right = vm.load(gb, [half, 0, 0], (64, 16), dims=[1, 2])
            vm.mma(acc, left, right)
            vm.store(gc, [half, 0, 0], acc, dims=[1, 2])


def test_products_of_warp_groups(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    a = rng.integers(-4, 5, (2, 32, 64)).astype(np.float16)
    b = rng.integers(-4, 5, (2, 64, 16)).astype(np.float16)
    found = agree(products.trace(), [a, b, np.zeros((2, 32, 16), np.float32)])
    np.testing.assert_array_equal(found[2], a.astype(np.float32) @ b.astype(np.float32))
    assemble(compile_function(products.trace()).ptx, "sm_90a", tmp_path)


@pytest.mark.parametrize("target", ["sm_80", "sm_90a"])
def test_single_threads(target: str, tmp_path: Path) -> None:
    text = """func @f(%x: *f32, %y: *f32, %n: i32) warps = 4 {
  %gx = global_view %x : global<f32, [%n, 5]>
  %gy = global_view %y : global<f32, [%n, 5]>
  for %i in 0 to %n {
    warp_group 1 to 4 {
      single_thread {
        %a = load %gx[%i, 0] {dims = [1]} : reg<f32, [5]>
        %b = reduce %a {dim = 0}
        %c = sub %a, %b
        store %gy[%i, 0], %c {dims = [1]}
      }
      barrier
    }
  }
}"""
    x = np.random.default_rng(3).integers(-9, 9, (3, 5)).astype(np.float32)
    found = agree(text, [x, np.zeros_like(x), 3], target)
    np.testing.assert_array_equal(found[1], x - x.sum(1, keepdims=True))
    ptx = compile_function(parse(text), target).ptx
    assert ("elect.sync" in ptx) is (target == "sm_90a") and ptx.count("bar.sync 1, 96;") == 1
    assemble(ptx, target, tmp_path)


@vm.kernel
def roles(y: vm.Ptr[f32]) -> None:
    """Two groups of 4 warps change their registers and store what they are."""
    vm.launch(grid=[2], warps=8)
    gy = vm.global_view(y, [2, 2, 128])
    for role, (count, change) in enumerate([(64, "less"), (160, "more")]):
        with vm.warp_group(4 * role, 4):
            vm.set_registers(count, change)
            value = vm.full(f32, (128,), float(count))
            vm.store(gy, [vm.block_index(), role, 0], value, dims=[2])


def test_registers_change_hands(tmp_path: Path) -> None:
    found = agree(roles.trace(), [np.zeros((2, 2, 128), np.float32)])[0]
    assert (found[:, 0] == 64).all() and (found[:, 1] == 160).all()
    assert "setmaxnreg" not in compile_function(roles.trace(), "sm_89").ptx
    assemble(compile_function(roles.trace()).ptx, "sm_90a", tmp_path)


def test_one_warp_meets_without_a_barrier() -> None:
    text = """func @f(%y: *f32) warps = 2 {
  %gy = global_view %y : global<f32, [32]>
  %s = alloc_shared : shared<f32, [32]>
  warp_group 1 to 2 {
    %a = full {fill = 3.0} : reg<f32, [32]>
    store %s[0], %a
    barrier
    %b = load %s[0] : reg<f32, [32], replicate(32) * local(32)>
    %c = convert_layout %b : reg<f32, [32], spatial(32)>
    store %gy[0], %c
  }
}"""
    assert (agree(text, [np.zeros(32, np.float32)])[0] == 3).all()
    ptx = compile_function(parse(text)).ptx
    assert "bar.warp.sync" in ptx and "bar.sync" not in ptx


def test_a_block_has_sixteen_barriers() -> None:
    groups = "\n".join(
        f"warp_group {first} to {first + 2} {{\n    barrier\n  }}" for first in range(16)
    )
    with pytest.raises(VMError) as caught:
        compile_function(parse(f"func @f() warps = 32 {{\n  {groups}\n}}"))
    assert caught.value.message == "more than 15 groups of several warps meet"
    assert caught.value.kind == "resource error"
