"""Times the quantized matmul on a GPU beside cuBLAS, with the weights from memory.

    python benchmarks/quantized_matmul.py --shapes 8192x8192,8192x57344 --m 1,16 --weights u4,u3 \\
        --impls tileloom,cublas --out benchmarks/results/decode.jsonl

Shapes are k x n. Each row is the median of replays of a CUDA graph of back-to-back products whose
weights rotate through more memory than the cache holds; implementations are measured in turn, twice
each. Every configuration is checked against float64 in the same run. `floor_us` is the larger of
the bytes moved once at 3.05 TB/s and the multiply-adds at 986 TFLOP/s. Needs torch.

`--activations i8,e4m3 --impls tileloom,torch` times 8-bit activations, already quantized, beside
torch's int8 or fp8 product (its weights have 8 bits); their multiply-adds go at 1910 TOP/s, errors
are against float64 on the quantized operands.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import eight_bit
from cases import Case, Data, Problem

from tileloom.programs.quantized_matmul.device import (
    GpuWeights,
    Workspace,
    gpu_weights,
    launch,
)
from tileloom.programs.quantized_matmul.eight_bit_schedule import ByteSchedule
from tileloom.programs.quantized_matmul.packed import Weights
from tileloom.programs.quantized_matmul.packing import Packed
from tileloom.programs.quantized_matmul.plan import Plan, plan
from tileloom.programs.quantized_matmul.quantization import default_zero_point
from tileloom.programs.quantized_matmul.schedule import Schedule
from tileloom.programs.quantized_matmul.wide_schedule import WideSchedule, parse_schedule
from tileloom.runtime.bench import measure, rotation
from tileloom.runtime.cuda.context import api, check, driver_version
from tileloom.runtime.cuda.launch import LaunchAttributes
from tileloom.runtime.cuda.memory import DeviceArray
from tileloom.runtime.toolkit import find_assembler
from tileloom.vm.dtypes import dtype

HBM = 3.05e12  # bytes a second
TENSOR = 986e12 / 2  # multiply-adds a second
ROUNDS = 2


@dataclass(frozen=True)
class Candidate:
    """Something to time: a name, a schedule for reports, and a launch for every copy."""

    impl: str
    schedule: str
    launches: list[Callable[[int], None]]
    result: Callable[[], Any]


def nbytes(packed: Packed) -> int:
    """Bytes of the weights and their scales and zero points, padding not counted."""
    geometry, scales = packed.geometry, 2 if packed.zeros is None else 4
    return geometry.k * geometry.n * geometry.bits // 8 + scales * geometry.num_groups * geometry.n


def floor_us(packed: Packed, m: int, out_bytes: int = 2) -> float:
    """The physical limit, in microseconds."""
    moved = nbytes(packed) + 2 * m * packed.k + out_bytes * m * packed.n
    return 1e6 * max(moved / HBM, m * packed.k * packed.n / TENSOR)


def copies(problem: Problem, data: Data) -> list[Packed]:
    """The packed tensor several times, each with memory of its own."""
    source = gpu_weights(problem.packed, data.gpu.ordinal).weights
    count = rotation(nbytes(problem.packed))
    return [_copy(problem.packed, source, data) for _ in range(count)]


def _copy(packed: Packed, source: Weights, data: Data) -> Packed:
    new = replace(packed, state={})
    weights = replace(
        source,
        words=_cloned(source.words, data),
        scales=_cloned(source.scales, data),
        zeros=_cloned(source.zeros, data),
    )
    new.state[f"cuda:{data.gpu.ordinal}"] = GpuWeights(weights, data.gpu)
    return new


def _cloned(array: Any, data: Data) -> Any:
    """A copy in memory of its own, of an array of either package."""
    if not isinstance(array, DeviceArray):
        return array.clone()
    new = DeviceArray(array.shape, array.dtype, data.gpu)
    check(api().cuMemcpyDtoD(new.data_ptr(), array.data_ptr(), array.nbytes))
    return new


def ours(
    problem: Problem,
    x: Any,
    data: Data,
    packs: list[Packed],
    schedule: Schedule | WideSchedule | None,
    pdl: bool = False,
) -> Candidate:
    """Our kernel under a schedule (None: the shipped choice)."""
    case, torch = problem.case, data.torch
    out = torch.full((case.m, case.n), float("nan"), device="cuda", dtype=x.dtype)
    chosen: Plan = plan(
        problem.packed, case.m, case.activation, case.activation, vector=8, schedule=schedule,
        dependent=pdl,
    )  # fmt: skip
    workspace = Workspace.of(chosen.workspace, data.gpu)
    ordinal = data.gpu.ordinal
    attributes = LaunchAttributes(programmatic=pdl)

    def start(packed: Packed, stream: int) -> None:
        launch(chosen, packed, x, None, out, workspace, stream, ordinal, attributes)

    launches = [partial(start, packed) for packed in packs]
    return Candidate("tileloom", str(chosen.schedule), launches, lambda: out)


def cublas(problem: Problem, x: Any, data: Data) -> Candidate:
    """torch.matmul on f16 or bf16 weights [k, n], as cuBLAS computes it."""
    torch, case = data.torch, problem.case
    dense = problem.weights.to(x.dtype)
    count = rotation(2 * case.k * case.n)
    weights = [dense, *(dense.clone() for _ in range(count - 1))]
    out = torch.empty((case.m, case.n), device="cuda", dtype=x.dtype)

    def start(weight: Any, handle: int) -> None:
        with torch.cuda.stream(torch.cuda.ExternalStream(handle)):
            torch.matmul(x, weight, out=out)

    return Candidate("cublas", "", [partial(start, w) for w in weights], lambda: out)


def time_in_turn(candidates: list[Candidate]) -> dict[str, float]:
    """The median time of each candidate over rounds in which all are measured once."""
    samples: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for candidate in candidates:
            timing = measure(candidate.launches, replays=7)
            key = f"{candidate.impl} {candidate.schedule}"
            samples.setdefault(key, []).extend(timing.samples)
    return {key: statistics.median(values) for key, values in samples.items()}


def relative_error(problem: Problem, x: Any, out: Any) -> float:
    reference = x.double() @ problem.weights
    return float((out.double() - reference).norm() / reference.norm())


def environment(data: Data, commit: str) -> dict[str, str]:
    """What a row's number depends on besides the problem."""
    if not commit:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
        commit = found.stdout.strip()
    major, minor = driver_version()
    return {
        "commit": commit[:12],
        "gpu": data.gpu.name,
        "driver": f"{major}.{minor}",
        "assembler": find_assembler().identity,
    }


