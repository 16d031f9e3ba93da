"""Compiled kernels: what they show, the disk cache behind them, and the devices they run on."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tileloom import vm
from tileloom.runtime import CompiledKernel, compile_kernel, compiled, devices, run_function
from tileloom.runtime.assemblers import Assembler
from tileloom.runtime.cuda import context
from tileloom.runtime.errors import AssemblerError, NoDeviceError, ToolMissingError
from tileloom.runtime.toolkit import find_program
from tileloom.vm.diagnostics import DeviceError, LaunchError, VMError, VMNameError

from .kernels import add_one


@pytest.fixture
def kernel() -> CompiledKernel:
    return compile_kernel(add_one.trace())


def arrays() -> tuple[Any, Any]:
    return np.arange(300, dtype=np.float32), np.full(300, np.nan, np.float32)


def test_what_it_shows(kernel: CompiledKernel, assembler: Assembler) -> None:
    assert kernel.text() == kernel.function.text()
    assert vm.parse(kernel.text()).text() == kernel.text()
    assert f".visible .entry {kernel.name}(" in kernel.ptx
    assert kernel.cubin[:4] == b"\x7fELF"
    resources = kernel.resources
    assert resources.threads == 128 and resources.registers == kernel.assembled.registers
    assert resources.spill_stores == 0 and 0 < resources.occupancy <= 1
    assert kernel.assembled.assembler == assembler.identity
    assert repr(kernel) == "<compiled kernel add_one for sm_90a>"


def test_stages(kernel: CompiledKernel) -> None:
    assert "layouts" in kernel.stages
    assert "reg<f32, [128]" in kernel.text("layouts")
    with pytest.raises(VMNameError, match="there is no stage `layout`") as caught:
        kernel.text("layout")
    assert caught.value.hint == "did you mean `layouts`?"


def test_sass(kernel: CompiledKernel, assembler: Assembler) -> None:
    if find_program("nvdisasm") is None:
        pytest.skip("no nvdisasm")
    assert "FADD" in kernel.sass()
    assert "kernels.py" in kernel.sass(line_info=True)


def test_places_of_ptx_lines(kernel: CompiledKernel) -> None:
    line = next(i for i, t in enumerate(kernel.ptx.splitlines(), 1) if "st.global" in t)
    place = kernel.place_of(line)
    assert place is not None and Path(place.file).name == "kernels.py"
    assert "vm.store" in (place.source_line() or "")
    assert kernel.place_of(0) is None


def test_compiling_again_takes_it_from_disk(
    kernel: CompiledKernel, assembler: Assembler, monkeypatch: pytest.MonkeyPatch
) -> None:
    cubin = kernel.cubin

    def forbidden(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("the compiler ran")

    monkeypatch.setattr(compiled, "lower", forbidden)
    monkeypatch.setattr(compiled, "assemble", forbidden)
    again = compile_kernel(add_one.trace())
    assert (again.ptx, again.cubin, again.resources) == (kernel.ptx, cubin, kernel.resources)


@pytest.mark.parametrize("change", ["target", "flags", "compiler", "program"])
def test_the_key_has_everything_that_matters(
    kernel: CompiledKernel, assembler: Assembler, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    key = kernel._key(assembler)
    assert compile_kernel(add_one.trace())._key(assembler) == key
    other = kernel
    if change == "target":
        other = compile_kernel(add_one.trace(), "sm_80")
    elif change == "flags":
        monkeypatch.setenv("TILELOOM_ASSEMBLER_FLAGS", "-O1")
    elif change == "compiler":
        monkeypatch.setattr(compiled, "compiler_hash", lambda: "another")
    else:
        other = compile_kernel(vm.parse(kernel.text().replace("1.0", "2.0")))
    assert other._key(assembler) != key


def test_an_entry_with_foreign_metadata_is_made_again(
    kernel: CompiledKernel, assembler: Assembler
) -> None:
    from tileloom.runtime.cache import Entry, disk_cache

    disk = disk_cache()
    assert disk is not None
    disk.put(kernel._key(assembler), Entry({"something": "else"}, b""))
    again = compile_kernel(add_one.trace())
    assert again.cubin[:4] == b"\x7fELF"


def test_without_a_cache(assembler: Assembler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILELOOM_CACHE", "0")
    assert compile_kernel(add_one.trace()).cubin[:4] == b"\x7fELF"


def test_rejected_ptx_leads_to_the_programs_line(
    kernel: CompiledKernel, assembler: Assembler
) -> None:
    from dataclasses import replace

    assert kernel._generated is not None
    broken = kernel.ptx.replace("st.global", "st.gobal")
    kernel._generated = replace(kernel._generated, ptx=broken)
    with pytest.raises(AssemblerError) as caught:
        _ = kernel.cubin
    assert ("the instruction comes from here") in str(caught.value)
    assert "kernels.py:" in str(caught.value)


def test_unknown_target() -> None:
    with pytest.raises(VMError, match="unknown target `sm_91`"):
        compile_kernel(add_one.trace(), "sm_91")


@pytest.mark.parametrize("device", ["interpreter", "emulator"])
def test_devices_agree(kernel: CompiledKernel, device: str) -> None:
    for run in (
        lambda *a: kernel(*a, device=device),
        lambda *a: add_one(*a, device=device),
        lambda *a: run_function(kernel.function, a, device=device),
    ):
        x, y = arrays()
        run(x, y, 300)
        np.testing.assert_array_equal(y, np.arange(300) + 1)
        run(x, y, 0)  # no block


@pytest.mark.parametrize("device", ["interpreter", "emulator"])
def test_read_only_input(kernel: CompiledKernel, device: str) -> None:
    x, y = arrays()
    x.flags.writeable = False
    kernel(x, y, 300, device=device)
    np.testing.assert_array_equal(y, x + 1)


def test_unknown_device(kernel: CompiledKernel) -> None:
    with pytest.raises(DeviceError) as caught:
        kernel(*arrays(), 300, device="cudaa")
    assert caught.value.hint == "did you mean `cuda`?"
    assert caught.value.location is not None
    assert Path(caught.value.location.file).name == Path(__file__).name


def test_streams_are_for_gpus(kernel: CompiledKernel) -> None:
    with pytest.raises(LaunchError, match="the `interpreter` has no streams"):
        kernel(*arrays(), 300, device="interpreter", stream=3)


def test_gpu_arrays_need_a_gpu(kernel: CompiledKernel) -> None:
    class OnGpu:
        __cuda_array_interface__ = {  # noqa: RUF012
            "shape": (300,), "typestr": "<f4", "data": (4096, False), "version": 3
        }  # fmt: skip

    with pytest.raises(LaunchError, match="`x` is in the memory of GPU 0, where the interpreter"):
        kernel(OnGpu(), arrays()[1], 300, device="interpreter")


def test_the_default_device(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    devices._default.cache_clear()
    monkeypatch.setattr(context, "available", lambda: False)
    with caplog.at_level(logging.WARNING, "tileloom"):
        assert devices.choose(None) == devices.choose(None) == "interpreter"
    assert len(caplog.records) == 1 and "no GPU was found" in caplog.text
    devices._default.cache_clear()
    monkeypatch.setattr(context, "available", lambda: True)
    assert devices.choose(None) == "cuda"
    monkeypatch.setenv("TILELOOM_DEVICE", "emulator")
    assert devices.choose(None) == "emulator"
    assert devices.choose("interpreter") == "interpreter"
    devices._default.cache_clear()


def test_cuda_without_a_gpu(kernel: CompiledKernel) -> None:
    if context.available():
        pytest.skip("there is a GPU")
    with pytest.raises(NoDeviceError, match="there is no"):
        kernel(*arrays(), 300, device="cuda")


def test_a_traced_kernel_is_traced_and_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from tileloom.runtime import executors

    traced, built = [], []
    trace, compile_ = type(add_one).trace, executors.compile_kernel
    monkeypatch.setattr(
        type(add_one), "trace", lambda self, **c: traced.append(c) or trace(self, **c)
    )
    monkeypatch.setattr(executors, "compile_kernel", lambda f, t: built.append(t) or compile_(f, t))
    executors._programs.pop(add_one, None)
    for device in ("interpreter", "emulator", "emulator", "interpreter"):
        x, y = arrays()
        add_one(x, y, 300, device=device)
    assert (traced, built) == ([{}], ["sm_90a"])


def test_the_interpreter_needs_no_assembler(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(choice: str | None = None) -> Assembler:
        raise ToolMissingError("there is no assembler")

    from tileloom.runtime import toolkit

    monkeypatch.setattr(toolkit, "find_assembler", absent)
    monkeypatch.setattr(compiled, "find_assembler", absent)
    kernel = compile_kernel(add_one.trace())
    for device in ("interpreter", "emulator"):
        x, y = arrays()
        kernel(x, y, 300, device=device)
        np.testing.assert_array_equal(y, x + 1)
    with pytest.raises(ToolMissingError):
        _ = kernel.cubin


_PROGRAM = """
import json, sys
sys.path.insert(0, {folder!r})
from kernels import add_one
from tileloom.runtime import compile_kernel
kernel = compile_kernel(add_one.trace())
print(json.dumps([kernel.ptx, kernel.cubin.hex()]))
"""


def test_every_process_makes_the_same(assembler: Assembler, tmp_path: Path) -> None:
    made = set()
    for seed in ("1", "2"):
        environment = {
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": ":".join(sys.path),
            "TILELOOM_CACHE_DIR": str(tmp_path / seed),
            "PATH": __import__("os").environ["PATH"],
        }
        program = _PROGRAM.format(folder=str(Path(__file__).parent))
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr
        made.add(tuple(json.loads(done.stdout)))
    assert len(made) == 1
