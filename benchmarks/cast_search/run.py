"""What casts and decodes take, in PTX and in machine code, beside the optima of the searches.

    python benchmarks/cast_search/run.py [-o benchmarks/results/cast_slots.jsonl]

A line for every dtype, verb and destination: issue slots per element of the plan (`ptx`), of what
ptxas makes of it (`sass`, with what it needs once a kernel; null without a disassembler), of the
cheapest sequence of a search (`optimum`, null where nothing was searched), and the `bar`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import collected
import floats
import linear
import signed_bytes
import special_floats

from tileloom.compiler.casts import Plan, plan_cast, plan_decode
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import Dtype, bf16, f16
from tileloom.vm.dtypes.names import predefined
from tileloom.vm.packing import PAIRED, pairs

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "cast_slots.jsonl"
TARGET = "sm_90a"
MANTISSA = {"f16": 10, "bf16": 7}
INTEGERS = ("uint", "int", "bipolar")


def plans() -> Iterator[tuple[Dtype, str, Dtype, Plan]]:
    """All plans from the paired packing to f16 and bf16."""
    kinds = (*INTEGERS, "float", "codebook")
    for source in predefined():
        if source.kind not in kinds or source.bits > 8 or source.specials == "scale":
            continue
        count = max(64, 2 * pairs(source.bits))
        for dest in (f16, bf16):
            for verb in ("decode", "subnormal", "cast"):
                try:
                    if verb == "cast":
                        yield source, verb, dest, plan_cast(source, dest, PAIRED, count, TARGET)
                    else:
                        form = "" if verb == "decode" else verb
                        plan = plan_decode(source, dest, PAIRED, count, TARGET, form)
                        yield source, verb, dest, plan
                except VMError:
                    continue


def optimum(source: Dtype, verb: str, dest: Dtype) -> float | None:
    """The slots per element of the cheapest sequence found by exhaustion."""
    if source.name == "i8" and verb == "cast" and dest == bf16:
        return signed_bytes.search() / 4
    if source.kind in INTEGERS and source.bits < 8:
        if verb != "cast":
            window = 11 if dest == f16 else 8 if verb == "subnormal" else 7
            return _integers(source.bits, window, 0)
        window = MANTISSA[dest.name]
        return _integers(source.bits, window, int(source.kind == "bipolar")) + 0.5
    if source.specials != "none" and verb == "cast":
        return special_floats.search(source) / 4 if dest == bf16 else None
    return _floats(source, verb, dest) if source.kind == "float" else None


def _floats(source: Dtype, verb: str, dest: Dtype) -> float | None:
    """Patterns, and what makes values of them: a product, or a minimum that saturates."""
    elements = 2 * pairs(source.bits)
    patterns = floats.search(source, MANTISSA[dest.name]).best / elements
    if dest == f16 and source.specials != "none":
        return None
    if dest == bf16 or source.exponent_bits < 5:
        bare = verb == "subnormal" or (verb == "decode" and dest == f16)
        return patterns + (0.0 if bare else 0.5)
    if verb == "decode":
        return None
    if source.exponent_bits == 5:
        return patterns + 0.5
    # Through f32: an operation for each element, and one that packs two.
    wide = floats.search(source, MANTISSA["bf16"]).best / elements + 0.5
    if source.exponent_bits == 7:
        wide = min(wide, floats.raised(source) / elements)
    return wide + 1.5


@cache
def _integers(bits: int, window: int, floor_penalty: int) -> float:
    problem = linear.Problem(bits, window, floor_penalty)
    slots = linear.search(problem).slots
    if bits in (6, 7):
        together = collected.search(problem)
        slots = slots if together is None else min(slots, together.slots)
    return slots / (2 * pairs(bits))


def bar(source: Dtype, verb: str, dest: Dtype) -> float | None:
    """What the project asks for; of the decodes to bf16 the cheaper one has to meet it."""
    if verb != "cast":
        if source.kind == "uint" and source.bits < 8:
            return 0.75 if source.bits in (1, 2, 4) else 1.0
        return 1.0 if source.name in ("e4m3", "e5m2") and dest == f16 else None
    if source.kind == "codebook":
        return None
    if source.kind in INTEGERS or source.bits in (4, 8):
        return 1.5
    return 1.75


def sass(all_plans: list[Plan]) -> list[int | None]:
    """Machine instructions of every plan."""
    sys.path.insert(0, str(ROOT / "tests" / "compiler" / "casts"))
    from sass_slots import count_slots

    try:
        return [sum(counts.values()) for counts in count_slots(all_plans, TARGET)]
    except VMError:
        return [None] * len(all_plans)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    output = parser.parse_args().output
    found = list(plans())
    counted = sass([plan for *_, plan in found])
    with output.open("w") as file:
        for (source, verb, dest, plan), machine in zip(found, counted, strict=True):
            row = {
                "dtype": source.name, "verb": verb, "dest": dest.name, "target": TARGET,
                "ptx": plan.slots_per_element,
                "sass": None if machine is None else round(machine / plan.count, 4),
                "optimum": optimum(source, verb, dest),
                "bar": bar(source, verb, dest),
            }  # fmt: skip
            print(json.dumps(row), file=file, flush=True)


if __name__ == "__main__":
    main()
