"""A long run of random programs on interpreter and emulator, one row of data a chunk of seeds.

    python benchmarks/fuzz.py --seed 20000 --count 20000 [--assemble 8] --out rows.jsonl
    python benchmarks/fuzz.py --seed 20000 --count 2000 --device cuda --jobs 12 --out rows.jsonl

Every program is drawn, read back from its text, compiled with the verifier between passes, and run
on both executors; of each fourth the program after layout inference runs too. The programs of each
`--assemble`-th chunk are compiled and assembled for all targets, those of the other chunks only
compiled for one. On a GPU all are assembled and compared with the interpreter instead. A run that
was stopped goes on behind its last row. The exit status is 1 if executors disagree.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from statistics import median
from typing import Any

from tileloom.runtime.cuda.context import current_device, driver_version
from tileloom.runtime.fuzz.campaign import (
    CHUNK,
    Report,
    chunks,
    default_settings,
    run_chunk,
    write_reproducers,
)
from tileloom.runtime.fuzz.chunk import Chunk
from tileloom.runtime.toolkit import find_assembler


def processor_time() -> float:
    """Seconds of processor time of this process and its children."""
    return sum(
        usage.ru_utime + usage.ru_stime for usage in map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN))
    )


def on_emulator(seeds: range, every: int) -> Iterator[tuple[Chunk, dict[str, Any]]]:
    """Chunks, and what is said of them alone."""
    for number, start in enumerate(range(seeds.start, seeds.stop, CHUNK)):
        assembles = every > 0 and number % every == 0
        settings = replace(
            default_settings("emulator"), assembles=assembles, own_target=not assembles
        )
        began = processor_time()
        chunk = run_chunk(range(start, min(start + CHUNK, seeds.stop)), settings)
        yield (
            chunk,
            {
                "processor_seconds": round(processor_time() - began, 2),
                "assembled_for": ["sm_80", "sm_89", "sm_90a"] if assembles else [],
                "assembler": find_assembler().identity if assembles else "",
            },
        )


def on_gpu(seeds: range, jobs: int) -> Iterator[tuple[Chunk, dict[str, Any]]]:
    """Chunks of a GPU, several at once, and what is said of all of them."""
    gpu = current_device()
    said = {
        "assembled_for": [gpu.target],
        "assembler": find_assembler().identity,
        "gpu": gpu.name,
        "driver": ".".join(map(str, driver_version())),
    }
    for chunk in chunks(seeds, default_settings("cuda"), jobs):
        yield chunk, said


def row_of(chunk: Chunk, device: str, findings_folder: Path) -> dict[str, Any]:
    """One chunk: how many programs, what differs, and what it took."""
    report = Report()
    report.add(chunk)
    write_reproducers(report, findings_folder)
    return {
        "first_seed": chunk.seeds[0],
        "programs": len(chunk.seeds),
        "device": device,
        "of_sm_90": chunk.newest,
        "mismatches": len(chunk.findings),
        "findings": [f"{f.case.seed}: {f.kind}: {f.message[:200]}" for f in chunk.findings],
        "refused": sum(chunk.refusals.values()),
        "median_ms": round(median(chunk.milliseconds or [0.0]), 2),
        "seconds": round(chunk.seconds, 2),
    }


def next_seed(out: Path, first: int) -> int:
    """The seed behind those of the rows that are there."""
    if not out.exists():
        return first
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    ends = [row["first_seed"] + row["programs"] for row in rows if row["first_seed"] >= first]
    return max([first, *ends])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=20000, help="the first program's")
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--assemble", type=int, default=8, help="each how-manieth chunk; 0: none")
    parser.add_argument("--device", choices=("emulator", "cuda"), default="emulator")
    parser.add_argument("--jobs", type=int, default=1, help="chunks at once, on a GPU")
    parser.add_argument("--commit", required=True, help="of the sources that run")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    wrong = 0
    seeds = range(next_seed(args.out, args.seed), args.seed + args.count)
    run = on_emulator(seeds, args.assemble) if args.device == "emulator" else None
    for chunk, said in run or on_gpu(seeds, args.jobs):
        row = row_of(chunk, args.device, args.out.with_suffix(".findings"))
        row |= {**said, "commit": args.commit}
        wrong += row["mismatches"]
        with args.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(
            row["first_seed"], row["mismatches"], row["seconds"], *row["findings"], file=sys.stderr
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
