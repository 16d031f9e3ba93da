"""What tensor cores and arithmetic cost each other on one multiprocessor of a Hopper GPU.

    python benchmarks/limits.py [--out rows.jsonl] [--commit HASH]

A block of warp groups repeats 16 products of 64 x 16 by 16 x N (f16 into f32, 8 along k for each of
two slabs of 64 rows) with the left operand in registers or in shared memory, arithmetic that has
nothing to do with them, or both: in the same warps behind the products' commit, or in other warps.
Clocks of one repetition, of the slowest thread of each warp group. The PTX is written here, so that
nothing but these instructions is in the loop.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from tileloom.runtime.assemble import assemble
from tileloom.runtime.cuda.context import Device, current_device
from tileloom.runtime.cuda.launch import LoadedKernel
from tileloom.runtime.cuda.memory import DeviceArray

REPEATS = 2000
_ACCUMULATOR, _OPERAND, _VALUE = "%f", "%w", "%a"
_OPERATIONS = {
    "lop3": "lop3.b32 {0}, {0}, 0x000f000f, {2}, 0x6a;",
    "lop3 of three registers": "lop3.b32 {0}, {0}, {1}, {2}, 0x6a;",
    "fma.f16x2": "fma.rn.f16x2 {0}, {0}, {1}, {2};",
    "mul.f16x2": "mul.rn.f16x2 {0}, {0}, {1};",
}
_MIXED = ("lop3", "fma.f16x2")


@dataclass(frozen=True)
class Case:
    """What runs: `products` warp groups multiply, `others` warp groups only calculate."""

    n: int = 64
    left: str = "registers"
    products: int = 1
    slabs: int = 2
    others: int = 0
    operation: str = ""
    operations: int = 0  # for each warp and repetition

    @property
    def threads(self) -> int:
        return 128 * (self.products + self.others)


def cases() -> Iterator[Case]:
    """Products alone, arithmetic alone, both in the same warps, both in different ones."""
    for left in ("registers", "shared"):
        for n in (8, 16, 32, 64, 128):
            for products, slabs in ((1, 1), (1, 2), (2, 2), (4, 1)):
                if n < 128 or products < 4:
                    yield Case(n, left, products, slabs)
    names = [*_OPERATIONS, "mixed"]
    for name in names:
        for others in (1, 2):
            yield Case(products=0, others=others, operation=name, operations=256)
    for n in (16, 64):
        for count in (128, 256, 512):
            for name in names:
                yield Case(n, products=2, operation=name, operations=count)
    for left in ("registers", "shared"):
        for n in (16, 64, 128):
            for name in names:
                yield Case(n, left, others=1, operation=name, operations=512)


def ptx(case: Case) -> str:
    """The kernel of a case: clocks of each thread to `out`."""
    count = case.slabs * case.n // 2
    lines = [
        ".version 8.0\n.target sm_90a\n.address_size 64",
        f".visible .entry k(.param .u64 out, .param .u32 repeats) .maxntid {case.threads} {{",
        ".shared .align 1024 .b8 operands[65536];",
        ".reg .b32 %r<16>; .reg .b32 %w<32>; .reg .b32 %a<64>; .reg .f32 %f<300>;",
        ".reg .b64 %d<8>; .reg .u64 %c<4>; .reg .pred %p<2>;",
        "mov.u32 %r0, %tid.x; mov.u32 %r1, operands;",
        # A descriptor of zeros: what the products are doesn't matter.
        "shr.u32 %r2, %r1, 4; cvt.u64.u32 %d0, %r2; or.b64 %d0, %d0, 0x4000004000010000;",
        "shl.b32 %r3, %r0, 4; add.u32 %r3, %r3, %r1; mov.u32 %r4, 0;",
        "st.shared.v4.b32 [%r3], {%r4, %r4, %r4, %r4};",
        *(f"add.u32 %a{i}, %r0, {77 * i + 13};" for i in range(64)),
        *(f"mov.b32 %w{i}, 0;" for i in range(32)),
        *(f"mov.f32 %f{i}, 0f00000000;" for i in range(count)),
        "ld.param.u32 %r5, [repeats]; bar.sync 0; fence.proxy.async.shared::cta;",
        "shr.u32 %r6, %r0, 7; shfl.sync.idx.b32 %r6, %r6, 0, 31, -1;",
        "mov.u64 %c0, %clock64;",
    ]
    if case.others:
        lines.append(f"setp.lt.u32 %p1, %r6, {case.products}; @%p1 bra PRODUCTS;")
        lines += _loop("ARITHMETIC", _arithmetic(case))
        lines.append("bra.uni END;\nPRODUCTS:")
    if case.products:
        beside = [] if case.others else _arithmetic(case)
        wait = "wgmma.wait_group.sync.aligned 0;"
        lines += _loop("BOTH", [*_products(case), *beside, wait])
    lines += [
        "END:\nmov.u64 %c1, %clock64; sub.u64 %c2, %c1, %c0;",
        "ld.param.u64 %d1, [out]; mul.wide.u32 %d2, %r0, 8; add.u64 %d1, %d1, %d2;",
        "st.global.u64 [%d1], %c2;",
        # So that nothing is left out: all values are wanted.
        *(f"add.f32 %f0, %f0, %f{i};" for i in range(1, count)),
        *(f"xor.b32 %a0, %a0, %a{i};" for i in range(1, 64)),
        "mov.b32 %r7, %f0; xor.b32 %a0, %a0, %r7; st.global.b32 [%d1 + 8192], %a0; ret;\n}",
    ]
    return "\n".join(lines)


def _loop(name: str, body: list[str]) -> list[str]:
    turn = "add.u32 %r8, %r8, 1; setp.lt.u32 %p0, %r8, %r5;"
    return [f"mov.u32 %r8, 0;\n{name}:", *body, f"{turn} @%p0 bra {name};"]


def _arithmetic(case: Case) -> list[str]:
    """Sixteen chains, so that none waits for itself."""
    found = []
    for number in range(case.operations):
        at = number % 16
        name = _MIXED[number % 2] if case.operation == "mixed" else case.operation
        places = (at, 16 + (7 * at + 3) % 16, 32 + (5 * at + 1) % 16)
        found.append(_OPERATIONS[name].format(*(f"{_VALUE}{place}" for place in places)))
    return found


def _products(case: Case) -> list[str]:
    found = ["wgmma.fence.sync.aligned;"]
    for step in range(8):
        for slab in range(case.slabs):
            first = slab * case.n // 2
            total = ", ".join(f"{_ACCUMULATOR}{first + i}" for i in range(case.n // 2))
            words = (4 * (step * case.slabs + slab) + i for i in range(4))
            left, major = "{" + ", ".join(f"{_OPERAND}{w % 32}" for w in words) + "}", "1"
            if case.left == "shared":
                left, major = "%d0", "0, 1"
            found.append(
                f"wgmma.mma_async.sync.aligned.m64n{case.n}k16.f32.f16.f16 {{{total}}}, "
                f"{left}, %d0, 1, 1, 1, {major};"
            )
    return [*found, "wgmma.commit_group.sync.aligned;"]


def clocks(case: Case, gpu: Device) -> list[float]:
    """Clocks of a repetition for each warp group, of the median of three runs."""
    cubin = assemble(ptx(case), "sm_90a").cubin
    kernel = LoadedKernel(gpu, cubin, "k", case.threads, 0, ["Q", "I"])
    out = DeviceArray((4096,), np.uint64, gpu)
    runs = []
    for _ in range(3):
        kernel.launch((1, 1, 1), [out.data_ptr(), REPEATS])
        gpu.synchronize()
        found = np.zeros(4096, np.uint64)
        out.copy_to(found)
        groups = found[: case.threads].reshape(-1, 128).max(axis=1)
        runs.append([round(int(group) / REPEATS, 1) for group in groups])
    return sorted(runs, key=max)[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out")
    parser.add_argument("--commit", default="")
    options = parser.parse_args()
    gpu = current_device()
    for case in cases():
        row = {**asdict(case), "clocks": clocks(case, gpu)}
        row |= {"commit": options.commit, "gpu": gpu.name}
        print(json.dumps(row), flush=True)
        if options.out:
            with open(options.out, "a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
