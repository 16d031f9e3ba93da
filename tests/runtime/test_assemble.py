"""Assembling: cubins, what the logs say, and errors that lead back to the program."""

from __future__ import annotations

import json
import shlex
import stat
import subprocess
from pathlib import Path

import pytest

from tileloom.runtime import assemblers, toolkit
from tileloom.runtime.assemble import Assembled, assemble, source_place
from tileloom.runtime.assembler_log import Complaint, read_log
from tileloom.runtime.assemblers import Assembler, Job, NvJitLink, Ptxas
from tileloom.runtime.elf import ElfError, read_cubin
from tileloom.runtime.errors import AssemblerError, ToolMissingError
from tileloom.runtime.sass import disassemble
from tileloom.runtime.toolkit import find_assembler, find_program
from tileloom.vm.diagnostics import Location

from .ptx_samples import SAXPY, SERIALISED, SHARED, given_back, spilling

BAD = SAXPY.replace("fma.rn.f32 ", "fmaa.rn.f32 ")


def _named(choice: str) -> Assembler:
    try:
        return find_assembler(choice)
    except ToolMissingError as error:
        pytest.skip(error.message)


@pytest.fixture(params=["ptxas", "nvjitlink"])
def each(request: pytest.FixtureRequest) -> Assembler:
    return _named(request.param)


def test_a_cubin_and_its_usage(each: Assembler) -> None:
    assembled = assemble(SAXPY, "sm_90a", assembler=each)
    assert assembled.cubin[:4] == b"\x7fELF"
    assert [k.name for k in assembled.kernels] == ["saxpy"]
    assert 4 <= assembled.registers <= 32
    assert f"Used {assembled.registers} registers" in assembled.log
    assert (assembled.stack, assembled.spill_stores, assembled.spill_loads) == (0, 0, 0)
    assert assembled.assembler == each.identity
    assert assembled.assembler.split()[1][0].isdigit()


@pytest.mark.parametrize("target", ["sm_80", "sm_86", "sm_89", "sm_90a"])
def test_static_shared_memory_excludes_the_systems(assembler: Assembler, target: str) -> None:
    assembled = assemble(SHARED.replace("TARGET", target), target, assembler=assembler)
    assert assembled.shared == 256


def test_spills_are_counted(each: Assembler) -> None:
    assembled = assemble(spilling(), "sm_90a", assembler=each)
    assert assembled.registers <= 32
    assert assembled.spill_stores > 0
    assert assembled.spill_loads > 0
    assert assembled.stack > 0


def test_metadata_survives_json(assembler: Assembler) -> None:
    assembled = assemble(SAXPY, "sm_90a", assembler=assembler)
    fields = json.loads(json.dumps(assembled.metadata()))
    assert Assembled.from_metadata(fields, assembled.cubin) == assembled


def test_the_same_ptx_gives_the_same_cubin(assembler: Assembler) -> None:
    first, second = (assemble(SAXPY, "sm_90a", assembler=assembler) for _ in range(2))
    assert first.cubin == second.cubin


