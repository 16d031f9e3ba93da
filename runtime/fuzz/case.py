"""Cases: a program with its arguments and what is known of its results, and the files of them.

A `.vm` file holds a case as comments after the program: `// case {...}` says what the arguments
are, `// data NAME ...` holds an array's bytes.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from tileloom.vm.diagnostics import UsageError
from tileloom.vm.dtypes import Dtype, unpack_bits
from tileloom.vm.instructions.bulk import BulkCommit, BulkWait
from tileloom.vm.instructions.mbarrier import AllocMbarrier
from tileloom.vm.instructions.sync import FenceProxyAsync
from tileloom.vm.ir import Function, walk
from tileloom.vm.text import parse
from tileloom.vm.types import PointerType

from .draft import Bytes

TARGETS = ("sm_80", "sm_89", "sm_90a")
_HEAD, _DATA = "// case ", "// data "


@dataclass(frozen=True)
class Argument:
    """An argument. For an output `error` bounds how far executors may be apart (0: the same bits,
    but for NaNs, and for signs of zeros unless `signed`)."""

    value: Bytes | int | float | bool
    output: bool = False
    error: float = 0.0
    signed: bool = True

    def fresh(self) -> Any:
        """A copy for one executor."""
        return self.value.copy() if isinstance(self.value, np.ndarray) else self.value


@dataclass(frozen=True)
class Outcome:
    """What an executor made of a case: its arguments afterwards, and the lines that it printed, in
    alphabetical order, since those of different blocks may mix."""

    arguments: list[Any]
    printed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One program to run. `seed` and `free` say how it was drawn; `target` is emulated."""

    function: Function
    arguments: tuple[Argument, ...]
    seed: int = 0
    free: bool = False
    target: str = "sm_90a"

    @property
    def is_newest(self) -> bool:
        """Whether it has instructions of sm_90: clusters, counting barriers, the copy engine,
        products of warp groups."""
        return prod(self.function.cluster) > 1 or any(
            isinstance(s, FenceProxyAsync | AllocMbarrier | BulkWait | BulkCommit)
            for s in walk(self.function.body)
        )

    @property
    def targets(self) -> tuple[str, ...]:
        """What the program can be compiled for."""
        return TARGETS[-1:] if self.is_newest else TARGETS

    def fresh_arguments(self) -> list[Any]:
        """Copies of the arguments."""
        return [argument.fresh() for argument in self.arguments]

    def text(self) -> str:
        """The case as the content of a `.vm` file."""
        entries: list[dict[str, Any]] = []
        data = []
        for param, argument in zip(self.function.params, self.arguments, strict=True):
            entry: dict[str, Any] = {"name": param.name}
            if isinstance(argument.value, np.ndarray):
                packed = base64.b64encode(zlib.compress(argument.value.tobytes(), 9)).decode()
                data.append(f"{_DATA}{param.name} {packed}")
            else:
                entry["value"] = argument.value
            if argument.output:
                entry |= {"output": True, "error": argument.error, "signed": argument.signed}
            entries.append(entry)
        head = {"seed": self.seed, "free": self.free, "target": self.target, "arguments": entries}
        lines = [_HEAD + json.dumps(head), *data]
        return self.function.text() + "\n" + "\n".join(lines) + "\n"


def read_case(path: Path) -> Case:
    """The case in a `.vm` file.

    Raises:
        UsageError: the file holds a program without a case.
        VMError: it holds no program.
    """
    text = path.read_text(encoding="utf-8")
    heads = [line for line in text.splitlines() if line.startswith(_HEAD)]
    if len(heads) != 1:
        raise UsageError(f"`{path}` holds no case", hint="`tileloom fuzz` writes such files")
    head = json.loads(heads[0].removeprefix(_HEAD))
    arrays = {}
    for line in text.splitlines():
        if line.startswith(_DATA):
            name, packed = line.removeprefix(_DATA).split()
            content = zlib.decompress(base64.b64decode(packed))
            arrays[name] = np.frombuffer(content, np.uint8).copy()
    arguments = tuple(
        Argument(
            entry["value"] if "value" in entry else arrays[entry["name"]],
            entry.get("output", False),
            entry.get("error", 0.0),
            entry.get("signed", True),
        )
        for entry in head["arguments"]
    )
    function = parse(text, str(path))
    return Case(function, arguments, head["seed"], head["free"], head["target"])


def used_only(case: Case, function: Function) -> Case:
    """The case with another body, without the parameters that it has lost."""
    kept = {param.name: number for number, param in enumerate(case.function.params)}
    arguments = tuple(case.arguments[kept[param.name]] for param in function.params)
    return replace(case, function=function, arguments=arguments)


def disagreement(case: Case, meant: Outcome, found: Outcome, executor: str = "emulator") -> str:
    """Where what an executor gave or printed differs from the interpreter's; "" if nowhere."""
    wrong = difference(case, meant.arguments, found.arguments, executor)
    if wrong or meant.printed == found.printed:
        return wrong
    pairs = zip_longest(meant.printed, found.printed, fillvalue="nothing")
    mine, theirs = next((a, b) for a, b in pairs if a != b)
    return f"the interpreter prints {mine!r}, {executor} {theirs!r}"


def difference(
    case: Case, meant: Sequence[Any], found: Sequence[Any], executor: str = "emulator"
) -> str:
    """Where an executor's results differ by more than they may from the interpreter's; "" if
    nowhere."""
    for param, argument, m, f in zip(
        case.function.params, case.arguments, meant, found, strict=True
    ):
        if not isinstance(m, np.ndarray) or m.tobytes() == f.tobytes():
            continue
        assert isinstance(param.type, PointerType)
        text = _compare(param.type.element, argument, m, f)
        if text:
            return f"%{param.name} {text.replace('found', executor)}"
    return ""


def _compare(element: Dtype, argument: Argument, meant: Bytes, found: Bytes) -> str:
    if not argument.output:
        return "is an input, but was written"
    count = meant.size * 8 // element.bits
    codes = [unpack_bits(array, element.bits, count) for array in (meant, found)]
    differing = codes[0] != codes[1]
    if not element.is_float:
        return _worded(element, differing, codes)
    a, b = (element.decode(code).astype(np.float64) for code in codes)
    same = np.isnan(a) & np.isnan(b)
    if not argument.signed:
        same |= a == b
    if argument.error:
        with np.errstate(invalid="ignore"):
            same |= np.abs(a - b) <= argument.error
    return _worded(element, differing & ~same, codes)


def _worded(element: Dtype, differing: Any, codes: Sequence[Any]) -> str:
    places = np.flatnonzero(differing)
    if not places.size:
        return ""
    at = int(places[0])
    values = [element.decode(code[at : at + 1])[0] for code in codes]
    hexes = [f"0x{int(code[at]):x}" for code in codes]
    return (
        f"differs in {places.size} of {differing.size} elements, first in {at}: "
        f"interpreter {values[0]} ({hexes[0]}), found {values[1]} ({hexes[1]})"
    )
