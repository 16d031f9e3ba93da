"""`device="emulator"`: copies land both ways, and a report says where in the PTX and program."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tileloom import vm
from tileloom.runtime import compile_kernel, devices
from tileloom.runtime.emulator import Kernel
from tileloom.vm.diagnostics import ExecutionError


@vm.kernel
def copied(x: vm.Ptr[vm.f32], y: vm.Ptr[vm.f32], *, waits: bool = True) -> None:
    """Through shared memory, by asynchronous copies."""
    vm.launch(grid=[1], warps=2)
    staging = vm.alloc_shared(vm.f32, (256,))
    vm.copy_async(staging, [0], vm.global_view(x, [256]), [0], (256,))
    vm.copy_async_commit()
    if waits:
        vm.copy_async_wait()
    vm.barrier()
    tile = vm.load(staging, [0], (256,))
    vm.store(vm.global_view(y, [256]), [0], tile * 2.0)


@vm.kernel
def doubled(x: vm.Ptr[vm.f32], y: vm.Ptr[vm.f32]) -> None:
    """Without asynchronous copies."""
    vm.launch(grid=[1], warps=2)
    vm.store(vm.global_view(y, [256]), [0], vm.load(vm.global_view(x, [256]), [0], (256,)) * 2.0)


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How the copies of each launch landed."""
    seen: list[str] = []
    launch = Kernel.launch

    def noting(self: Kernel, *args: Any, **options: Any) -> Any:
        seen.append(options["asynchronous"])
        return launch(self, *args, **options)

    monkeypatch.setattr(Kernel, "launch", noting)
    return seen


def test_copies_land_early_and_late(modes: list[str]) -> None:
    x = np.arange(256, dtype=np.float32)
    for kernel, wanted in ((copied, ["early", "late"]), (doubled, ["late"])):
        y = np.zeros_like(x)
        kernel(x, y, device="emulator")
        assert (y == 2 * x).all()
        assert modes == wanted
        modes.clear()


def test_either_way_alone(modes: list[str]) -> None:
    x, y = np.arange(256, dtype=np.float32), np.zeros(256, np.float32)
    for mode in ("early", "late"):
        devices.emulate(copied.compile(), [x, y], asynchronous=mode)
    assert (y == 2 * x).all() and modes == ["early", "late"]


def test_the_report_names_the_places() -> None:
    kernel = compile_kernel(copied.trace(waits=False))
    x, y = np.arange(256, dtype=np.float32), np.zeros(256, np.float32)
    with pytest.raises(ExecutionError) as caught:
        devices.emulate(kernel, [x, y])
    error = caught.value
    assert "has no defined value" in error.message or "race: block" in error.message
    assert error.location is not None and error.location.file.endswith("test_emulated.py")
    assert "vm." in (error.location.source_line() or "")
    line, instruction = (text for text, _ in error.notes[:2])
    number = int(line.split()[1])
    assert line.startswith("line ") and kernel.ptx.splitlines()[number - 1].strip() in line
    assert instruction.startswith("the instruction of the program: `store ")
    assert not y.any()
