"""Products of warp groups in programs whose parts wait for each other: the emulator and the
interpreter agree, and both find what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from execution import assemble, emulate

from tileloom.compiler import compile_function
from tileloom.runtime.emulator import EmulatorError
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError
from tileloom.vm.interpreter import run

SPECIALISED = """func @f(%x: *f16, %w: *f16, %y: *f32, %n: i32) warps = 12 {
  %gx = global_view %x : global<f16, [128, %n * 32]>
  %gw = global_view %w : global<f16, [%n * 32, 64]>
  %gy = global_view %y : global<f32, [128, 64]>
  %a = alloc_shared : shared<f16, [3, 128, 32]>
  %b = alloc_shared : shared<f16, [3, 32, 64]>
  %full = alloc_mbarrier {count = 128} : mbarrier<[3]>
  %empty = alloc_mbarrier {count = 8} : mbarrier<[3]>
  warp_group 0 to 4 {
    set_registers {count = 40, change = less}
    for %i in 0 to %n {
      %p = load %gx[0, %i * 32] : reg<f16, [128, 32]>
      %q = load %gw[%i * 32, 0] : reg<f16, [32, 64]>
      mbarrier_wait %empty[%i % 3], %i / 3 + 1
      store %a[%i % 3, 0, 0], %p
      store %b[%i % 3, 0, 0], %q
      fence_proxy_async
      mbarrier_arrive %full[%i % 3]
    }
  }
  warp_group 4 to 12 {
    set_registers {count = 232, change = more}
    %acc = alloc_registers : reg<f32, [128, 64]>
    for %i in 0 to %n {
      mbarrier_wait %full[%i % 3], %i / 3
      wgmma %acc, %a[%i % 3, 0, 0], %b[%i % 3, 0, 0], %i > 0
      wgmma_commit
      wgmma_wait {pending = 1}
      if %i > 0 {
        mbarrier_arrive %empty[(%i - 1) % 3] {per = warp}
      }
    }
    wgmma_wait
    store %gy[0, 0], %acc
  }
}"""


def numbers(shape: tuple[int, ...], seed: int) -> Any:
    return np.random.default_rng(seed).integers(-2, 3, shape).astype(np.float16)


def specialised(text: str, seed: int = 0) -> None:
    a, b = numbers((128, 224), 0), numbers((224, 64), 1)
    expected = a.astype(np.float32) @ b.astype(np.float32)
    for execute in (run, emulate):
        y = np.zeros((128, 64), np.float32)
        execute(parse(text), [a, b, y, 7], seed=seed)
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_specialised_warp_groups(seed: int, tmp_path: Path) -> None:
    specialised(SPECIALISED, seed)
    said = assemble(compile_function(parse(SPECIALISED)).ptx, "sm_90a", tmp_path)
    assert "C75" not in said, said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("      fence_proxy_async\n", ""), "through the asynchronous proxy"),
        (("wgmma_wait {pending = 1}", "wgmma_wait {pending = 2}"), "race on `%a`"),
        (
            ("mbarrier_wait %full[%i % 3], %i / 3\n", "mbarrier_wait %full[0], 1\n"),
            "uninitialised value",
        ),
    ],
)
def test_what_is_missing_between_warp_groups(change: tuple[str, str], said: str) -> None:
    """Both executors find it."""
    assert change[0] in SPECIALISED
    text = SPECIALISED.replace(*change)
    args = [numbers((128, 224), 0), numbers((224, 64), 1)]
    with pytest.raises(VMError) as meant:
        run(parse(text), [*args, np.zeros((128, 64), np.float32), 7])
    assert said in meant.value.message
    with pytest.raises(EmulatorError):
        emulate(text, [*args, np.zeros((128, 64), np.float32), 7])
