"""Times the products of two matrices on a GPU beside torch's (cuBLAS), in the same run.

    python benchmarks/matmul.py --shapes 4096x4096x4096,8192x8192x8192 --element f16 \\
        --out benchmarks/results/matmul.jsonl

Shapes are m x k x n. The implementations take turns, round by round; a row is the median over the
rounds of a CUDA graph of launches, each on other matrices. `of_torch` is torch's time over the
implementation's own. Every result is checked against torch's in f32 first. Needs torch.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cases import Data
from quantized_matmul import environment

from tileloom.programs.matmul.hopper import HopperSchedule, matmul_wgmma
from tileloom.programs.matmul.program import matmul
from tileloom.programs.matmul.specialised import (
    Specialised,
    matmul_specialised,
    specialised_schedule,
)

LAUNCHES, ROUNDS, WARM_UP = 8, 10, 2
TORCH_NAMES = {"f16": "float16", "bf16": "bfloat16"}
PROGRAMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "mma": (matmul, {}),
    "wgmma": (matmul_wgmma, {"schedule": HopperSchedule()}),
    "specialised 128x128": (matmul_specialised, {"schedule": Specialised(columns=128, stages=6)}),
    "specialised band 16": (matmul_specialised, {"schedule": Specialised(band=16)}),
}


def launches(torch: Any, shape: tuple[int, int, int], element: str) -> dict[str, Callable[[], Any]]:
    """What each implementation does in one round, and a check of what it computes."""
    m, k, n = shape
    kind = getattr(torch, TORCH_NAMES[element])
    sets = [
        (torch.randn(m, k, device="cuda", dtype=kind), torch.randn(k, n, device="cuda", dtype=kind))
        for _ in range(2)
    ]
    out = torch.empty(m, n, device="cuda", dtype=kind)
    found: dict[str, Callable[[], Any]] = {}
    chosen = (matmul_specialised, {"schedule": specialised_schedule(m, n)})
    expected = sets[0][0].float() @ sets[0][1].float()
    for name, (program, options) in {**PROGRAMS, "specialised": chosen}.items():

        def one(pair: Any, program: Any = program, options: dict[str, Any] = options) -> None:
            program(*pair, out, m, k, n, element=element, out=element, **options)

        one(sets[0])
        error = ((out.float() - expected).norm() / expected.norm()).item()
        assert error < 2e-2, f"{name}: {error}"
        found[name] = lambda one=one: [one(sets[i % 2]) for i in range(LAUNCHES)]
    found["torch"] = lambda: [torch.matmul(*sets[i % 2], out=out) for i in range(LAUNCHES)]
    return found


def measure(torch: Any, shape: tuple[int, int, int], element: str) -> dict[str, float]:
    """Microseconds a product, by implementation."""
    graphs = {}
    for name, run in launches(torch, shape, element).items():
        run()
        torch.cuda.synchronize()
        graphs[name] = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graphs[name]):
            run()
    times: dict[str, list[float]] = {name: [] for name in graphs}
    for turn in range(WARM_UP + ROUNDS):
        for name, graph in graphs.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            graph.replay()
            end.record()
            torch.cuda.synchronize()
            if turn >= WARM_UP:
                times[name].append(1e3 * start.elapsed_time(end) / LAUNCHES)
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--shapes", default="4096x4096x4096,8192x8192x8192")
    parser.add_argument("--element", choices=sorted(TORCH_NAMES), default="f16")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--commit", default="", help="default: git's HEAD")
    args = parser.parse_args()
    data = Data(0)
    torch, common = data.torch, environment(data, args.commit)
    for text in args.shapes.split(","):
        m, k, n = (int(extent) for extent in text.split("x"))
        times = measure(torch, (m, k, n), args.element)
        for name, us in times.items():
            row = {
                "program": "matmul", "impl": name, "element": args.element, "m": m, "k": k, "n": n,
                "us": round(us, 2), "tflops": round(2e-6 * m * k * n / us, 1),
                "of_torch": round(times["torch"] / us, 3), **common,
            }  # fmt: skip
            print(json.dumps(row))
            if args.out is not None:
                with args.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
