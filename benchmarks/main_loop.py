"""Counts the instructions of the decode kernels' main loops, beside what the planner counted on.

    python benchmarks/main_loop.py --weights u1,u4 --m 1,16 --shapes 8192x8192 --out FILE

No GPU is needed: kernels are compiled for sm_90a and disassembled. A row is the shipped schedule of
a problem: what a warp issues for a turn (one chunk of its feature block), all told and by kind;
`decode_per_weight` of it turns codes into operands, `planned_per_weight` are the slots that the
planner of decodes gave that. `clocks_per_weight` is about what a multiprocessor takes at least,
with costs that were measured on an H100 (four warps a scheduler, operands from registers): a
product of tensor cores keeps a scheduler for 6.13 clocks, any other instruction for 1.1.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

from tileloom.compiler.casts import plan_cast, plan_decode
from tileloom.programs.quantized_matmul.config import Config
from tileloom.programs.quantized_matmul.device import compiled
from tileloom.programs.quantized_matmul.schedule import Schedule
from tileloom.programs.quantized_matmul.tuning import Problem
from tileloom.runtime.compiled import CompiledKernel
from tileloom.runtime.inspect.listing import sass_lines
from tileloom.vm import PAIRED
from tileloom.vm.dtypes import dtype

TARGET = "sm_90a"
PRODUCT_CLOCKS, OTHER_CLOCKS = 6.13, 1.1
SCHEDULERS, LANES = 4, 32
# Scales are brought to f32 by HADD2, one for each of a thread's.
_DECODES = ("LOP3", "SHF", "PRMT", "F2FP", "HADD2", "HMUL2", "HFMA2", "IMAD")


def main_loop(kernel: CompiledKernel) -> list[str]:
    """The opcodes, with modifiers, of the longest loop in program order."""
    lines = sass_lines(kernel.sass(line_info=True), kernel.name)
    places: dict[str, int] = {}
    code: list[str] = []
    for line in lines:
        if line.is_code:
            code.append(line.text)
        else:
            places[line.text.rstrip(":")] = len(code)
    longest = range(0)
    for number, text in enumerate(code):
        target = re.search(r"\bBRA\b.*?(\.L_x_\d+)", text)
        start = places.get(target[1], number) if target else number
        if number - start > len(longest):
            longest = range(start, number + 1)
    return [_opcode(code[number]) for number in longest]


def _opcode(text: str) -> str:
    words = text.split()
    return words[1] if words[0].startswith("@") else words[0]


def planned_slots(config: Config, weight: str) -> float:
    """Slots per weight that the planner counted for the form the kernel uses."""
    kind, half = dtype(weight), dtype(config.activation)
    count = 2 * config.cut.pairs
    if not config.form.decoded:
        return plan_cast(kind, half, PAIRED, count, TARGET).slots_per_element
    return plan_decode(kind, half, PAIRED, count, TARGET, config.form.name).slots_per_element


def row(problem: Problem, schedule: Schedule | None = None) -> dict[str, Any]:
    """The counts of one problem, under its shipped schedule or another."""
    from tileloom.programs.quantized_matmul.schedule import choose

    chosen = schedule or choose(problem.geometry, problem.m, weight=problem.weight)
    config = problem.plan(chosen).config
    assert isinstance(config, Config)
    kernel = compiled(config, TARGET)
    opcodes = main_loop(kernel)
    counts = Counter(opcode.split(".")[0] for opcode in opcodes)
    cut = config.cut
    per_turn = config.tokens // 8 * cut.chunk // 16 * cut.tiles  # products of codes
    sums = _sum_products(config)
    turns = counts["HMMA"] / (per_turn + sums)
    weights = cut.block_features * cut.chunk * turns
    scales = 2 * cut.tiles * turns * (0 if cut.one_scale else 1 + config.has_zeros)
    decodes = sum(counts[name] for name in _DECODES) - scales
    others = len(opcodes) - counts["HMMA"]
    clocks = counts["HMMA"] * PRODUCT_CLOCKS + others * OTHER_CLOCKS
    return {
        "weight": problem.weight,
        "activation": problem.activation,
        "group": problem.group,
        "k": problem.k,
        "n": problem.n,
        "m": problem.m,
        "schedule": str(chosen),
        "registers": kernel.assembled.registers,
        "spilled_bytes": kernel.assembled.spill_stores,
        "turns": turns,
        "instructions_per_turn": round(len(opcodes) / turns, 1),
        "by_kind": {name: count / turns for name, count in counts.most_common(12)},
        "decode_per_weight": round(decodes * LANES / weights, 3),
        "planned_per_weight": round(planned_slots(config, problem.weight), 3),
        "clocks_per_weight": round(clocks / SCHEDULERS / weights, 5),
    }


def _sum_products(config: Config) -> int:
    """Products a turn that sum x: half as many as the chunk has steps where one sum will do."""
    if not config.needs_sums:
        return 0
    steps, eights = config.cut.chunk // 16, config.tokens // 8
    whole = not config.needs_parts and config.cut.chunk % 32 == 0
    return eights * steps // 2 if whole else eights * steps


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="u1,u2,u3,u4,u5,u6,u7,u8,e2m1,e3m2,e4m3,e5m2")
    parser.add_argument("--shapes", default="8192x8192,8192x57344")
    parser.add_argument("--m", default="1,16")
    parser.add_argument("--commit", default="")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    shapes = [tuple(map(int, shape.split("x"))) for shape in args.shapes.split(",")]
    for (k, n), m, weight in product(shapes, map(int, args.m.split(",")), args.weights.split(",")):
        found = row(Problem(weight, k, n, m))
        print(
            f"{weight:>5} {k}x{n} m={m:<3} {found['schedule']:<20}"
            f"{found['instructions_per_turn']:8.1f} a turn, decode {found['decode_per_weight']:.3f}"
            f" a weight, planned {found['planned_per_weight']:.3f}",
            flush=True,
        )
        if args.out:
            with args.out.open("a") as sink:
                sink.write(json.dumps({**found, "commit": args.commit}) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
