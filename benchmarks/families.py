"""Runs a small product of every family of schedules, for a tool to watch.

    compute-sanitizer --tool memcheck python benchmarks/families.py
    compute-sanitizer --tool racecheck python benchmarks/families.py

Each is checked against float64, and that it gives the same bits each time. `--device emulator` does
the same without a GPU.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from tileloom.programs.quantized_matmul import linear, pack, quantize
from tileloom.programs.quantized_matmul.wide_schedule import parse_schedule

RUNS = 3
BAR = 6e-4  # relative, in the Frobenius norm


@dataclass(frozen=True)
class Family:
    """A schedule, and a problem small and ragged that fills its pipeline."""

    schedule: str
    weight: str
    m: int
    k: int = 1096
    n: int = 200
    group: int = 128
    zero_point: str | None = None


FAMILIES = (
    Family("k4f1t8s1", "u4", 5),  # words in registers
    Family("k4f1t8s1d2x", "u2", 8),  # several turns of them, x a turn ahead
    Family("k4f1t8s3", "u4", 3),  # parts of k meet in memory
    Family("k8f1t8s1d0a2wb2", "u4", 8),  # all by way of shared memory
    Family("k4f1t8s1d1a2b2", "u8", 1),  # all but words
    Family("k2f2t16s2cd0a4wb2", "u4", 16),  # small blocks, clusters
    Family("k1f4t16s8cd0a2wb4", "u3", 11),
    Family("k1f5t16s4cd0a4wb1", "u4", 16, n=600),  # tiles of five feature blocks
    Family("k2f2t8s2cd0a4wb4", "u1", 8, group=32, zero_point="int"),  # several groups a turn
    Family("n64g2h2a4", "u4", 40),  # warp groups
    Family("n64g2h2a4b5", "u6", 70, zero_point="float"),  # blocks that share tiles
)


def check(family: Family, device: str) -> str:
    """What is wrong, or nothing."""
    rng = np.random.default_rng(family.m)
    weights = rng.normal(size=(family.k, family.n))
    q = quantize(weights, family.weight, family.group, family.zero_point)
    x, p = rng.normal(size=(family.m, family.k)).astype(np.float16), pack(q)
    schedule = parse_schedule(family.schedule)
    runs = [linear(x, p, device=device, schedule=schedule) for _ in range(RUNS)]
    meant = x.astype(np.float64) @ q.dequantize()
    error = float(np.linalg.norm(runs[0] - meant) / np.linalg.norm(meant))
    if not error <= BAR:
        return f"error {error:.1e}"
    alike = all((run.view(np.uint16) == runs[0].view(np.uint16)).all() for run in runs)
    return "" if alike else "other bits each time"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    failed = 0
    for family in FAMILIES:
        wrong = check(family, args.device)
        failed += bool(wrong)
        print(
            f"{family.schedule:<20} {family.weight} m={family.m:<3} {wrong or 'right'}", flush=True
        )
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main())