def test_flags_reach_the_assembler(assembler: Assembler, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = assemble(spilling(), "sm_90a", assembler=assembler)
    slow = assemble(spilling(), "sm_90a", assembler=assembler, opt_level=0)
    assert slow.cubin != plain.cubin
    monkeypatch.setenv("TILELOOM_ASSEMBLER_FLAGS", "--warn-on-spills")
    warned = assemble(spilling(), "sm_90a", assembler=assembler)
    assert warned.flags == ("-O3", "--warn-on-spills")
    assert any("pilled" in w for w in warned.warnings), warned.log


def test_a_rejected_module_shows_both_places(each: Assembler, tmp_path: Path) -> None:
    with pytest.raises(AssemblerError) as caught:
        assemble(BAD, "sm_90a", assembler=each)
    error = caught.value
    kept = tmp_path / "kept" / "saxpy.ptx"
    assert error.ptx_path == str(kept)
    assert kept.read_text() == BAD
    line = 1 + BAD.splitlines().index("  fmaa.rn.f32 %f1, %f1, %f0, %f1;")
    assert str(error) == (
        f"assembler error: `{each.identity}` rejects `saxpy` for `sm_90a`: "
        "Not a name of any known instruction: 'fmaa'\n"
        f"  --> {kept}:{line}:3\n"
        "   |\n"
        f"{line} |   fmaa.rn.f32 %f1, %f1, %f0, %f1;\n"
        "   |   " + "^" * 31 + "\n"
        "note: the instruction comes from here\n"
        "  --> prog.vm:4:7\n"
        f"hint: reproduce with `{error.command}`"
    )


def test_the_repro_command_reproduces() -> None:
    with pytest.raises(AssemblerError) as caught:
        assemble(BAD, "sm_90a", assembler=_named("ptxas"))
    assert caught.value.command is not None
    again = subprocess.run(shlex.split(caught.value.command), capture_output=True, text=True)
    assert again.returncode != 0
    assert "fmaa" in again.stderr


def test_the_repro_command_of_a_library() -> None:
    job = Job("k", "", "sm_90a", flags=("--entry", "a b"))
    command = NvJitLink(identity="nvjitlink 1.0").command(job, Path("/tmp/x y/k.ptx"))
    assert command == (
        "TILELOOM_ASSEMBLER=nvjitlink TILELOOM_ASSEMBLER_FLAGS='--entry '\"'\"'a b'\"'\"'' "
        "tileloom compile '/tmp/x y/k.ptx' --target sm_90a --opt-level 3 -o '/tmp/x y'"
    )


def test_a_module_for_another_target_is_rejected(each: Assembler) -> None:
    with pytest.raises(AssemblerError, match=r"rejects `saxpy` for `sm_80`: SM version") as caught:
        assemble(SAXPY, "sm_80", assembler=each)
    assert "the PTX is kept in" in str(caught.value)


def test_serialised_wgmma_fails(each: Assembler) -> None:
    with pytest.raises(AssemblerError, match="one after the other") as caught:
        assemble(SERIALISED, "sm_90a", assembler=each)
    assert "note: C75" in str(caught.value)


def test_registers_that_products_lack_are_shown() -> None:
    """The place is the instruction that gives them back, and the user's line it comes from."""
    ptxas = _named("ptxas")  # nvJitLink ignores such changes
    where = Location("kernel.py", 12, 5, 9)
    with pytest.raises(AssemblerError, match="one after the other") as caught:
        assemble(given_back(24), "sm_90a", assembler=ptxas, place_of=lambda line: where)
    text = str(caught.value)
    assert "note: C7512: " in text and "store it before" in text and "kernel.py:12:5" in text
    location = caught.value.location
    assert location is not None and location.text is not None
    assert location.text.split() == ["setmaxnreg.dec.sync.aligned.u32", "24;"]
    assert assemble(given_back(128), "sm_90a", assembler=ptxas).spill_stores == 0


def test_a_crash_is_reported_with_the_signal(tmp_path: Path) -> None:
    crashing = _script(tmp_path, 'case "$1" in --version) echo "V13.0.1";; *) kill -SEGV $$;; esac')
    with pytest.raises(AssemblerError, match="ended by SIGSEGV") as caught:
        assemble(SAXPY, "sm_90a", assembler=Ptxas(str(crashing)))
    assert caught.value.ptx_path is not None
    assert Path(caught.value.ptx_path).exists()


def test_a_crash_over_lines_is_gone_round(tmp_path: Path) -> None:
    real = _named("ptxas")
    assert isinstance(real, Ptxas)
    body = f'case "$*" in *-lineinfo*) kill -SEGV $$;; *) exec {shlex.quote(real.path)} "$@";; esac'
    found = assemble(SAXPY, "sm_90a", assembler=Ptxas(str(_script(tmp_path, body))))
    assert found.cubin[:4] == b"\x7fELF"
    assert any("crashes" in warning for warning in found.warnings)
    plain = assemble(SAXPY, "sm_90a", assembler=real, line_info=False)
    assert found.kernels == plain.kernels


def test_a_hang_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILELOOM_ASSEMBLER_TIMEOUT", "0.2")
    hanging = _script(tmp_path, 'case "$1" in --version) echo "V13.0.1";; *) exec sleep 30;; esac')
    with pytest.raises(AssemblerError, match=r"it took more than 0\.2 s"):
        assemble(SAXPY, "sm_90a", assembler=Ptxas(str(hanging)))


def _script(folder: Path, body: str) -> Path:
    path = folder / "ptxas"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_named_ptxas_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = _script(tmp_path, 'echo "Cuda compilation tools, release 99.1, V99.1.7"')
    monkeypatch.setenv("TILELOOM_ASSEMBLER", str(other))
    assert find_assembler().identity == "ptxas 99.1.7"
    monkeypatch.setenv("TILELOOM_ASSEMBLER", str(tmp_path / "absent"))
    with pytest.raises(ToolMissingError, match="doesn't run"):
        find_assembler()


def test_no_assembler_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise RuntimeError("no such library")

    monkeypatch.setattr(toolkit, "find_program", lambda name: None)
    monkeypatch.setattr(assemblers.bindings, "nvjitlink", absent)
    monkeypatch.setattr(assemblers, "_driver_version", absent_driver)
    monkeypatch.setattr(toolkit, "_found", {})
    with pytest.raises(ToolMissingError) as caught:
        find_assembler()
    error = caught.value
    assert error.location is not None and error.location.file == __file__
    assert f"{error.kind}: {error.message}\nhint: {error.hint}" == (
        "tool error: there is no assembler: neither `ptxas`, nor nvJitLink, nor a driver\n"
        "hint: `pip install 'tileloom[tools]'` brings ptxas, `'tileloom[asm]'` nvJitLink"
    )


def absent_driver() -> str:
    raise ToolMissingError("the driver can't assemble: there is no CUDA driver")


def test_sass(assembler: Assembler) -> None:
    assembled = assemble(SAXPY, "sm_90a", assembler=assembler)
    if find_program("nvdisasm") is None:
        with pytest.raises(ToolMissingError, match="`nvdisasm` isn't there"):
            disassemble(assembled.cubin)
        return
    assert "FFMA" in disassemble(assembled.cubin)
    assert 'prog.vm", line 4' in disassemble(assembled.cubin, line_info=True)
    with pytest.raises(ToolMissingError, match="failed"):
        disassemble(b"no cubin")


def test_elf_reader_rejects_what_is_no_cubin(assembler: Assembler) -> None:
    cubin = assemble(SAXPY, "sm_90a", assembler=assembler).cubin
    for data in (b"", b"\x7fELF", b"hello" * 100, cubin[:64], cubin[: len(cubin) // 2]):
        with pytest.raises(ElfError):
            read_cubin(data)


def test_source_place() -> None:
    lines = SAXPY.splitlines()
    first = 1 + lines.index("  mov.u32 %r1, %tid.x;")
    place = source_place(SAXPY, first)
    assert place is not None and (place.file, place.line, place.column) == ("prog.vm", 3, 5)
    assert source_place(SAXPY, 1) is None
    assert source_place(SAXPY.replace(".loc", "//loc"), first) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ptxas a b.ptx, line 7; error   : bad thing", Complaint("bad thing", 7)),
        ("ptxas application ptx input, line 43; error   : x", Complaint("x", 43)),
        ("ptxas fatal   : no good", Complaint("no good")),
        ("ERROR NVJITLINK_ERROR_INTERNAL: Undefined reference to 'f'",
         Complaint("NVJITLINK_ERROR_INTERNAL: Undefined reference to 'f'")),
    ],
)  # fmt: skip
def test_error_lines(line: str, expected: Complaint) -> None:
    assert read_log(line).errors == [expected]


def test_the_aborted_line_is_dropped_beside_others_only() -> None:
    aborted = "ptxas fatal   : Ptx assembly aborted due to errors"
    assert [e.text for e in read_log(f"ptxas k, line 1; error : x\n{aborted}").errors] == ["x"]
    assert len(read_log(aborted).errors) == 1


def test_nvjitlink_is_optional() -> None:
    assert NvJitLink(identity="nvjitlink 1.0").identity == "nvjitlink 1.0"


def test_registers_that_stay_are_no_serialised_wgmma() -> None:
    said = "(C7507) Potential Performance Loss: 'setmaxnreg' ignored to maintain minimum register"
    report = read_log(f"ptxas info    : {said} requirements.")
    assert report.serialised == [] and [w.text[:6] for w in report.warnings] == ["C7507:"]


def test_products_beside_calls_may_be_serialised() -> None:
    """`print` and `assert` are calls: kernels that have them are for finding mistakes."""
    said = (
        "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are "
        "serialized due to wgmma pipeline crossing function boundary at a function call in 'f'"
    )
    report = read_log(said)
    assert report.serialised == [] and [w.text[:6] for w in report.warnings] == ["C7510:"]
