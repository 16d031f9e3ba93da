"""The hunt for one planted bug, in the process in which it is planted.

Programs whose PTX is what the sound compiler makes of them can't show the bug, so only the others
run. The assembler looks at those if the emulator finds nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from tileloom.compiler import Lowered

from ..fuzz.assembly import has_assembler, rejected
from ..fuzz.check import check, compiled_as_it_is
from ..fuzz.parsing import CheckError
from .corpus import hash_of, read_corpus

_MOST_ASSEMBLED = 24


def main(arguments: Sequence[str]) -> int:
    """`FOLDER RESULT`: looks with the programs of a folder, and writes what it found as JSON."""
    folder, result = map(Path, arguments)
    result.write_text(json.dumps(hunt(folder)), encoding="utf-8")
    return 0


def hunt(folder: Path) -> dict[str, object]:
    """What the programs of a corpus find: `changed` programs, and what `caught` the bug."""
    start = time.perf_counter()
    changed = 0
    suspects: list[Lowered] = []
    for case, key in read_corpus(folder):
        try:
            found = compiled_as_it_is(case)
            lowered = found.lowered[case.target]
            if hash_of(lowered) == key:
                continue
            changed += 1
            suspects.append(lowered)
            check(found)
        except CheckError as error:
            finding = error.finding
            first = finding.message.partition("\n")[0]
            caught = f"program {case.seed}: {finding.kind}: {first}"
            return {"changed": changed + 1, "caught": caught, "seconds": _since(start)}
    caught = _by_assembler(suspects[:_MOST_ASSEMBLED])
    return {"changed": changed, "caught": caught, "seconds": _since(start)}


def _by_assembler(suspects: Sequence[Lowered]) -> str:
    if not suspects or not has_assembler():
        return ""
    for target in sorted({lowered.target for lowered in suspects}):
        for _, message in rejected([each for each in suspects if each.target == target]):
            return f"assembler: {message}"
    return ""


def _since(start: float) -> float:
    return time.perf_counter() - start
