"""`tileloom layout`: what it prints and writes, and what it says of mistakes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from tileloom.layouts import auto, fragments, parse_memory_layout
from tileloom.runtime import cli
from tileloom.runtime.layout_command import read_layout


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.main(["layout", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_a_register_layout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "spatial(2, 4) * local(1, 2)", "--thread", 5) == (
        "spatial(2, 4) * local(1, 2)\n"
        "shape [2, 8], 8 threads of 2 elements\n"
        "\n"
        "thread.local that hold each element:\n"
        "     0    1    2    3    4    5    6    7\n"
        "0  0.0  0.1  1.0  1.1  2.0  2.1  3.0  3.1\n"
        "1  4.0  4.1  5.0  5.1  6.0  6.1  7.0  7.1\n"
        "\n"
        "registers of thread 5, elements of 16 bits:\n"
        "  r0: [1, 2] [1, 3]\n"
    )


def test_a_memory_layout(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "row_major(8, 16)", "--bits", 32)
    assert text.startswith(
        "row_major(8, 16)\nshape [8, 16], 512 bytes with elements of 32 bits\n\nbank of each elem"
    )
    assert "  byte   128   [2, 0]   [2, 4]   [2, 8]  [2, 12]   [3, 0]" in text
    assert text.endswith(
        "wavefronts of an access by a warp, and the least there could be:\n"
        "   4 (1)  8 lanes along dimension 0\n"
        "   1 (1)  16 lanes along dimension 1\n"
        "   4 (1)  ldmatrix of 8 rows of 16 bytes\n"
    )


def test_large_layouts_are_cropped(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "local(64, 64)")
    assert "the first 32 rows and columns; `--full` shows all" in text
    assert "  and 2016 more\n" in text
    assert len(run(capsys, "local(64, 64)", "--full").splitlines()) > 2048


def test_names_of_fragments() -> None:
    assert read_layout("mma_a(f16)") == fragments.mma_a("f16")
    assert read_layout(" mma_b( i8, 16 )") == fragments.mma_b("i8", 16)
    assert read_layout("matrices(4)") == fragments.matrices(4)
    assert read_layout("auto(128, 64, 64)") == auto(128, 64, 64)
    text = "row_major(8, 64) ^ swizzle(3, 4, 3)"
    assert read_layout(text) == parse_memory_layout(text)


def test_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for text in ("mma_c(f16)", "row_major(8, 64) ^ swizzle(3, 4, 3)"):
        svg, page = tmp_path / "a.svg", tmp_path / "a.html"
        assert run(capsys, text, "--svg", svg, "--html", page) == f"{svg}\n{page}\n"
        assert ElementTree.fromstring(svg.read_text()).tag.endswith("svg")
        content = page.read_text()
        assert content.startswith("<!doctype html>") and str(read_layout(text)) in content
        assert "http" not in content.replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["spatail(8, 4)"],
         "layout error: expected one of `local`, `spatial`, `column_local`, `column_spatial`, "
         "`replicate`, `layout`, not `spatail`\n"
         " --> LAYOUT:1:1\n  |\n1 | spatail(8, 4)\n  | ^^^^^^^\nhint: did you mean `spatial`?\n"),
        (["local(2, 1) * spatial(8"],
         "layout error: expected `,`, not the end\n"
         " --> LAYOUT:1:24\n  |\n1 | local(2, 1) * spatial(8\n  |                        ^\n"),
        (["row_major(8, 64) ^ swizle(3, 4, 3)"],
         "layout error: expected `swizzle`, not `swizle`\n"
         " --> LAYOUT:1:20\n  |\n1 | row_major(8, 64) ^ swizle(3, 4, 3)\n"
         "  |                    ^^^^^^\n"),
        (["layout(shape=[4], modes=[[4]], spatial=[replicate(), 0], local=[])"],
         "layout error: expected an integer, not `)`\n --> LAYOUT:1:51\n  |\n"
         "1 | layout(shape=[4], modes=[[4]], spatial=[replicate(), 0], local=[])\n"
         "  | " + " " * 50 + "^\n"),
        (["local(0)"], "layout error: extents must be positive: shape [0]\n"),
        (["mma_a()"], "layout error: `mma_a` doesn't take ()\n"),
        (["mma_a(f16, 3)"],
         "layout error: no mma fragments for f16 with k = 3; there are f16 [16, 8], "
         "bf16 [16, 8], tf32 [8, 4], i8 [32, 16], u8 [32, 16]\n"),
        (["local(" + "9" * 5000 + ")"], "layout error: a number is too large\n"),
        (["(" * 5000], "layout error: the parentheses are nested too deeply\n"),
        (["replicate(9999999999)"],
         "layout error: it has more than 1048576 elements, too many to draw\n"),
        (["spatial(4)", "--thread", "4"],
         "layout error: thread 4 of a layout of 4 threads: spatial(4)\n"),
        (["spatial(4)", "--bits", "0"], "usage error: `--bits` is 0, not 1 to 128\n"),
        (["row_major(8, 64) ^ swizzle(3, 4, 3)", "--bits", "3"],
         "layout error: cannot swizzle elements of 3 bits: `row_major(8, 64) ^ "
         "swizzle(3, 4, 3)`\n"),
        (["spatial(4)", "--svg", "no/such/file.svg"],
         "usage error: `no/such/file.svg` can't be written: No such file or directory\n"),
        ([],
         "usage error: the following arguments are required: layout\n"
         "hint: `tileloom layout --help` lists the options\n"),
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
    assert cli.main(["layout", *arguments]) == 2
    assert capsys.readouterr().err == text
