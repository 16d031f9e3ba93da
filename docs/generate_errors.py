"""The page of error cases: every program in tests/errors, and what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HEAD = """# Error cases

Every mistake that the tests know, by its code (`error.kind`): the program, and all of what it says.
The hint says how to mend it; [errors.md](errors.md) explains the kinds, and mends one program of
each. This page is written by `docs/generate.py` from `tests/errors/`.

"""


class Case(NamedTuple):
    """A program and its message."""

    code: str
    name: str
    language: str
    program: str
    message: str


def cases(folder: Path) -> Iterator[Case]:
    """The cases of a folder like tests/errors, in the order of their codes and names."""
    found = []
    for path in folder.glob("*/*.txt"):
        source = next(s for s in (path.with_suffix(".vm"), path.with_suffix(".py")) if s.exists())
        message = path.read_text()
        code = message.partition(":")[0].replace(" ", "-")
        # Other words than those of the pages whose blocks the tests run: these run already.
        language = "py" if source.suffix == ".py" else "tileloom"
        name = path.stem.replace("_", " ")
        found.append(Case(code, name, language, source.read_text(), message))
    return iter(sorted(found))


def page(folder: Path) -> str:
    """The page, from a folder like tests/errors."""
    by_code: dict[str, list[Case]] = {}
    for case in cases(folder):
        by_code.setdefault(case.code, []).append(case)
    parts = [_HEAD, "| code | cases |\n|---|--:|\n"]
    parts += [f"| [{code}](#{code}) | {len(found)} |\n" for code, found in by_code.items()]
    for code, found in by_code.items():
        parts.append(f"\n## {code}\n")
        parts += map(_section, found)
    return "".join(parts)


def _section(case: Case) -> str:
    program = re.sub(r"  # noqa.*$", "", case.program, flags=re.M)
    return f"\n### {case.name}\n\n```{case.language}\n{program}```\n```text\n{case.message}```\n"
