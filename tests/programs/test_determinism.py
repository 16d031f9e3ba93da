"""The PTX of every program is the same in every process, and wherever the checkout lies."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("every_ptx.py")


def copied(folder: Path) -> Path:
    """The sources in another place."""
    for name in ("layouts", "vm", "compiler", "runtime", "programs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / ".src" / "tileloom" / name, ignore=ignored)
    return folder


def start(checkout: Path, seed: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONHASHSEED": seed,
        "PYTHONPATH": str(checkout / ".src"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, str(SCRIPT)]
    return subprocess.Popen(
        command,
        env=environment,
        cwd=checkout,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_every_process_and_every_checkout_prints_the_same(tmp_path: Path) -> None:
    other = copied(tmp_path / "a" / "deeper" / "place")
    running = [start(ROOT, "0"), start(ROOT, "1"), start(other, "4242")]
    found = []
    for process in running:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        found.append(json.loads(output))
    assert len(found[0]) > 80
    assert found[0] == found[1] == found[2]
