"""What a GPU prints and how it fails, in processes of their own: a failed check ends the driver's
context, and its output goes past Python's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]
KERNEL = """
import sys
import numpy as np
from tileloom import vm

@vm.kernel
def show(x: vm.Ptr[vm.f32], n: vm.i32):
    vm.launch(grid=[2], warps=2)
    tile = vm.load(vm.global_view(x, [3, 20]), [0, 0], (3, 20))
    with vm.when(vm.block_index() == 1):
        vm.print(tile, "100%")
        vm.print(n * 0.5, "half")
    vm.assert_(n < 10, "n is small")
    with vm.when(n == 7):
        vm.trap("seven")

x = np.random.default_rng(0).normal(size=(3, 20)).astype(np.float32)
show(x, int(sys.argv[1]), device=sys.argv[2])
print("done")
"""


def run(n: int, device: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".src"), "PYTHONUNBUFFERED": "1"}
    return subprocess.run(
        [sys.executable, "-c", KERNEL, str(n), device],
        env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_the_gpu_prints_what_the_interpreter_does(gpu: Any) -> None:
    meant, found = run(3, "interpreter"), run(3, "cuda")
    assert found.returncode == meant.returncode == 0, found.stderr
    # The driver's text may come before or after Python's own.
    assert sorted(found.stdout.splitlines()) == sorted(meant.stdout.splitlines())
    lines = [line for line in found.stdout.splitlines() if line != "done"]
    assert lines == meant.stdout.splitlines()[:-1]


@pytest.mark.parametrize(("n", "message"), [(12, "n is small"), (7, "trap: seven")])
def test_a_failed_check_ends_the_launch_with_its_message(gpu: Any, n: int, message: str) -> None:
    found = run(n, "cuda")
    assert found.returncode != 0 and "done" not in found.stdout
    assert f"Assertion `{message}` failed" in found.stderr + found.stdout
