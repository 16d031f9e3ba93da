"""Times softmax, the norms and transpose on a GPU beside a copy of the same bytes, and torch.

    python benchmarks/programs.py --programs softmax,layer_norm --elements f16,f32 \\
        --shapes 8192x4096,2048x16384 --out benchmarks/results/programs.jsonl

Shapes are rows x columns. A row is the median of rounds of back-to-back launches, between events,
on arrays that rotate through more memory than the cache holds; the implementations take turns.
`of_copy` is the time of torch's copy of x to y in the same run over the implementation's own. Every
result is checked against float64 first. Needs torch.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from cases import Data
from quantized_matmul import environment

from tileloom.programs.layer_norm.program import layer_norm, rms_norm
from tileloom.programs.rows.schedule import row_schedule
from tileloom.programs.softmax.program import softmax
from tileloom.programs.transpose.program import transpose
from tileloom.programs.transpose.schedule import schedule_for
from tileloom.runtime.bench import rotation

TORCH_NAMES = {"f16": "float16", "bf16": "bfloat16", "f32": "float32"}
ROUNDINGS = {"f16": 2.0**-11, "bf16": 2.0**-8, "f32": 2.0**-24}
PROGRAMS = ("softmax", "layer_norm", "rms_norm", "transpose")
IMPLS = ("copy", "tileloom", "torch")
EPSILON = 1e-5
ROUNDS = 12
WARM_UP = 3

Launch = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One program on a matrix of `rows` x `columns`."""

    program: str
    element: str
    rows: int
    columns: int

    @property
    def itemsize(self) -> int:
        return 4 if self.element == "f32" else 2

    @property
    def nbytes(self) -> int:
        """Bytes that have to move: every element in and out."""
        return 2 * self.rows * self.columns * self.itemsize


class Arrays:
    """Copies of x and y enough that none is in the cache when its turn comes; the parameters."""

    def __init__(self, case: Case, data: Data) -> None:
        torch = data.torch
        kind = getattr(torch, TORCH_NAMES[case.element])
        shape = (case.rows, case.columns)
        turned = shape[::-1] if case.program == "transpose" else shape
        self.torch, self.case = torch, case
        self.sources, self.targets = [], []
        for _ in range(rotation(case.nbytes)):
            x = torch.randn(shape, device="cuda", dtype=kind, generator=data.generator)
            self.sources.append(x)
            self.targets.append(torch.full(turned, float("nan"), device="cuda", dtype=kind))
        self.weight, self.bias = (
            torch.randn(case.columns, device="cuda", dtype=kind, generator=data.generator)
            for _ in range(2)
        )

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        return zip(self.sources, self.targets, strict=True)

    def expected(self) -> Any:
        """The first result in float64."""
        functional, x = self.torch.nn.functional, self.sources[0].double()
        match self.case.program:
            case "softmax":
                return self.torch.softmax(x, 1)
            case "layer_norm":
                weight, bias = self.weight.double(), self.bias.double()
                return functional.layer_norm(x, x.shape[1:], weight, bias, EPSILON)
            case "rms_norm":
                scale = (x.square().mean(1, keepdim=True) + EPSILON).rsqrt()
                return x * scale * self.weight.double()
        return x.T

    def error(self) -> float:
        """The largest error of the first result, in units of its dtype's rounding."""
        expected = self.expected()
        floor = expected.abs().mean()
        off = (self.targets[0].double() - expected).abs() / (expected.abs() + floor)
        return float(off.max()) / ROUNDINGS[self.case.element]

    def poison(self) -> None:
        for y in self.targets:
            y.fill_(float("nan"))


def ours(arrays: Arrays, data: Data) -> list[Launch]:
    """Our kernel with its default schedule, checked and bound to each pair once."""
    case = arrays.case
    sizes: tuple[Any, ...] = (case.rows, case.columns)
    parameters = {"layer_norm": 2, "rms_norm": 1}.get(case.program, 0)
    schedule: Any = row_schedule(case.columns, case.itemsize, parameters=parameters)
    kernel: Any = {"softmax": softmax, "layer_norm": layer_norm, "rms_norm": rms_norm}.get(
        case.program, transpose
    )
    given: tuple[Any, ...] = ()
    if case.program == "transpose":
        sizes = (1, *sizes)
        schedule = schedule_for(case.rows, case.columns, case.itemsize)
    elif case.program != "softmax":
        sizes = (*sizes, EPSILON)
        given = (arrays.weight,) if case.program == "rms_norm" else (
            arrays.weight, arrays.bias,
        )  # fmt: skip
    compiled = kernel.compile(target=data.gpu.target, element=case.element, schedule=schedule)
    stream = data.torch.cuda.current_stream().cuda_stream
    prepared = [compiled.prepare(x, *given, y, *sizes) for x, y in arrays.pairs()]
    return [partial(each.launch, stream) for each in prepared]


