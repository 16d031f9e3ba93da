"""Random programs as the sound compiler compiles them: cases, and hashes of their PTX."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from tileloom.compiler import Lowered

from ..fuzz.case import Case, read_case
from ..fuzz.check import check, compiled
from ..fuzz.generate import generate
from ..fuzz.parsing import CheckError

_INDEX = "index.json"


def hash_of(lowered: Lowered) -> str:
    """A key of PTX code and its tensor maps: without comments, and without constants, which hold
    file names."""
    lines = lowered.ptx.splitlines()
    code = [line for line in lines if not line.lstrip().startswith(("//", ".global"))]
    return hashlib.sha256("\n".join([*code, repr(lowered.tensor_maps)]).encode()).hexdigest()


def write_corpus(folder: Path, count: int, seed: int = 0) -> None:
    """Draws programs and writes them and the hashes of their PTX to a folder."""
    index: dict[str, str] = {}
    for number in range(seed, seed + count):
        try:
            found = compiled(generate(number))
            check(found)
        except CheckError:
            continue  # a bug that is not planted: the tests of random programs tell of it
        name = f"{number}.vm"
        (folder / name).write_text(found.case.text(), encoding="utf-8")
        index[name] = hash_of(found.lowered[found.case.target])
    (folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")


def read_corpus(folder: Path) -> Iterator[tuple[Case, str]]:
    """Each case with the hash of its PTX, for the case's own target."""
    index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
    for name, key in index.items():
        yield read_case(folder / name), key
