"""`tileloom inspect`: what it gathers of a kernel, and the two forms of its report."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tileloom import vm
from tileloom.runtime import CompiledKernel, cli, compile_kernel, compiled
from tileloom.runtime.assemblers import Assembler
from tileloom.runtime.errors import ToolMissingError
from tileloom.runtime.inspect import gather, inspect_kernel, report_html, report_text
from tileloom.runtime.inspect.listing import Line, ptx_lines, sass_lines, source_lines
from tileloom.runtime.toolkit import find_program
from tileloom.vm.diagnostics import Location

from .kernels import add_one

TEXT = """\
layout #rows = local(4, 1) * spatial(4, 8) * local(1, 4)
layout #columns = spatial(32, 1) * local(1, 16)

func @turn(%x: *f32, %y: *f32) warps = 1 {
  %gx = global_view %x : global<f32, [16, 32]>
  %gy = global_view %y : global<f32, [32, 16]>
  %tile = alloc_shared : shared<f32, [16, 32]>
  %rows = load %gx[0, 0] : reg<f32, [16, 32], #rows>
  store %tile[0, 0], %rows
  barrier
  %columns = load %tile[0, 0] {dims = [1, 0]} : reg<f32, [32, 16], #columns>
  store %gy[0, 0], %columns
}
"""


@pytest.fixture(scope="module", autouse=True)
def _without_cache() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TILELOOM_CACHE", "0")
        yield


@pytest.fixture(scope="module")
def turn(tmp_path_factory: pytest.TempPathFactory) -> CompiledKernel:
    path = tmp_path_factory.mktemp("source") / "turn.vm"
    path.write_text(TEXT)
    return compile_kernel(vm.parse(TEXT, str(path)))


@pytest.fixture
def no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither an assembler nor nvdisasm: reports say so, and tests are quicker."""

    def absent(*arguments: Any, **options: Any) -> Any:
        raise ToolMissingError("there is no assembler")

    monkeypatch.setattr(compiled, "find_assembler", absent)
    monkeypatch.setattr(gather, "assemble", absent)


@pytest.fixture(scope="module")
def found(turn: CompiledKernel, assembler: Assembler) -> gather.Inspection:
    return inspect_kernel(turn)


def test_the_numbers(found: gather.Inspection, turn: CompiledKernel, assembler: Assembler) -> None:
    assert (found.name, found.target, found.num_threads) == ("turn", "sm_90a", 32)
    assert found.resources == turn.resources
    assert found.assembler == assembler.identity and found.warnings == ()
    assert found.passes[0].name == "source"
    assert found.passes[-1].name == "ptx" and found.passes[-1].text == turn.ptx
    (tile,) = found.shared
    assert (tile.name, tile.start, tile.size, tile.type) == ("%tile", 0, 2048, "f32 [16, 32]")
    assert {names for placed in found.layouts for names in placed.names} == {"%rows", "%columns"}


@pytest.mark.usefixtures("no_tools")
def test_a_pass_shows_what_it_changed() -> None:
    found = inspect_kernel(compile_kernel(add_one.trace()))
    stages = {stage.name: stage for stage in found.passes}
    assert stages["source"].diff == () == stages["ptx"].diff
    changed = [line for line in stages["layouts"].diff if line.startswith("+")]
    assert any("reg<f32, [128], #" in line for line in changed)
    assert not any(line.startswith(("---", "+++")) for line in stages["layouts"].diff)


def test_code_belongs_to_its_source_line(found: gather.Inspection) -> None:
    places = {line.text.strip().split(" = ")[-1].split(" ")[0]: line.place for line in found.source}
    assert [line.text for line in found.source] == TEXT.splitlines()
    ptx = gather.code_by_place(found.ptx)
    stores = [line.text for line in ptx[places["barrier"]]]  # type: ignore[index]
    assert [text.split()[0] for text in stores] == ["bar.sync"]
    for place, lines in ptx.items():
        assert place[0].endswith("turn.vm") and lines
    comment = next(line for line in found.ptx if "// barrier" in line.text)
    assert comment.place == places["barrier"] and not comment.is_code
    if found.sass is None:
        pytest.skip("no nvdisasm")
    sass = gather.code_by_place(found.sass)
    assert any(line.text.startswith("BAR.SYNC") for line in sass[places["barrier"]])  # type: ignore[index]


