"""Checks the quantized matmul on a GPU against float64: dtypes, shapes, groups, zero points, m.

    python benchmarks/correctness.py --out benchmarks/results/correctness.jsonl [--limit N]
        [--commit C] [--jobs J] [--runners R]

Three sets of cases: every (dtype, activation) at two shapes, every m at a third, and a cover in
which every pair of values of (dtype and zero point, activation, group, m, shape) occurs. Codes,
scales and x are drawn anew for each, weights are packed on the GPU by the packing program, outputs
are poisoned, and the reference is float64 on the dequantized weights. A case passes if its error in
the Frobenius norm is within the bar and each element within a bound of its own (`bound_used` is the
largest part of it that an element takes). Needs torch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
from cases import Case, Data, Problem
from quantized_matmul import environment

from tileloom.programs.quantized_matmul import linear
from tileloom.programs.quantized_matmul.device import compiled
from tileloom.programs.quantized_matmul.pack_program import pack_weights
from tileloom.programs.quantized_matmul.packing import Packed
from tileloom.programs.quantized_matmul.plan import plan, x_vector
from tileloom.programs.quantized_matmul.quantization import legal_zero_points
from tileloom.programs.quantized_matmul.wide_config import WideConfig
from tileloom.runtime.compiled import compile_kernel
from tileloom.vm.dtypes import dtype

FLOATS = [f"e{x}m{b - 1 - x}" for b in range(3, 9) for x in range(1, b)]
NAMES = [
    *(f"u{b}" for b in range(1, 9)),
    *(f"i{b}" for b in range(2, 9)),
    *(f"b{b}" for b in range(1, 9)),
    *FLOATS,
    "nf4",
]
ACTIVATIONS = ("f16", "bf16")
GROUPS = (32, 48, 64, 128, "channel")
TOKENS = (0, 1, 3, 8, 16, 17, 64, 129, 1000)
SHAPES = ((4096, 4096), (8192, 10240), (384, 1536), (1000, 333), (8256, 520))
BARS = {"f16": 6e-4, "bf16": 4e-3}
ULP = {"f16": 2.0**-11, "bf16": 2.0**-8}


def kinds() -> list[tuple[str, str]]:
    """Every dtype with each of its zero points."""
    return [(name, zero) for name in NAMES for zero in legal_zero_points(dtype(name))]


def default_zero(name: str) -> str:
    return "symmetric" if dtype(name).kind == "uint" else "none"


def grid() -> Iterator[Case]:
    """Every (dtype, activation) at two shapes, and every m at a third; there weights of 4 bits in
    the wider feature blocks of large matrices, too."""
    for name, activation in product(NAMES, ACTIVATIONS):
        zero = default_zero(name)
        for k, n in ((1000, 333), (8192, 10240)):
            yield Case(name, zero, activation, 128, 17, k, n)
        for m in TOKENS:
            yield Case(name, zero, activation, 128, m, 384, 1536)
            if dtype(name).bits == 4:
                yield Case(name, zero, activation, 128, m, 384, 1536, tiles=4)


def cover(count: int, seed: int) -> list[Case]:
    """At least `count` cases in which every pair of values occurs, largest gain first."""
    rng = random.Random(seed)
    axes: list[list[Any]] = [kinds(), list(ACTIVATIONS), list(GROUPS), list(TOKENS), list(SHAPES)]
    missing = {
        (i, a, j, b)
        for i, j in combinations(range(len(axes)), 2)
        for a, b in product(range(len(axes[i])), range(len(axes[j])))
    }
    chosen: list[tuple[int, ...]] = []
    while missing or len(chosen) < count:
        drawn = [tuple(rng.randrange(len(axis)) for axis in axes) for _ in range(40)]
        best = max(drawn, key=lambda p: sum(pair in missing for pair in _pairs(p)))
        if missing and not any(pair in missing for pair in _pairs(best)):
            best = _completed(rng, axes, next(iter(sorted(missing))))
        missing.difference_update(_pairs(best))
        chosen.append(best)
    return [_case(axes, indices) for indices in chosen]


def _pairs(indices: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    return [(i, indices[i], j, indices[j]) for i, j in combinations(range(len(indices)), 2)]


def _completed(
    rng: random.Random, axes: list[list[Any]], pair: tuple[int, int, int, int]
) -> tuple[int, ...]:
    indices = [rng.randrange(len(axis)) for axis in axes]
    indices[pair[0]], indices[pair[2]] = pair[1], pair[3]
    return tuple(indices)


def _case(axes: list[list[Any]], indices: tuple[int, ...]) -> Case:
    (name, zero), activation, group, m, (k, n) = (
        axis[i] for axis, i in zip(axes, indices, strict=True)
    )
    return Case(name, zero, activation, group, m, k, n)


def prepared(case: Case) -> Any:
    """The plan of a case: what `linear` will choose for 16-byte aligned arrays."""
    kind = dtype(case.weight)
    geometry = case.geometry
    nothing = np.empty(0, np.float16)
    empty = Packed(
        np.empty(0, np.uint32), nothing, None, kind, geometry, case.zero_point, case.activation
    )
    vector = x_vector(case.k, 0)
    return plan(empty, case.m, case.activation, case.activation, vector=vector)


def _compile(case: Case) -> str:
    """Fills the disk cache; gives the error of a kernel that doesn't compile."""
    try:
        _ = compiled(prepared(case).config, "sm_90a").cubin
        cut = case.geometry.cut
        _ = compile_kernel(pack_weights.trace(cut=cut), "sm_90a").cubin
    except Exception as error:
        return f"{case}: {error}"
    return ""


