"""Edited PTX: it runs, and mistakes in it are errors at the line of the mistake."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tileloom.runtime import CompiledKernel, compile_kernel
from tileloom.runtime.assemblers import Assembler
from tileloom.runtime.errors import AssemblerError
from tileloom.runtime.override import matching_lines
from tileloom.runtime.toolkit import find_program
from tileloom.vm.diagnostics import DeviceError, LaunchError, UsageError, VMError

from .kernels import add_one

ONE, TWO = "0f3F800000", "0f40000000"


@pytest.fixture(scope="module")
def kernel() -> CompiledKernel:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TILELOOM_CACHE", "0")
        return compile_kernel(add_one.trace())


def run(kernel: Any, device: str | None = "emulator") -> Any:
    x, y = np.arange(300, dtype=np.float32), np.full(300, np.nan, np.float32)
    kernel(x, y, 300, device=device)
    return y - x


def message(kernel: CompiledKernel, ptx: Any) -> str:
    with pytest.raises(VMError) as caught:
        run(kernel.override(ptx=ptx))
    return caught.value.render()


def test_edited_ptx_runs(kernel: CompiledKernel, tmp_path: Path) -> None:
    edited = kernel.ptx.replace(ONE, TWO)
    assert edited != kernel.ptx
    override = kernel.override(ptx=edited)
    assert (run(override) == 2).all() and (run(kernel) == 1).all()
    assert override.ptx == override.stages["ptx"] == edited
    assert override.text() == kernel.text()
    assert repr(override) == "<compiled kernel add_one for sm_90a, with edited PTX>"
    path = tmp_path / "edited.ptx"
    path.write_text(edited)
    assert (run(kernel.override(ptx=path)) == 2).all()
    assert (run(add_one.override(ptx=path, target="sm_80")) == 2).all()


def test_without_a_gpu_it_runs_on_the_emulator(
    kernel: CompiledKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    override = kernel.override(ptx=kernel.ptx.replace(ONE, TWO))
    monkeypatch.setattr("tileloom.runtime.cuda.context.available", lambda: False)
    monkeypatch.delenv("TILELOOM_DEVICE", raising=False)
    assert (run(override, None) == 2).all()
    with pytest.raises(DeviceError) as caught:
        run(override, "interpreter")
    assert caught.value.message == (
        "the `interpreter` runs the program, not its PTX: edits would change nothing"
    )
    assert caught.value.hint == 'use `device="emulator"` or `device="cuda"`'


def test_its_cubin_is_its_own(kernel: CompiledKernel, assembler: Assembler) -> None:
    override = kernel.override(ptx=kernel.ptx.replace(ONE, TWO))
    assert override.cubin != kernel.cubin
    assert override.resources.registers > 0
    assert kernel.override(ptx=override.ptx).cubin == override.cubin
    shared = kernel.override(ptx=kernel.ptx, dynamic_shared=1024)
    assert shared.resources.dynamic_shared == 1024
    if find_program("nvdisasm") is not None:
        assert "FADD" in override.sass(line_info=True)


def test_a_wrong_opcode_is_shown_in_the_edited_text(kernel: CompiledKernel) -> None:
    broken = kernel.ptx.replace("st.global", "st.gobal")
    line = next(i for i, t in enumerate(broken.splitlines(), 1) if "gobal" in t)
    text = broken.splitlines()[line - 1]
    assert message(kernel, broken) == (
        "execution error: the emulator: unknown modifier `.gobal` of `st.gobal.b32`\n"
        f"  --> <edited ptx of add_one>:{line}:5\n   |\n{line} | {text}\n"
        f"   |     {'^' * len(text.strip())}\n"
        f"note: line {line} of the PTX: `{text.strip()}`\n"
        "note: the instruction of the program: `store %target[block.x * 128], %add`"
    )


def test_what_the_assembler_rejects(kernel: CompiledKernel, assembler: Assembler) -> None:
    broken = kernel.ptx.replace("st.global", "st.gobal")
    with pytest.raises(AssemblerError) as caught:
        _ = kernel.override(ptx=broken).cubin
    place = caught.value.location
    assert place is not None and "gobal" in (place.source_line() or "")
    ((text, source),) = caught.value.notes
    assert text == "the instruction comes from here"
    assert source is not None and source.file == "<edited ptx of add_one>"


def test_a_line_that_was_not_edited_leads_to_the_program(kernel: CompiledKernel) -> None:
    lines = kernel.ptx.splitlines()
    store = next(i for i, t in enumerate(lines, 1) if "st.global" in t)
    override = kernel.override(ptx="\n".join(["// mine", *lines]))
    place = override.place_of(store + 1)
    assert place is not None and Path(place.file).name == "kernels.py"
    assert place == kernel.place_of(store)
    head = override.place_of(1)
    assert head is not None and head.text == "// mine"


def test_the_head_must_stay(kernel: CompiledKernel) -> None:
    text = message(kernel, kernel.ptx.replace("add_one(", "add_on("))
    assert text.startswith("name error: the PTX has no kernel `add_one`\n --> <edited ptx of add_o")
    assert text.endswith("hint: did you mean `add_on`?")
    with pytest.raises(LaunchError) as caught:
        kernel.override(ptx=kernel.ptx.replace(".param .s32 param_n", ".param .u64 param_n"))
    assert caught.value.message == (
        "the PTX's `add_one` takes (b64, b64, b64), the program (b64, b64, b32)"
    )
    assert caught.value.location is not None and "add_one(" in (caught.value.location.text or "")
    kernel.override(ptx=kernel.ptx.replace(".param .s32 param_n", "/* , */ .param .b32 param_n"))


def test_what_is_no_ptx(kernel: CompiledKernel, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"`add\.ptx` is a file's name, `ptx` is its text"):
        kernel.override(ptx="add.ptx")
    with pytest.raises(UsageError, match=r"can't be read: No such file"):
        kernel.override(ptx=tmp_path / "none.ptx")
    (tmp_path / "bytes.ptx").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="it is no text"):
        kernel.override(ptx=tmp_path / "bytes.ptx")
    with pytest.raises(VMError, match="`ptx` is a `int`, not text"):
        kernel.override(ptx=3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="-1 bytes of shared memory are none"):
        kernel.override(ptx=kernel.ptx, dynamic_shared=-1)


def test_matching_lines() -> None:
    before, after = list("abcdefg"), list("abXdeYYg")
    found = matching_lines(before, after)
    assert all(before[old - 1] == after[new - 1] for new, old in found.items())
    assert sorted(found) == [1, 2, 4, 5, 8]
    assert matching_lines("ab", "ab") == {1: 1, 2: 2}
    assert matching_lines("", "ab") == {} == matching_lines("ab", "")
    assert matching_lines("aa", "aaa") == {1: 1, 2: 2} or len(matching_lines("aa", "aaa")) == 2


WORDS = [
    "%r1",
    "%p0",
    "%d3",
    ";",
    ",",
    ".",
    "{",
    "}",
    "[",
    "]",
    "0",
    "-1",
    "99999999999999999999",
    "ld.global.f32",
    "@%p1",
    "bra",
    "$L1:",
    ".reg",
    ".b32",
    ".param",
    "(",
    ")",
    "//",
    "/*",
    "*/",
    "\0",
    "é",
    "exit",
    "0f3F80",
    ".loc",
    ".version",
    ".shared",
    "%tid.x",
    "_",
    "|",
    "!",
]


def test_mutated_ptx_gives_located_errors_only(
    kernel: CompiledKernel, script: Callable[[str], ModuleType]
) -> None:
    choice, failed, mutated = random.Random(7), 0, script("bad_input").mutated
    for _ in range(2000):
        ptx = mutated(kernel.ptx, WORDS, choice)
        try:
            run(kernel.override(ptx=ptx))
        except VMError as error:
            failed += 1
            assert error.location is not None
            assert error.location.file.endswith(("<edited ptx of add_one>", "kernels.py"))
    assert failed > 1500
