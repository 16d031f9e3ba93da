"""Mutated programs and mutated PTX: each is right or an error with a place, and soon.

    python benchmarks/bad_input.py [--texts 10000] [--ptx 2000] [--out rows.jsonl]

The texts are those of tests/vm/text/corpus, the PTX that of a few kernels, run by the emulator.
A row tells how many were tried, how many were errors, what else was raised, and the slowest.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tileloom.runtime import compile_kernel
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError

ROOT = Path(__file__).parents[1]
LIMIT = 10  # seconds after which a case counts as hanging

KERNELS: dict[str, tuple[str, Callable[[], list[Any]]]] = {
    "loop": (
        """func @loop(%x: *f32, %y: *f32, %n: i32) warps = 2 {
  %gx = global_view %x : global<f32, [%n, 64]>
  %gy = global_view %y : global<f32, [64]>
  %sum = full : reg<f32, [64]>
  for %i in 0 to %n {
    %t = load %gx[%i, 0] : reg<f32, [64]>
    %u = add %sum, %t
    assign %sum, %u
  }
  store %gy[0], %sum
}""",
        lambda: [np.ones((5, 64), np.float32), np.zeros(64, np.float32), 5],
    ),
    "product": (
        """func @product(%x: *f16, %y: *f16, %z: *f32) warps = 1 {
  %gx = global_view %x : global<f16, [16, 32]>
  %gy = global_view %y : global<f16, [32, 8]>
  %gz = global_view %z : global<f32, [16, 8]>
  %s = alloc_shared : shared<f16, [16, 32]>
  copy_async %s[0, 0], %gx[0, 0] {shape = [16, 32]}
  copy_async_commit
  copy_async_wait
  barrier
  %acc = full : reg<f32, [16, 8]>
  %a = load %s[0, 0] : reg<f16, [16, 32]>
  %b = load %gy[0, 0] : reg<f16, [32, 8]>
  mma %acc, %a, %b
  store %gz[0, 0], %acc
}""",
        lambda: [np.ones((16, 32), np.float16), np.ones((32, 8), np.float16),
                 np.zeros((16, 8), np.float32)],
    ),
    "reduction": (
        """func @reduction(%x: *f32, %y: *f32) warps = 4 {
  %gx = global_view %x : global<f32, [8, 64]>
  %gy = global_view %y : global<f32, [8, 1]>
  %t = load %gx[0, 0] : reg<f32, [8, 64]>
  %r = reduce %t {op = max, dim = 1}
  store %gy[0, 0], %r
}""",
        lambda: [np.ones((8, 64), np.float32), np.zeros((8, 1), np.float32)],
    ),
}  # fmt: skip


class Hangs(BaseException):
    """A case that takes too long."""


def mutations(name: str, path: str) -> ModuleType:
    """A test's module, for its way of mutating."""
    sys.path.insert(0, str(ROOT))
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def texts(count: int) -> Iterator[Callable[[], None]]:
    """Mutated programs, to be read."""
    module = mutations("test_mutations", "tests/vm/text/test_mutations.py")
    for seed in range(count):
        text = module.mutated(module.TEXTS[seed % len(module.TEXTS)], seed)
        yield lambda text=text: parse(text)  # type: ignore[misc]


def overrides(count: int) -> Iterator[Callable[[], None]]:
    """Kernels with mutated PTX, to be run."""
    words = "%r1 %p0 %rd3 ; , . { } [ ] 0 -1 99999999999999999999 ld.global.f32 @%p1 bra $L1: .reg"
    words = [*words.split(), ".b32", ".param", "(", ")", "//", "/*", "\0", "é", "exit", "_", "|"]
    kernels = [(compile_kernel(parse(text)), make) for text, make in KERNELS.values()]
    choice = random.Random(7)
    for number in range(count):
        kernel, make = kernels[number % len(kernels)]
        ptx = mutated(kernel.ptx, words, choice)
        yield lambda k=kernel, p=ptx, m=make: k.override(ptx=p)(*m(), device="emulator")  # type: ignore[misc]


def mutated(text: str, words: list[str], choice: random.Random) -> str:
    """The text with a few characters or lines gone, doubled or replaced."""
    letters = list(text)
    for _ in range(choice.choice([1, 1, 2, 5])):
        at, where = choice.randrange(len(letters)), choice.randrange(len(letters))
        match choice.randrange(4):
            case 0:
                del letters[at : at + choice.choice([1, 5, 80])]
            case 1:
                letters[at:at] = choice.choice(words)
            case 2:
                letters[at] = chr(choice.randrange(32, 127))
            case 3:
                letters[at:at] = letters[where : where + 40]
    return "".join(letters)


def tried(cases: Iterator[Callable[[], None]]) -> dict[str, Any]:
    """What happened to all cases."""

    def hangs(*_: object) -> None:
        raise Hangs

    signal.signal(signal.SIGALRM, hangs)
    kinds: Counter[str] = Counter()
    slowest, slowest_case, number, bad = 0.0, -1, -1, []
    for number, case in enumerate(cases):
        began = time.perf_counter()
        signal.alarm(LIMIT)
        try:
            case()
            kinds["no error"] += 1
        except VMError as error:
            kinds[error.kind] += 1
            if error.location is None:
                bad.append((number, f"no place: {error.message}"))
        except (Exception, Hangs) as error:
            kinds[type(error).__name__] += 1
            bad.append((number, repr(error)[:200]))
        signal.alarm(0)
        took = time.perf_counter() - began
        if took > slowest:
            slowest, slowest_case = took, number
    return {
        "cases": number + 1,
        "kinds": dict(kinds.most_common()),
        "bad": bad[:20],
        "num_bad": len(bad),
        "slowest_s": round(slowest, 3),
        "slowest_case": slowest_case,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--texts", type=int, default=10000)
    parser.add_argument("--ptx", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="a file that rows are added to")
    args = parser.parse_args()
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    for name, cases in (("texts", texts(args.texts)), ("ptx", overrides(args.ptx))):
        row = {"what": name, "commit": found.stdout.strip()[:12], **tried(cases)}
        print(json.dumps(row, indent=1))
        if args.out:
            with args.out.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
