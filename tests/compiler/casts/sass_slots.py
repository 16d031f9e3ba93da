"""Issue slots of plans in machine code: what ptxas makes of them, counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from plan_kernels import plan_module

from tileloom.compiler.casts import Plan
from tileloom.runtime.assemble import assemble
from tileloom.runtime.sass import disassemble

# What loads, stores, addresses and the frame of a kernel are made of, and constants in registers.
_FRAME = re.compile(
    r"LDG|STG|LDC|ULDC|S2R|S2UR|CS2R|EXIT|BRA|NOP|IMAD\.WIDE|IADD3|UIADD3|ULEA|LEA|UMOV|MOV"
    r"|IMAD\.MOV|IMAD\.U32 R\d+, RZ, RZ|HFMA2(\.MMA|\.BF16_V2)? R\d+, -RZ, RZ"
)
_LINE = re.compile(r"/\*[0-9a-f]{4}\*/\s+(?:@!?\w+ )?([A-Z][^;]*);")


def count_slots(plans: Sequence[Plan], target: str) -> list[Counter[str]]:
    """Per plan the machine instructions by name, without loads, stores and constants."""
    cubin = assemble(plan_module(plans, target), target).cubin
    counts: dict[str, Counter[str]] = {}
    current: Counter[str] = Counter()
    for line in disassemble(cubin).splitlines():
        if line.startswith(".text."):
            current = counts.setdefault(line.removeprefix(".text.").rstrip(":"), Counter())
        found = _LINE.search(line)
        if found and not _FRAME.match(found[1]):
            current[found[1].split()[0]] += 1
    return [counts[f"plan{number}"] for number in range(len(plans))]
