"""Launches one configuration of the quantized matmul a few times, for a profiler to look at.

ncu --section WarpStateStats python benchmarks/profile_kernel.py u1 8192 57344 8 k4f1t8s1d2x
"""

from __future__ import annotations

import sys

from tileloom.programs.quantized_matmul.device import loaded, maps_of
from tileloom.programs.quantized_matmul.timing import Bench
from tileloom.programs.quantized_matmul.tuning import Problem
from tileloom.programs.quantized_matmul.wide_schedule import parse_schedule
from tileloom.runtime.tensor_maps import encoded


def main() -> None:
    weight, k, n, m, word = sys.argv[1:6]
    problem = Problem(weight, int(k), int(n), int(m))
    chosen = problem.plan(parse_schedule(word))
    bench = Bench()
    kernel = loaded(chosen.config, bench.gpu.ordinal)
    values = bench.values(chosen, problem.geometry, 0)
    values += encoded(maps_of(chosen, bench.gpu.ordinal, values), values)
    for _ in range(4):
        kernel.launch(chosen.grid, values)
    bench.gpu.synchronize()


if __name__ == "__main__":
    main()