def compile_all(cases: list[Case], jobs: int) -> None:
    """Compiles every kernel once, in parallel."""
    distinct = {prepared(case).config: case for case in cases if case.m}
    began = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        failures = [f for f in pool.imap_unordered(_compile, distinct.values(), 4) if f]
    for failure in failures[:10]:
        print(failure, file=sys.stderr)
    seconds = time.perf_counter() - began
    print(f"{len(distinct)} kernels, {len(failures)} failures, {seconds:.0f} s")


class Runner:
    """Runs cases and compares them with float64; each has a seed of its own."""

    def __init__(self, seed: int) -> None:
        self.seed, self.data = seed, Data(seed)

    def run(self, number: int, case: Case) -> dict[str, Any]:
        """One case: its errors beside their bounds."""
        self.data.generator.manual_seed(self.seed + number)
        problem, x = self.data.draw(case), self.data.x(case)
        out = self.data.torch.full((case.m, case.n), float("nan"), device="cuda", dtype=x.dtype)
        linear(x, problem.packed, out=out)
        schedule = str(prepared(case).schedule) if case.m else ""
        return {**asdict(case), **errors(problem, out, x), "schedule": schedule}


_runner: Runner  # of a process


def _begin(seed: int) -> None:
    global _runner
    _runner = Runner(seed)


def _run(numbered: tuple[int, Case]) -> dict[str, Any]:
    try:
        return _runner.run(*numbered)
    except Exception as error:
        return {**asdict(numbered[1]), "ok": False, "error": f"{type(error).__name__}: {error}"}


def run_all(cases: list[Case], seed: int, runners: int) -> Iterator[dict[str, Any]]:
    """The rows in the order of the cases; several processes share the GPU."""
    with multiprocessing.get_context("spawn").Pool(runners, _begin, (seed,)) as pool:
        yield from pool.imap(_run, enumerate(cases), 4)


def errors(problem: Problem, out: Any, x: Any) -> dict[str, Any]:
    """The relative error in the Frobenius norm, and the largest part of an element's bound."""
    case, weights, kind = problem.case, problem.weights, dtype(problem.case.weight)
    if not case.m:
        return {"rel_error": 0.0, "bound_used": 0.0, "ok": tuple(out.shape) == (0, case.n)}
    exact, ulp = x.double(), ULP[case.activation]
    reference = exact @ weights
    difference = (out.double() - reference).abs()
    error = float(difference.norm() / reference.norm())
    affine = kind.kind in ("uint", "int", "bipolar")
    spread = weights.abs() + (2.0**kind.bits if affine else 0.0) * problem.scales
    bound = ulp * reference.abs() + 2.0**-16 * (exact.abs() @ spread) + 2.0**-24
    # Kernels for many tokens round scaled weights.
    scaled = isinstance(prepared(case).config, WideConfig)
    if scaled or kind.kind == "codebook" or (kind.exponent_bits or 0) > 5:
        bound += ulp * (exact.abs() @ weights.abs())
    used = float((difference / bound).max())
    ok = error <= BARS[case.activation] and used <= 1.0  # false for a NaN
    return {"rel_error": _short(error), "bound_used": _short(used), "ok": ok}


def _short(value: float) -> float:
    """Four digits, so that a file of thousands of rows stays readable."""
    return float(f"{value:.4g}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=0, help="stop after so many cases")
    parser.add_argument("--count", type=int, default=2000, help="cases of the cover, at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commit", default="", help="of the code, where there is no repository")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--runners", type=int, default=6, help="processes that share the GPU")
    args = parser.parse_args()
    cases = [*grid(), *cover(args.count, args.seed)]
    if args.limit:
        random.Random(args.seed).shuffle(cases)
        cases = cases[: args.limit]
    data = Data(args.seed)
    about, failed = environment(data, args.commit), 0
    compile_all(cases, args.jobs)
    began = time.perf_counter()
    with args.out.open("w") as sink:
        for row in run_all(cases, args.seed, args.runners):
            failed += not row["ok"]
            if not row["ok"]:
                print("failed:", json.dumps(row))
            sink.write(json.dumps({**row, **about}) + "\n")
    seconds = time.perf_counter() - began
    print(f"{len(cases)} cases, {failed} failed, {seconds:.0f} s on {data.gpu.name}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
