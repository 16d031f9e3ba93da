"""Records what a GPU answers to every case: `python -m tests.runtime.emulator.hardware.record DIR`,
or with `DIR wgmma` to the products of warp groups, `DIR emitted` to what the compiler emits beside,
`DIR PART` to cases named so.

Needs a GPU of compute capability 9.0 and its driver, nothing else: PTX is assembled by the driver,
which is called through ctypes. Writes results-N.npz with the raw results of every case, from which
`distill` makes the fixtures of the tests.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

import numpy as np

from ..harness import op_kernel
from .cases import Case, all_cases
from .emitted_cases import emitted_cases
from .operands import COUNT, Array
from .wgmma_cases import wgmma_cases

_PER_FILE = 200


class Driver:
    """The few calls of the CUDA driver that a launch needs."""

    def __init__(self) -> None:
        self.lib = ctypes.CDLL("libcuda.so.1")
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.call("cuInit", 0)
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.call("cuCtxSetCurrent", context)

    def call(self, name: str, *args: Any) -> None:
        status = getattr(self.lib, name)(*args)
        if status:
            raise RuntimeError(f"{name}: error {status}")

    def upload(self, data: Array) -> ctypes.c_uint64:
        pointer = ctypes.c_uint64()
        size = ctypes.c_size_t(data.nbytes)
        self.call("cuMemAlloc_v2", ctypes.byref(pointer), size)
        self.call("cuMemcpyHtoD_v2", pointer, data.ctypes.data_as(ctypes.c_void_p), size)
        return pointer

    def launch(self, ptx: str, buffers: list[Array], shared: int) -> list[Array]:
        """Runs kernel `k` on copies of the buffers and returns them as they are afterwards."""
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        image = ctypes.c_char_p(ptx.encode())
        self.call("cuModuleLoadData", ctypes.byref(module), image)
        self.call("cuModuleGetFunction", ctypes.byref(function), module, b"k")
        pointers = [self.upload(np.ascontiguousarray(data)) for data in buffers]
        params = (ctypes.c_void_p * len(pointers))(
            *(ctypes.cast(ctypes.pointer(p), ctypes.c_void_p) for p in pointers)
        )
        blocks = COUNT // 128
        self.call("cuLaunchKernel", function, blocks, 1, 1, 128, 1, 1, shared, None, params, None)
        self.call("cuCtxSynchronize")
        results = [np.empty_like(data) for data in buffers]
        for pointer, result in zip(pointers, results, strict=True):
            target = result.ctypes.data_as(ctypes.c_void_p)
            self.call("cuMemcpyDtoH_v2", target, pointer, ctypes.c_size_t(result.nbytes))
            self.call("cuMemFree_v2", pointer)
        self.call("cuModuleUnload", module)
        return results


def kernel_of(case: Case) -> str:
    """The PTX of a case."""
    outputs = [np.dtype(kind) for kind in case.outputs]
    ptx = op_kernel(case.text, [array.dtype for array in case.operands()], outputs, COUNT)
    return ptx.replace(".version 8.0", ".version 8.6")


def record(driver: Driver, case: Case) -> list[Array]:
    """The results of one case."""
    operands = case.operands()
    buffers = [*operands, *(np.zeros(COUNT, kind) for kind in case.outputs)]
    return driver.launch(kernel_of(case), buffers, case.shared)[len(operands) :]


def main(folder: Path, which: str = "") -> None:
    driver = Driver()
    others = {"wgmma": wgmma_cases, "emitted": emitted_cases}.get(which)
    cases = others() if others else [c for c in all_cases() if which in c.name]
    for start in range(0, len(cases), _PER_FILE):
        found: dict[str, Any] = {}
        for case in cases[start : start + _PER_FILE]:
            try:
                results = record(driver, case)
            except RuntimeError as error:
                print(f"{case.name}: {error}")
                continue
            for number, result in enumerate(results):
                found[f"{case.name}|{number}"] = result
        np.savez_compressed(folder / f"results-{start // _PER_FILE}.npz", **found)
        print(f"{start + len(cases[start : start + _PER_FILE])} of {len(cases)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
