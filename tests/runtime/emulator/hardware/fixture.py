"""The recorded results in compact form, and how the emulator's are compared with them.

Of every result a checksum is kept for each 256 elements. Of approximate ones also the distance to
the emulator's code, element by element: adding it must give the checksums, and it must be within
the bound. `python -m tests.runtime.emulator.hardware.fixture DIR` makes the file from what `record`
wrote into DIR, and with `DIR wgmma` or `DIR emitted` those of the other cases; with `DIR PART` it
adds the cases with the part in their name.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..harness import run_op
from .cases import Bound, Case, all_cases
from .emitted_cases import emitted_cases
from .operands import Array
from .wgmma_cases import wgmma_cases

PATH = Path(__file__).with_name("h100.npz")
WGMMA = Path(__file__).with_name("h100_wgmma.npz")
EMITTED = Path(__file__).with_name("h100_emitted.npz")
_CHUNK = 256


def emulated(case: Case) -> list[Array]:
    return run_op(case.text, case.operands(), case.outputs, case.shared)


def checksums(result: Array) -> list[int]:
    return [
        zlib.crc32(np.ascontiguousarray(result[start : start + _CHUNK]).tobytes())
        for start in range(0, len(result), _CHUNK)
    ]


def elements(result: Array, bound: Bound) -> Array:
    """Raw results as the codes of single elements."""
    return result.view({"f32": np.uint32}.get(bound.kind, np.uint16))


def values(codes: Array, bound: Bound) -> Array:
    if bound.kind == "f32":
        return codes.view(np.float32).astype(np.float64)
    if bound.kind == "f16":
        return codes.view(np.float16).astype(np.float64)
    return (codes.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)


def outside(first: Array, second: Array, bound: Bound) -> Array:
    """Elements whose codes are further apart than the bound allows."""
    distance = np.abs(first.astype(np.int64) - second.astype(np.int64))
    x, y = values(first, bound), values(second, bound)
    with np.errstate(invalid="ignore"):
        error = np.abs(x - y)
        near = (error <= bound.absolute) | (error <= bound.relative * np.abs(y))
    far: Array = ~((distance <= bound.ulps) | near)
    return far


def write(recorded: dict[str, Array], cases: list[Case], path: Path) -> None:
    """Makes the fixture file; says which results differ from the emulator's."""
    names: list[str] = []
    sums: list[int] = []
    distances: dict[str, Array] = {}
    for case in cases:
        for number, mine in enumerate(emulated(case)):
            name = f"{case.name}|{number}"
            theirs = recorded[name]
            names.append(name)
            sums += checksums(theirs)
            if case.bound is not None:
                codes = elements(theirs, case.bound), elements(mine, case.bound)
                distance = codes[0].astype(np.int64) - codes[1].astype(np.int64)
                distances[name] = distance.astype(np.int32)
                bad = outside(codes[0], codes[1], case.bound)
            else:
                bad = theirs != mine
            if bad.any():
                print(f"{name}: {int(bad.sum())} differ, first at {int(bad.argmax())}")
    _save(path, names, sums, distances)


def _save(path: Path, names: list[str], sums: list[int], distances: dict[str, Array]) -> None:
    packed: dict[str, Any] = {f"distance {name}": array for name, array in distances.items()}
    np.savez_compressed(path, names=np.array(names), sums=np.array(sums, np.uint32), **packed)


def read(path: Path = PATH) -> tuple[dict[str, list[int]], dict[str, Array]]:
    """Checksums and distances by name of the result."""
    with np.load(path) as file:
        names = [str(name) for name in file["names"]]
        sums = file["sums"].reshape(len(names), -1).tolist()
        distances = {
            key.removeprefix("distance "): file[key] for key in file.files if key[0] == "d"
        }
    return dict(zip(names, sums, strict=True)), distances


def main(folder: Path, which: str = "") -> None:
    recorded: dict[str, Array] = {}
    for path in sorted(folder.glob("results-*.npz")):
        with np.load(path) as file:
            recorded |= {name: file[name] for name in file.files}
    if which == "wgmma":
        write(recorded, wgmma_cases(), WGMMA)
    elif which == "emitted":
        write(recorded, emitted_cases(), EMITTED)
    elif which:
        known, distances = read()
        write(recorded, [case for case in all_cases() if which in case.name], PATH)
        known_now, distances_now = read()
        known |= known_now
        sums = [each for of_case in known.values() for each in of_case]
        _save(PATH, list(known), sums, distances | distances_now)
    else:
        write(recorded, all_cases(), PATH)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:3])
