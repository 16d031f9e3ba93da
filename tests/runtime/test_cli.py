"""The command line: what it writes and prints, and how it tells users of their mistakes."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tileloom.runtime import cli, compiled, output, programs, toolkit
from tileloom.runtime.assemblers import Assembler
from tileloom.runtime.elf import read_cubin
from tileloom.runtime.errors import ToolMissingError
from tileloom.vm.diagnostics import UsageError

from .kernels import add_one, unaligned


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=8)


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.size < 0:
        raise UsageError("`size` is negative", hint="give a positive one")
    return {
        "device": args.device or "none",
        "size": np.int64(args.size),
        "error": float("nan"),
        "parts": {"a": 1.5, "b": [np.float32(2.5)]},
    }


PROGRAM = SimpleNamespace(
    __doc__="A program for tests.",
    add_arguments=add_arguments,
    run=run,
    compile=lambda args: [add_one.trace(), add_one.trace(), unaligned.trace()],
)


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"sample": lambda: PROGRAM, "broken": _broken}
    monkeypatch.setattr(programs, "programs", lambda: known)
    monkeypatch.setattr(cli, "programs", lambda: known)


def _broken() -> Any:
    raise ImportError("No module named 'tokenizers'")


def test_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "sample", "--size", "3"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "device  none", "size    3", "error   nan", "parts   a=1.5, b=[2.5]",
    ]  # fmt: skip


def test_run_json_is_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "sample", "--json", "--device", "interpreter"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert json.loads(last) == {
        "device": "interpreter", "size": 8, "error": None, "parts": {"a": 1.5, "b": [2.5]},
    }  # fmt: skip


def test_compile_writes_everything(
    assembler: Assembler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "out"
    assert cli.main(["compile", "sample", "--target", "sm_80", "-o", str(folder)]) == 0
    names = ["add_one", "add_one_2", "unaligned"]
    files = [f"{n}.{s}" for n in names for s in ("vm", "ptx", "cubin")] + ["resources.json"]
    assert capsys.readouterr().out.splitlines() == [str(folder / f) for f in files]
    assert (folder / "add_one.vm").read_text() == add_one.trace().text()
    assert ".target sm_80" in (folder / "add_one.ptx").read_text()
    assert list(read_cubin((folder / "unaligned.cubin").read_bytes())) == ["unaligned"]
    report = json.loads((folder / "resources.json").read_text())
    assert sorted(report) == names
    assert report["add_one"]["threads"] == 128 and report["add_one"]["target"] == "sm_80"
    assert report["add_one"]["assembler"] == assembler.identity
    assert report["add_one"]["registers"] > 0


def test_compile_without_an_assembler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(choice: str | None = None) -> Assembler:
        raise ToolMissingError("there is no assembler")

    monkeypatch.setattr(toolkit, "find_assembler", absent)
    monkeypatch.setattr(compiled, "find_assembler", absent)
    assert cli.main(["compile", "sample", "-o", str(tmp_path / "out")]) == 0
    assert not list((tmp_path / "out").glob("*.cubin"))
    assert (tmp_path / "out" / "add_one.ptx").exists()
    assert "note: there is no assembler, so no `add_one.cubin`" in capsys.readouterr().err


def test_compile_a_file_of_text_and_of_ptx(
    assembler: Assembler, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "add.vm"
    source.write_text(add_one.trace().text())
    assert cli.main(["compile", str(source), "-o", str(tmp_path / "a")]) == 0
    ptx = tmp_path / "a" / "add_one.ptx"
    assert cli.main(["compile", str(ptx), "-o", str(tmp_path / "b"), "--json"]) == 0
    first, second = (tmp_path / f / "add_one.cubin" for f in "ab")
    assert first.read_bytes() == second.read_bytes()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["add_one"]["registers"] > 0


def test_every_function_of_a_file_is_compiled(tmp_path: Path) -> None:
    source = tmp_path / "two.vm"
    source.write_text(f"{add_one.trace().text()}\n{unaligned.trace().text()}")
    written = output.compile_file(source, "sm_90a", tmp_path)
    assert sorted(written.report) == ["add_one", "unaligned"]
    source.write_text("\n")
    assert cli.main(["compile", str(source), "-o", str(tmp_path)]) == 2


def test_opt_level(assembler: Assembler, tmp_path: Path) -> None:
    for level in ("0", "3"):
        arguments = ["compile", "sample", "-o", str(tmp_path / level), "--opt-level", level]
        assert cli.main(arguments) == 0
    first, second = (json.loads((tmp_path / f / "resources.json").read_text()) for f in "03")
    assert (first["add_one"]["flags"], second["add_one"]["flags"]) == (["-O0"], ["-O3"])
    assert (tmp_path / "0/add_one.cubin").read_bytes() != (
        tmp_path / "3/add_one.cubin"
    ).read_bytes()


def test_two_kernels_of_one_name_get_two(tmp_path: Path) -> None:
    written = output.write_kernels([add_one.trace()] * 3, "sm_90a", tmp_path)
    assert sorted(written.report) == ["add_one", "add_one_2", "add_one_3"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run", "sampel"],
         "name error: there is no program `sampel`\nhint: did you mean `sample`?\n"),
        (["run", "zzz"],
         "name error: there is no program `zzz`\nhint: the programs: `sample`, `broken`\n"),
        (["rnu", "sample"], "name error: there is no command `rnu`\nhint: did you mean `run`?\n"),
        (["run", "--json", "sample"],
         "usage error: the program comes first: `tileloom run PROGRAM --json ...`\n"),
        (["run", "broken"],
         "usage error: the program `broken` can't be loaded: No module named 'tokenizers'\n"),
        (["run", "sample", "--size", "-1"],
         "usage error: `size` is negative\nhint: give a positive one\n"),
        (["compile", "sample", "--target", "sm_1"],
         "target error: unknown target `sm_1`\n"
         "hint: known targets: `sm_80`, `sm_86`, `sm_89`, `sm_90a`\n"),
        (["compile", "no/such.vm"],
         "usage error: `no/such.vm` can't be read: No such file or directory\n"),
    ],
)  # fmt: skip
def test_mistakes(
    arguments: list[str],
    text: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err == text and captured.out == ""


def test_a_mistake_in_a_file_is_shown_in_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "bad.vm"
    source.write_text("func @f(%p: *f16) warps = 1 {\n  %v = globl_view %p : global<f16, [4]>\n}\n")
    assert cli.main(["compile", str(source), "-o", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert f"{source}:2:" in error and "^" in error and "Traceback" not in error


def test_a_binary_file_is_no_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "bad.vm"
    source.write_bytes(b"\xff\xfe\x00")
    assert cli.main(["compile", str(source)]) == 2
    assert "it is no text" in capsys.readouterr().err


def test_bad_options_are_mistakes_like_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "sample", "--size", "many"]) == 2
    assert capsys.readouterr().err == (
        "usage error: argument --size: invalid int value: `many`\n"
        "hint: `tileloom run sample --help` lists the options\n"
    )


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "sample, broken" in text and "TILELOOM_CACHE_DIR" in text
    assert cli.main([]) == 2
    assert cli.main(["run", "--help"]) == 0
    with pytest.raises(SystemExit):
        cli.main(["run", "sample", "--help"])
    text = capsys.readouterr().out
    assert "A program for tests." in text and "--size" in text and "--json" in text


def _command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tileloom.runtime", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)


def test_the_real_command(tmp_path: Path) -> None:
    done = _command("run", "vector_add", "--device", "interpreter", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["device"] == "interpreter"
    done = _command("run", "vector_ad", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "name error: there is no program `vector_ad`\nhint: did you mean `vector_add`?\n"
    )


def test_the_source_trees_programs_are_there() -> None:
    for name, module in programs.SOURCE_TREE.items():
        loaded = __import__(module, fromlist=["add_arguments"])
        for member in ("add_arguments", "run", "compile"):
            assert callable(getattr(loaded, member)), (name, member)
