"""`tileloom mutants`: plants each bug, and says what catches it and how fast.

The exit status is 1 if a bug survives or can't be planted any more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tileloom import vm
from tileloom.vm.diagnostics import ExecutionError, UsageError

from ..arguments import Parser
from . import planted
from .catalogue import ROOT, Mutant, catalogue, named
from .corpus import write_corpus

PROGRAMS = 400
_LIMIT_S = 600.0


@dataclass(frozen=True)
class Verdict:
    """What became of a planted bug: how many programs it `changed` (a test counts as one), what
    `caught` it ("": nothing), and after how long."""

    mutant: Mutant
    changed: int
    caught: str
    seconds: float


def main(arguments: Sequence[str]) -> int:
    """Runs the command and returns the exit status."""
    args = _parser().parse_args(arguments)
    chosen = [named(name) for name in args.only] if args.only else list(catalogue())
    stale = [f"`{m.name}`: {problem}" for m in chosen if (problem := m.problem())]
    if stale:
        raise UsageError("planted bugs that don't fit the sources any more", notes=stale)
    verdicts = []
    for verdict in run(chosen, args.programs, args.jobs):
        verdicts.append(verdict)
        found = verdict.caught or ("SURVIVED" if verdict.changed else "CHANGED NOTHING")
        print(f"{verdict.mutant.name}: {found} ({verdict.seconds:.1f} s)", file=sys.stderr)
    _print(verdicts, args.json)
    return 0 if all(v.caught for v in verdicts) else 1


def _parser() -> Parser:
    parser = Parser(prog="tileloom mutants", description="bugs planted in the compiler, hunted")
    parser.add_argument("--only", action="append", metavar="NAME", help="this bug (repeatable)")
    parser.add_argument(
        "--programs", type=int, default=PROGRAMS, help=f"random programs (default: {PROGRAMS})"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    return parser


def run(mutants: Sequence[Mutant], programs: int, jobs: int = 1) -> Iterator[Verdict]:
    """The verdict on each planted bug, in order."""
    with tempfile.TemporaryDirectory(prefix="tileloom-mutants-") as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        write_corpus(corpus, programs)
        with ThreadPoolExecutor(max(1, jobs)) as pool:
            yield from pool.map(lambda mutant: judge(mutant, corpus), mutants)


def judge(mutant: Mutant, corpus: Path) -> Verdict:
    """Hunts one bug with the programs of a corpus, then with the tests that its entry names."""
    with tempfile.TemporaryDirectory(prefix="tileloom-mutant-") as folder:
        start = time.perf_counter()
        result = Path(folder, "result.json")
        found: dict[str, Any] = {"changed": 0, "caught": ""}
        if mutant.file.startswith("compiler/"):
            arguments = ["tileloom.runtime.mutants.hunt", str(corpus), str(result)]
            found = _run(mutant, Path(folder), arguments, result)
        if not found["caught"] and mutant.tests:
            tests = [str(ROOT / test) for test in mutant.tests]
            arguments = ["tileloom.runtime.mutants.testing", str(result), *tests]
            changed = found["changed"]
            found = _run(mutant, Path(folder), arguments, result)
            found["changed"] = max(changed, found["changed"])
        seconds = time.perf_counter() - start
        return Verdict(mutant, int(found["changed"]), str(found["caught"]), seconds)


def _run(mutant: Mutant, folder: Path, arguments: list[str], result: Path) -> dict[str, Any]:
    """One check in a process with the bug in it; a crash there counts as caught."""
    texts = [folder / "old", folder / "new"]
    for path, text in zip(texts, (mutant.old, mutant.new), strict=True):
        path.write_text(text, encoding="utf-8")
    script = str(planted.__file__)
    command = [sys.executable, script, mutant.module, *map(str, texts), *arguments]
    result.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=_environment(folder), capture_output=True, text=True,
            timeout=_LIMIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"changed": 1, "caught": f"it runs longer than {_LIMIT_S:g} s"}
    if done.returncode < 0:
        raise ExecutionError(f"the hunt for `{mutant.name}` was ended by signal {-done.returncode}")
    if not result.exists():
        lines = (done.stdout + done.stderr).strip().splitlines() or ["no message"]
        return {"changed": 1, "caught": f"crash: {lines[-1]}"}
    loaded: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return loaded


def _environment(folder: Path) -> dict[str, str]:
    """The environment in which the package is found, and no cache hides what the compiler does."""
    home = Path(next(iter(vm.__path__))).parent.parent
    inherited = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join([str(home.absolute()), *filter(None, [inherited])])
    return {**os.environ, "PYTHONPATH": path, "TILELOOM_CACHE_DIR": str(folder / "cache")}


def _print(verdicts: Sequence[Verdict], as_json: bool) -> None:
    caught = [v for v in verdicts if v.caught]
    survivors = [v.mutant.name for v in verdicts if not v.caught]
    times = sorted(v.seconds for v in caught)
    median = times[len(times) // 2] if times else 0.0
    if not as_json:
        print(f"planted          {len(verdicts)}")
        print(f"caught           {len(caught)}")
        print(f"survivors        {', '.join(survivors) or 'none'}")
        print(f"median time      {median:.1f} s")
        return
    fields = {
        "planted": len(verdicts),
        "caught": len(caught),
        "survivors": survivors,
        "median_seconds": round(median, 2),
        "bugs": [
            {
                "name": v.mutant.name,
                "kind": v.mutant.kind,
                "changed": v.changed,
                "caught": v.caught,
                "seconds": round(v.seconds, 2),
            }
            for v in verdicts
        ],
    }
    print(json.dumps(fields))