def test_bank_conflicts(found: gather.Inspection) -> None:
    store, *loads = found.accesses
    assert store.opcode.startswith("st.shared.v4") and not store.is_conflicting
    assert "store %tile" in store.comment
    assert loads and all(a.wavefronts == a.least for a in loads)
    assert found.conflicts == []


def test_the_mix_counts_opcodes(found: gather.Inspection) -> None:
    assert sum(count for _, count in found.mix) > 20
    assert gather.opcode_of("@!P0 LDG.E R1, [R2]") == "LDG"
    assert gather.opcode_of("    ret;") == "ret" and gather.opcode_of("") == ""


@pytest.mark.usefixtures("no_tools")
def test_without_an_assembler(turn: CompiledKernel) -> None:
    found = inspect_kernel(compile_kernel(turn.function))
    assert found.resources is None and found.sass is None
    assert found.notes == ("no machine code: there is no assembler",)
    assert "note: no machine code: there is no assembler" in report_text(found, ("summary",))
    assert "no machine code: there is no assembler" in report_html([found])


@pytest.mark.usefixtures("no_tools")
def test_an_override_is_inspected_too(turn: CompiledKernel) -> None:
    edited = turn.ptx.replace("    bar.sync", "    membar.cta;\n    bar.sync")
    found = inspect_kernel(turn.override(ptx=edited))
    mine = next(line for line in found.ptx if "membar" in line.text)
    assert mine.place is None
    following = next(line for line in found.ptx if "bar.sync" in line.text)
    assert following.place is not None and following.place[1] == 10


# ---- listings


def test_sass_is_cut_out_of_what_nvdisasm_says() -> None:
    text = """\
//--------------------- .text.other              --------------------------
        /*0000*/                   NOP ;
//--------------------- .text.k                  --------------------------
        .section        .text.k,"ax",@progbits
.text.k:
\t//## File "a/k.vm", line 7
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_1:
\t//## File "a/k.vm", line 9 inlined at "b.vm", line 3
        /*0010*/              @!P0 BRA `(.L_x_1) ;
"""
    assert sass_lines(text, "k") == [
        Line("MOV R1, c[0x0][0x28]", "0000", ("a/k.vm", 7)),
        Line(".L_x_1:", "", ("a/k.vm", 7), is_code=False),
        Line("@!P0 BRA `(.L_x_1)", "0010", ("a/k.vm", 9)),
    ]


def test_a_comment_belongs_to_the_code_below_it() -> None:
    ptx = "// nothing\n// a\n    add.s32 %r1, %r2, %r3;\n$L1:\n    .reg .b32 %r<3>;\n"
    lines = ptx_lines(ptx, {3: Location("k.vm", 5, 1, 2)})
    assert [line.place for line in lines] == [None, ("k.vm", 5), ("k.vm", 5), None, None]
    assert [line.is_code for line in lines] == [False, False, True, False, False]


def test_python_sources_are_shown_in_part(tmp_path: Path) -> None:
    path = tmp_path / "k.py"
    path.write_text("\n".join(f"line {n}" for n in range(1, 41)))
    lines = source_lines([Location(str(path), n, 1, 2) for n in (10, 14, 30)])
    assert [line.number for line in lines] == [
        *map(str, range(8, 17)), "", *map(str, range(28, 33)),
    ]  # fmt: skip
    assert [line.number for line in lines if line.is_code] == ["10", "14", "30"]
    gone = source_lines([Location("no/such.vm", 3, 1, 2, text="  barrier")])
    assert gone == [Line("  barrier", "3", ("no/such.vm", 3))]
    both = source_lines([Location(f"{n}.vm", 1, 1, 2, text="x") for n in "ab"])
    assert [line.text for line in both] == ["a.vm", "x", "b.vm", "x"]


# ---- reports


def test_the_text_report(found: gather.Inspection) -> None:
    text = report_text(found)
    assert text.startswith("turn for sm_90a\n  threads         32 a block\n  registers ")
    assert "  spills          none\n" in text
    assert "  bank conflicts  in none of " in text
    assert "\n\npasses\n  source: 13 lines\n    layout #rows" in text
    assert (
        "\n\nshared memory\n  %tile  bytes 0..2047         f32 [16, 32]  row_major(16, 32)" in text
    )
    assert "\n    10 |   barrier\n       bar.sync 0;" in text
    assert report_text(found, ("memory",)).splitlines()[0] == "shared memory"


