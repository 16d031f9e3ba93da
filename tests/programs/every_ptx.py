"""Prints, as JSON, a digest of the PTX of every program: run by test_determinism.py."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from tileloom.programs.quantized_matmul.geometry import Geometry
from tileloom.programs.quantized_matmul.pack_program import pack_weights, unpack_weights
from tileloom.runtime.arguments import program_parser
from tileloom.runtime.compiled import lower
from tileloom.runtime.programs import SOURCE_TREE, program
from tileloom.vm.ir import Function

WITHOUT_KERNELS = {"minilm"}
HOPPER_ONLY = {"tile_add"}
TARGETS = ("sm_80", "sm_90a")
# Command lines of the programs beyond their defaults.
MORE = {
    "quantized_matmul": [
        *(f"--weight u{bits} --m 1" for bits in range(1, 9)),
        "--weight u4 --m 40",
        "--weight i4 --group channel",
        "--weight b3 --activation bf16",
        "--weight e4m3",
        "--weight e3m2 --activation bf16",
        "--weight nf4 --group 32",
        "--weight u4 --zero-point int --k 1000 --n 333",
    ],
    "matmul": ["--element bf16", "--k 72 --n 136"],
    "activations": ["--to e4m3 --group 128", "--element bf16 --columns 60000"],
}
MORE_ON_HOPPER = {
    "quantized_matmul": [
        "--weight u4 --activation i8 --m 200",
        "--weight u8 --activation i8 --group channel",
        "--weight e2m1 --activation e4m3 --m 64",
    ],
}


def functions(target: str) -> Iterator[tuple[str, Function]]:
    """Every program's functions, by the command line that compiles them."""
    left_out = WITHOUT_KERNELS | (set() if target == "sm_90a" else HOPPER_ONLY)
    for name in sorted(set(SOURCE_TREE) - left_out):
        chosen = program(name)
        further = MORE_ON_HOPPER.get(name, []) if target == "sm_90a" else []
        for line in ["", *MORE.get(name, []), *further]:
            parser = program_parser("compile", name, chosen)
            parser.add_argument("--target")
            for function in chosen.compile(parser.parse_args([*line.split(), "--target", target])):
                assert isinstance(function, Function)
                yield f"{name} {line}", function
    for bits in (3, 4):
        for kernel in (pack_weights, unpack_weights):
            yield f"u{bits}", kernel.trace(cut=Geometry(bits, 256, 64, 128).cut)


def digests() -> dict[str, str]:
    found = {}
    for target in TARGETS:
        for name, function in functions(target):
            for located in (False, True)[: 1 + (target == TARGETS[-1])]:
                ptx = lower(function, target, with_locations=located).ptx
                digest = hashlib.sha256(ptx.encode()).hexdigest()
                found[f"{name} {function.name} {target} {located}"] = digest
    return found


if __name__ == "__main__":
    print(json.dumps(digests()))