def measured(
    case: Case,
    impls: list[str],
    schedules: list[Schedule | WideSchedule | None],
    data: Data,
    pdl: bool,
) -> Iterator[dict[str, Any]]:
    """One row for each implementation and schedule of a case."""
    problem, x = data.draw(case), data.x(case)
    packs = copies(problem, data)
    candidates = []
    if "tileloom" in impls:
        candidates += [ours(problem, x, data, packs, s, pdl) for s in schedules]
    if "cublas" in impls:
        candidates.append(cublas(problem, x, data))
    times = time_in_turn(candidates)
    for candidate in candidates:
        yield {
            **about_case(case, candidate, times),
            "pdl": pdl and candidate.impl == "tileloom",
            "floor_us": round(floor_us(problem.packed, case.m), 3),
            "rel_error": relative_error(problem, x, candidate.result()),
            "tiles": problem.packed.geometry.cut.tiles,
        }


def about_case(case: Case, candidate: Candidate, times: dict[str, float]) -> dict[str, Any]:
    """What rows of all kinds say."""
    return {
        "impl": candidate.impl,
        "weight": case.weight,
        "activation": case.activation,
        "group": case.group,
        "zero_point": case.zero_point,
        "k": case.k,
        "n": case.n,
        "m": case.m,
        "us": round(times[f"{candidate.impl} {candidate.schedule}"], 3),
        "schedule": candidate.schedule,
    }


