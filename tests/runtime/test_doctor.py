"""`tileloom doctor` says what is there, and survives what is broken."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tileloom.runtime import cli, devices, doctor, sass, toolkit
from tileloom.runtime.assemblers import Assembler
from tileloom.runtime.bundles import write_bundle
from tileloom.runtime.cuda import context
from tileloom.runtime.errors import ToolMissingError

from .fake_driver import FakeDriver


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> Any:
        raise context.NoDeviceError("there is no CUDA driver")

    monkeypatch.setattr(context, "api", absent)


@pytest.fixture
def few_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """The assemblers aren't tried one by one, which takes a second."""
    monkeypatch.setattr(doctor, "_ASSEMBLERS", ())


def report() -> dict[tuple[str, str], doctor.Finding]:
    return {(f.section, f.name): f for f in doctor.examine()}


@pytest.mark.usefixtures("no_gpu")
def test_a_machine_without_a_gpu(assembler: Assembler, tmp_path: Path) -> None:
    found = report()
    assert found["software", "numpy"].text == np.__version__
    assert found["GPU", "driver"].state == "missing"
    assert found["tools", "assembler used"].text == assembler.identity
    place = found["cache", "directory"]
    assert place.state == "ok" and place.text.startswith(f"{tmp_path / 'cache'}: ")
    works = {name: f for (section, name), f in found.items() if section == "what works here"}
    assert [name for name, f in works.items() if f.state == "ok"] == [
        "interpreter", "compile to PTX", "emulator", "assemble",
        *(["disassemble"] if works["disassemble"].state == "ok" else []),
    ]  # fmt: skip
    assert works["GPU"].text == "no: there is no CUDA driver"
    assert works["emulator"].text == "yes: a kernel ran and was right"


@pytest.mark.usefixtures("few_tools")
def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILELOOM_ASSEMBLER_FLAGS", "-O2")
    assert cli.main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("software\n  tileloom ")
    assert "\n\nenvironment\n" in text and "TILELOOM_ASSEMBLER_FLAGS  -O2" in text
    assert "\n\nwhat works here\n" in text
    assert cli.main(["doctor", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["section"] for row in rows} >= {"software", "GPU", "tools", "cache"}
    assert cli.main(["doctor", "--jso"]) == 2
    assert capsys.readouterr().err == (
        "usage error: unrecognized arguments: --jso\n"
        "hint: `tileloom doctor --help` lists the options\n"
    )


@pytest.mark.usefixtures("few_tools")
def test_a_gpu(fake: FakeDriver) -> None:
    found = report()
    assert found["GPU", "driver"].text.startswith("serves CUDA ")
    assert "multiprocessors" in found["GPU", "device 0"].text
    # The pretended GPU computes nothing, which the probe finds out.
    assert found["what works here", "GPU"].state == "broken"


def test_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(choice: str | None = None) -> Any:
        raise ToolMissingError("there is no assembler", hint="install one")

    monkeypatch.setattr(toolkit, "find_assembler", absent)
    monkeypatch.setattr(sass, "find_program", lambda name: None)
    found = report()
    for name in ("ptxas", "nvjitlink", "driver", "assembler used"):
        assert found["tools", name] == doctor.Finding(
            "tools", name, "missing", "there is no assembler", "install one"
        )
    assert found["tools", "nvdisasm"].state == "missing"
    assert "hint: install one" in doctor.report_text(list(found.values()))


@pytest.mark.usefixtures("few_tools")
def test_a_broken_program_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nvdisasm"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o700)
    monkeypatch.setattr(sass, "find_program", lambda name: str(program))
    found = {f.name: f for f in doctor._tools()}
    assert found["nvdisasm"].text == f"`{program}` doesn't say its version"
    monkeypatch.setattr(subprocess, "run", _cannot)
    found = {f.name: f for f in doctor._tools()}
    assert "doesn't run" in found["nvdisasm"].text


def _cannot(*arguments: Any, **options: Any) -> Any:
    raise OSError(8, "Exec format error")


@pytest.mark.usefixtures("few_tools")
def test_what_must_work_decides_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "interpret", lambda *arguments: None)  # stores nothing
    assert cli.main(["doctor"]) == 1
    assert "no: ArithmeticError: x + 1 is wrong: [0, 0, 0, 0, ...]" in capsys.readouterr().out


@pytest.mark.usefixtures("few_tools")
def test_the_cache_and_its_layers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    good, bad, folder = tmp_path / "good.tl", tmp_path / "bad.tl", tmp_path / "shared"
    write_bundle(good, {"a": b"x"})
    bad.write_bytes(b"nothing")
    monkeypatch.setenv("TILELOOM_CACHE_LAYERS", f"{good}{os.pathsep}{bad}")
    layers = [f for f in doctor._cache() if f.name == "layer"]
    assert [f.state for f in layers] == ["ok", "missing"]
    assert layers[1].text == f"`{bad}` is no bundle of compiled kernels"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("TILELOOM_CACHE_DIR", str(folder))
    (found, *_) = doctor._cache()
    assert found.state == "missing" and "`chmod 700` it" in found.text
    monkeypatch.setenv("TILELOOM_CACHE", "0")
    assert next(doctor._cache()).text == "turned off by `TILELOOM_CACHE`"