def torchs(arrays: Arrays, data: Data) -> list[Launch]:
    """What torch offers; a result it allocates itself costs it nothing but memory."""
    torch, case = arrays.torch, arrays.case
    functional = torch.nn.functional

    def start(x: Any, y: Any) -> object:
        match case.program:
            case "softmax":
                return torch.ops.aten._softmax.out(x, 1, False, out=y)
            case "layer_norm":
                return functional.layer_norm(x, x.shape[1:], arrays.weight, arrays.bias, EPSILON)
            case "rms_norm":
                return functional.rms_norm(x, x.shape[1:], arrays.weight, EPSILON)
        return y.copy_(x.T)

    return [partial(start, x, y) for x, y in arrays.pairs()]


def copies(arrays: Arrays, data: Data) -> list[Launch]:
    """A copy of as many bytes."""
    return [partial(y.view(-1).copy_, x.view(-1)) for x, y in arrays.pairs()]


def time_in_turn(candidates: dict[str, list[Launch]], torch: Any) -> dict[str, float]:
    """Microseconds of one launch of each candidate: the median over rounds in which all are timed
    once."""
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    for number in range(WARM_UP + ROUNDS):
        for name, launches in candidates.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for launch in launches:
                launch()
            end.record()
            end.synchronize()
            if number >= WARM_UP:
                samples[name].append(1e3 * start.elapsed_time(end) / len(launches))
    return {name: statistics.median(times) for name, times in samples.items()}


def measured(case: Case, impls: list[str], data: Data) -> Iterator[dict[str, Any]]:
    """One row for each implementation of a case."""
    arrays = Arrays(case, data)
    makers = {"copy": copies, "tileloom": ours, "torch": torchs}
    candidates = {name: makers[name](arrays, data) for name in makers if name in impls}
    errors = {}
    if "tileloom" in candidates:
        arrays.poison()
        candidates["tileloom"][0]()
        data.torch.cuda.synchronize()
        errors["tileloom"] = arrays.error()
    times = time_in_turn(candidates, data.torch)
    for name, us in times.items():
        row: dict[str, Any] = {
            "program": case.program,
            "impl": name,
            "element": case.element,
            "rows": case.rows,
            "columns": case.columns,
            "us": round(us, 3),
            "gb_per_s": round(1e-3 * case.nbytes / us, 1),
        }
        if "copy" in times:
            row["of_copy"] = round(times["copy"] / us, 4)
        if name in errors:
            row["error"] = round(errors[name], 3)
        yield row


def cases_of(args: argparse.Namespace) -> Iterator[Case]:
    for program in args.programs.split(","):
        for element in args.elements.split(","):
            for shape in args.shapes.split(","):
                rows, columns = map(int, shape.split("x"))
                if 2 * (4 if element == "f32" else 2) * rows * columns >= args.least << 20:
                    yield Case(program, element, rows, columns)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--elements", default="f16,bf16,f32")
    parser.add_argument(
        "--shapes",
        default="32768x1024,8192x4096,4096x8192,2048x16384,1024x32768,8191x4099,262144x128",
    )
    parser.add_argument("--impls", default=",".join(IMPLS))
    parser.add_argument("--least", type=int, default=64, help="MiB in and out (default: 64)")
    parser.add_argument("--commit", default="", help="of the code, where there is no repository")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    data = Data(0)
    about = environment(data, args.commit)
    for case in cases_of(args):
        for row in measured(case, args.impls.split(","), data):
            print(
                f"{row['program']:<11}{row['element']:<5}{case.rows}x{case.columns:<7}"
                f"{row['impl']:<9}{row['us']:10.2f} us {row['gb_per_s']:8.1f} GB/s"
                f"  of copy {row.get('of_copy', 0):.3f}  error {row.get('error', 0):.2f}",
                flush=True,
            )
            if args.out:
                with args.out.open("a") as sink:
                    sink.write(json.dumps({**row, **about}) + "\n")
        data.torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