class Page(HTMLParser):
    """Checks that elements nest; collects ids, links and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.keys: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: str(value) for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        self.keys += [given["data-k"]] if "data-k" in given else []
        self.links += [given[name] for name in ("href", "src") if name in given]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


def test_the_page_needs_no_other_file(found: gather.Inspection) -> None:
    text = report_html([found])
    page = Page(text)
    assert page.links and all(link[1:] in page.ids for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert "url(" not in text and "@import" not in text
    # A line of code in the source has lines of PTX of the same key.
    barrier = text.index("bar.sync")
    key = text[:barrier].rpartition('data-k="')[2].partition('"')[0]
    assert page.keys.count(key) >= 2
    both = Page(report_html([found, found]))
    assert {"k0", "k1", "k1-memory"} <= set(both.ids) and "#k1" in both.links


@pytest.mark.usefixtures("no_tools")
def test_program_text_is_escaped_in_the_page(turn: CompiledKernel) -> None:
    marked = turn.ptx.replace("// barrier", "// <script>alert(1)</script>")
    assert "<script>alert" not in report_html([inspect_kernel(turn.override(ptx=marked))])


def test_the_notebooks_card(turn: CompiledKernel, assembler: Assembler) -> None:
    text = turn._repr_html_()
    Page(text)
    assert f"{turn.resources.registers} a thread" in text
    assert "func @turn" in text and ".visible .entry turn(" in text
    assert "<style" not in text and "<script" not in text


def test_the_notebooks_card_of_a_kernel_that_is_rejected(
    turn: CompiledKernel, assembler: Assembler
) -> None:
    broken = turn.override(ptx=turn.ptx.replace("bar.sync", "bra.sync"))
    assert "machine code" in broken._repr_html_() and "rejects `turn`" in broken._repr_html_()


# ---- the command


def test_the_command(
    turn: CompiledKernel, assembler: Assembler, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source, page = tmp_path / "turn.vm", tmp_path / "turn.html"
    source.write_text(TEXT)
    assert cli.main(["inspect", str(source), "--show", "summary,banks"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("turn for sm_90a\n") and "accesses of shared memory: wavefronts" in text
    assert "passes" not in text
    assert cli.main(["inspect", str(source), "--html", str(page), "--target", "sm_80"]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert "sm_80, 32 threads a block" in page.read_text()
    if find_program("nvdisasm") is not None:
        assert "BAR.SYNC" in page.read_text()


@pytest.mark.usefixtures("no_tools")
def test_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "vector_add", "--show", "summary"]) == 0
    assert "no accesses of shared memory" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["none.vm"], "usage error: `none.vm` can't be read: No such file or directory\n"),
        (["k.ptx"],
         "usage error: `k.ptx` has no program to look into\nhint: `tileloom compile k.ptx` "
         "assembles it; `compiled.override` runs it\n"),
        (["vector_ad"],
         "name error: there is no program `vector_ad`\nhint: did you mean `vector_add`?\n"),
        (["turn.vm", "--show", "bank"],
         "name error: there is no section `bank`\nhint: did you mean `banks`?\n"),
        (["turn.vm", "--show", "xyz"],
         "name error: there is no section `xyz`\n"
         "hint: the sections: `summary`, `passes`, `memory`, `banks`, `code`\n"),
        (["turn.vm", "--target", "sm_1"],
         "target error: unknown target `sm_1`\n"
         "hint: known targets: `sm_80`, `sm_86`, `sm_89`, `sm_90a`\n"),
        (["turn.vm", "--html", "no/such/page.html", "--show", "summary"],
         "usage error: `no/such/page.html` can't be written: No such file or directory\n"),
        (["--html", "turn.vm"],
         "usage error: the program comes first: `tileloom inspect PROGRAM --html ...`\n"),
        (["turn.vm", "--htm"],
         "usage error: unrecognized arguments: --htm\n"
         "hint: `tileloom inspect turn.vm --help` lists the options\n"),
    ],
)  # fmt: skip
def test_mistakes(
    arguments: list[str],
    text: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("turn.vm").write_text(TEXT)
    assert cli.main(["inspect", *arguments]) == 2
    assert capsys.readouterr().err == text


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "--help"]) == 0
    assert "sections: summary, passes, memory, banks, code" in capsys.readouterr().out
    assert cli.main(["inspect"]) == 2