def measured_bytes(
    case: Case, impls: list[str], schedules: list[Any], data: Data
) -> Iterator[dict[str, Any]]:
    """The rows of a case of 8-bit activations."""
    problem = eight_bit.draw(case, data)
    candidates, plans = [], []
    for schedule in schedules if "tileloom" in impls else ():
        plan, launches, out = eight_bit.ours(problem, schedule, data)
        plans.append(plan)
        candidates.append(Candidate("tileloom", str(plan.schedule), launches, lambda out=out: out))
    if "torch" in impls:
        name, launches = eight_bit.torch_bytes(case, data)
        candidates.append(Candidate(name, "", launches, lambda: None))
    times = time_in_turn(candidates)
    for candidate in candidates:
        out = candidate.result()
        # Torch's own product is timed on other weights, and not checked.
        error = None if out is None else eight_bit.relative_error(problem, out, data)
        yield {
            **about_case(case, candidate, times),
            "pdl": False,
            "floor_us": round(eight_bit.floor_us(problem.packed, case.m), 3),
            "rel_error": error,
            "tiles": 0,
        }


def cases_of(args: argparse.Namespace) -> Iterator[Case]:
    shapes = [tuple(map(int, shape.split("x"))) for shape in args.shapes.split(",")]
    groups = [int(g) if g.isdecimal() else g for g in args.groups.split(",")]
    tokens = [int(m) for m in args.m.split(",")]
    weights, activations = args.weights.split(","), args.activations.split(",")
    for (k, n), weight, activation, group, m in product(
        shapes, weights, activations, groups, tokens
    ):
        zero = args.zero_point or default_zero_point(dtype(weight))
        for tiles in map(int, args.tiles.split(",")):
            yield Case(weight, zero, activation, group, m, k, n, tiles)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", default="8192x8192,8192x57344")
    parser.add_argument("--m", default="1,16")
    parser.add_argument("--weights", default="u4,u2,u6")
    parser.add_argument("--activations", default="f16")
    parser.add_argument("--groups", default="128")
    parser.add_argument("--zero-point", default="")
    parser.add_argument("--impls", default="tileloom,cublas")
    parser.add_argument("--schedules", default="", help="such as k4f1t8s4,k8f1t8s2")
    parser.add_argument("--pdl", action="store_true", help="programmatic dependent launches")
    parser.add_argument("--tiles", default="0", help="feature tiles of a block")
    parser.add_argument("--commit", default="", help="of the code, where there is no repository")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    data = Data(0)
    about = environment(data, args.commit)
    words, impls = args.schedules.split(","), args.impls.split(",")
    for case in cases_of(args):
        if case.activation in eight_bit.ACTIVATIONS:
            own = [ByteSchedule.parse(s) if s else None for s in words]
            rows = measured_bytes(case, impls, own, data)
        else:
            schedules = [parse_schedule(s) if s else None for s in words]
            rows = measured(case, impls, schedules, data, args.pdl)
        for row in rows:
            ratio = row["us"] / row["floor_us"]
            error = "not checked" if row["rel_error"] is None else f"{row['rel_error']:.1e}"
            print(
                f"{row['weight']:>5} {row['k']}x{row['n']} m={row['m']:<4} {row['impl']:<9}"
                f"{row['us']:9.2f} us  floor {row['floor_us']:8.2f}  x{ratio:.2f}"
                f"  error {error}  {row['schedule']} T{row['tiles']}",
                flush=True,
            )
            if args.out:
                with args.out.open("a") as sink:
                    sink.write(json.dumps({**row, **about}) + "\n")
        data.torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
