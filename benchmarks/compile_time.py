"""Times what compiling the quantized matmul costs, and what the caches save.

    python benchmarks/compile_time.py [--weights u4,u3,e4m3] [--m 1,16] [--out rows.jsonl]

One schedule at a time, on the machine's CPU; no GPU is needed. Medians in milliseconds:

    front end     tracing and compiling to PTX, the verifier between passes off
    assembled     the same and ptxas
    disk, traced  tracing, and a hit in the disk cache
    disk          the hit alone: the key of a traced program, its file, its cubin
    process       finding the kernel of a call that was made before
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any

import numpy as np

from tileloom.programs.quantized_matmul import Packed, pack, quantize
from tileloom.programs.quantized_matmul.config import Config
from tileloom.programs.quantized_matmul.device import compiled
from tileloom.programs.quantized_matmul.plan import plan, traced
from tileloom.runtime import compile_kernel
from tileloom.runtime.compiled import generate
from tileloom.runtime.toolkit import find_assembler
from tileloom.vm import Function

TARGET = "sm_90a"
# Milliseconds that each may take.
BARS = {"front_end": 100.0, "assembled": 400.0, "disk_traced": 50.0, "disk": 10.0, "process": 0.02}


def processor_time() -> float:
    """Seconds of processor time of this process and its children."""
    return sum(
        usage.ru_utime + usage.ru_stime for usage in map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN))
    )


def median_ms(call: Callable[[], Any], repeats: int, clock: Callable[[], float]) -> float:
    """The median time of a call, the garbage collector off."""
    call()
    gc.collect()
    gc.disable()
    times = []
    for _ in range(repeats):
        began = clock()
        call()
        times.append(1e3 * (clock() - began))
    gc.enable()
    return statistics.median(times)


@contextmanager
def cache(enabled: bool) -> Iterator[None]:
    """A disk cache of our own, empty, or none."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"TILELOOM_CACHE": str(int(enabled)), "TILELOOM_CACHE_DIR": f"{folder}/c"}
        yield


def trace(config: Config) -> Function:
    """The VM program of a configuration, traced anew."""
    return traced.__wrapped__(config)


def measured(p: Packed, m: int, repeats: int, clock: Callable[[], float]) -> dict[str, float]:
    """What everything costs, in milliseconds."""
    config = plan(p, m, "f16", "f16").config
    median = partial(median_ms, clock=clock)
    with cache(enabled=False):
        row = {
            "trace": median(lambda: trace(config), repeats),
            "front_end": median(lambda: generate(trace(config), TARGET), repeats),
            "assembled": median(lambda: compile_kernel(trace(config), TARGET).cubin, repeats // 2),
        }
    with cache(enabled=True):
        function = trace(config)
        compile_kernel(function, TARGET).cubin  # noqa: B018 - the entry is made by asking for it
        row["disk_traced"] = median(lambda: compile_kernel(trace(config), TARGET).cubin, repeats)
        row["disk"] = median(lambda: compile_kernel(function, TARGET).cubin, repeats)
        # Too short for the processor's clock.
        row["process"] = median_ms(
            lambda: compiled(plan(p, m, "f16", "f16").config, TARGET), 1000, time.perf_counter
        )
    return row


def commit() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip()[:12]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="u4,u3,e4m3")
    parser.add_argument("--m", default="1,16")
    parser.add_argument("--shape", default="4096x4096", help="k x n")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--cpu", action="store_true", help="processor time: for busy machines")
    parser.add_argument("--out", type=Path, help="a file that rows are added to")
    args = parser.parse_args()
    k, n = map(int, args.shape.split("x"))
    values = np.random.default_rng(0).standard_normal((k, n), np.float32)
    print(f"{'weight':8}{'m':>5}" + "".join(f"{name:>13}" for name in ("trace", *BARS)))
    for weight in args.weights.split(","):
        p = pack(quantize(values, weight))
        for m in map(int, args.m.split(",")):
            row = measured(p, m, args.repeats, processor_time if args.cpu else time.perf_counter)
            marks = {name: "!" if row[name] > BARS.get(name, 1e9) else " " for name in row}
            print(f"{weight:8}{m:5}" + "".join(f"{row[x]:12.3f}{marks[x]}" for x in row))
            if args.out:
                labels = {"weight": weight, "m": m, "k": k, "n": n, "target": TARGET}
                labels["commit"] = commit()
                labels["clock"] = "processor" if args.cpu else "wall"
                labels["assembler"] = find_assembler().identity
                with args.out.open("a") as file:
                    file.write(json.dumps(labels | {f"{x}_ms": row[x] for x in row}) + "\n")


if __name__ == "__main__":
    main()
