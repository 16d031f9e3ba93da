"""The planted bugs: read from TOML, and checked against the sources.

[[mutant]]
name = "tail-off-by-one"
kind = "tail"                        # the family of mistakes
file = "compiler/emit/addresses.py"  # from the repository's root
says = "what the mistake is"
old = "..."                          # occurs exactly once in the file
new = "..."
tests = ["tests/compiler/test_memory.py"]  # where random programs can't catch it
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tileloom.vm.diagnostics import UsageError, did_you_mean

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "mutants"


@dataclass(frozen=True)
class Mutant:
    """One planted bug; `file` and `tests` are paths from the repository's root."""

    name: str
    kind: str
    file: str
    says: str
    old: str
    new: str
    tests: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The module that it changes."""
        return "tileloom." + self.file.removesuffix(".py").replace("/", ".")

    def problem(self) -> str:
        """Why it can't be planted any more; "" if it can."""
        path = ROOT / self.file
        if not path.is_file():
            return f"there is no `{self.file}`"
        count = path.read_text(encoding="utf-8").count(self.old)
        if count != 1:
            return f"its text occurs {count} times in `{self.file}`"
        if self.old == self.new:
            return "it changes nothing"
        missing = [test for test in self.tests if not (ROOT / test.partition("::")[0]).exists()]
        return f"there is no `{missing[0]}`" if missing else ""


@cache
def catalogue() -> tuple[Mutant, ...]:
    """All planted bugs, in the order of their files.

    Raises:
        UsageError: this isn't a source tree.
    """
    if not FOLDER.is_dir():
        raise UsageError(
            "planted bugs need the source tree", hint="run it in a checkout of the repository"
        )
    found = []
    for path in sorted(FOLDER.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]:
            found.append(Mutant(**{**entry, "tests": tuple(entry.get("tests", ()))}))
    return tuple(found)


def named(name: str) -> Mutant:
    """The planted bug of that name.

    Raises:
        UsageError: there is none.
    """
    by_name = {mutant.name: mutant for mutant in catalogue()}
    if name not in by_name:
        raise UsageError(
            f"there is no planted bug `{name}`", hint=did_you_mean(name, by_name) or ""
        )
    return by_name[name]
