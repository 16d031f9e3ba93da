"""How long the emulator takes for one tile of a matmul with 4-bit weights.

    python benchmarks/emulator.py [--repeats 7] [--out rows.jsonl]

A block of 4 warps multiplies x [128, 256] (f16) by w [256, 128] (u4, packed along k) on tensor
cores. Its PTX is parsed anew each time, all checks are on, and asynchronous copies land one way.
Medians in seconds, of the clock and of the processor.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.layouts import fragments, local, replicate, spatial
from tileloom.runtime.emulator import parse_module
from tileloom.vm.dtypes import f16, f32, pack_bits, u4

M, N, K, DEPTH = 128, 128, 256, 32
BAR = 0.5


@vm.kernel
def tile(x: vm.Ptr[vm.f16], w: vm.Ptr[u4], y: vm.Ptr[vm.f32]) -> None:
    """y = x @ (w - 8), a warp for each quarter of y."""
    vm.launch(grid=[1], warps=4)
    view_w = vm.global_view(w, [N, K], alignment=16)
    shared = vm.alloc_shared(f16, (2, M, DEPTH))
    turns = vm.global_view(x, [1, M, K], alignment=16)
    a = spatial(2, 1) * replicate(2) * local(4, DEPTH // 16) * fragments.mma_a("f16")
    b = replicate(2) * spatial(1, 2) * local(DEPTH // 16, 8) * fragments.mma_b("f16")
    c = spatial(2, 2) * local(4, 8) * fragments.mma_c("f16")
    total = vm.full(f32, (M, N), 0.0, c)
    vm.copy_async(shared, [0, 0, 0], turns, [0, 0, 0], (1, M, DEPTH))
    vm.copy_async_commit()
    for k in vm.range(K // DEPTH):
        vm.copy_async(shared, [(k + 1) % 2, 0, 0], turns, [0, 0, (k + 1) * DEPTH], (1, M, DEPTH))
        vm.copy_async_commit()
        vm.copy_async_wait(pending=1)
        vm.barrier()
        rows = vm.load(shared, [k % 2, 0, 0], (M, DEPTH), a, dims=(1, 2))
        codes = vm.load(view_w, [0, k * DEPTH], (DEPTH, N), b, dims=(1, 0))
        vm.mma(total, rows, vm.cast(codes, f16) - 8.0)
        vm.barrier()
    vm.copy_async_wait()
    vm.store(vm.global_view(y, [M, N]), [0, 0], total)


def commit() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip()[:12]


def times(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Medians of the clock and of the processor, in seconds."""
    clock, processor = [], []
    for _ in range(repeats):
        began, spent = time.perf_counter(), time.process_time()
        run()
        clock.append(time.perf_counter() - began)
        processor.append(time.process_time() - spent)
    return median(clock), median(processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, help="a file that the row is added to")
    args = parser.parse_args()
    lowered = compile_function(tile.trace(), "sm_80")
    random = np.random.default_rng(0)
    x = random.normal(size=(M, K)).astype(np.float16)
    codes = random.integers(0, 16, (N, K))
    w, y = pack_bits(codes.reshape(-1), u4.bits), np.zeros((M, N), np.float32)

    def run() -> None:
        parse_module.cache_clear()
        kernel = parse_module(lowered.ptx).kernels[lowered.kernel_name]
        kernel.launch(1, lowered.num_threads, [x, w, y], shared_bytes=lowered.shared_bytes)

    clock, processor = times(run, args.repeats)
    wanted = x.astype(np.float64) @ (codes.T - 8.0)
    worst = float(np.abs(y - wanted).max() / np.abs(wanted).max())
    assert worst < 1e-5, f"the emulator's result is wrong: {worst}"
    lines = lowered.ptx.count("\n")
    print(f"{lines} lines of PTX: {clock:.3f} s ({processor:.3f} of the processor), bar {BAR}")
    if args.out:
        row = {
            "what": f"{M}x{N}x{K} u4, 4 warps", "lines": lines, "seconds": round(clock, 4),
            "processor_seconds": round(processor, 4), "error": worst, "commit": commit(),
        }  # fmt: skip
        with args.out.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
