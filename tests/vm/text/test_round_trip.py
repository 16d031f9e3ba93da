"""`parse(print(f))` is the same program, for a corpus with every instruction and drawn programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tileloom.layouts import local, spatial
from tileloom.programs.matmul.program import matmul
from tileloom.programs.vector_add.program import vector_add
from tileloom.vm import Kernel, dtype, parse
from tileloom.vm.expr import Const
from tileloom.vm.instruction import REGISTRY, attribute_hints
from tileloom.vm.ir import Function, Value, instructions
from tileloom.vm.text import parse_module, print_instruction, print_type
from tileloom.vm.types import GlobalType, PointerType, RegType, SharedType

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.vm"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_corpus_is_its_own_printed_form(path: Path) -> None:
    text = path.read_text()
    assert parse(text, path.name).text() == text


def test_the_corpus_has_every_instruction() -> None:
    used = {
        type(instruction)
        for path in CORPUS
        for instruction in instructions(parse(path.read_text()).body)
    }
    missing = {name for name, cls in REGISTRY.items() if cls not in used}
    assert not missing, "add them to a file of tests/vm/text/corpus"


def test_every_attribute_away_from_its_default_is_in_the_corpus() -> None:
    seen: dict[str, set[str]] = {}
    for path in CORPUS:
        for instruction in instructions(parse(path.read_text()).body):
            printed = print_instruction(instruction)
            names = seen.setdefault(instruction.name, set())
            names |= {n for n in instruction.attributes() if f"{n} = " in printed}
    untested = {
        f"{name}.{attribute}"
        for name, cls in REGISTRY.items()
        for attribute in cls.__dataclass_fields__
        if attribute in _attributes(name) and attribute not in seen.get(name, set())
    }
    assert not untested


def _attributes(name: str) -> set[str]:
    return set(attribute_hints(REGISTRY[name]))


@pytest.mark.parametrize("kernel", [vector_add, matmul], ids=lambda kernel: kernel.name)
def test_traced_programs(kernel: Kernel) -> None:
    function = kernel.trace()
    text = function.text()
    again = parse(text)
    assert again.text() == text
    assert (again.name, again.num_warps) == (function.name, function.num_warps)
    assert [type(i) for i in instructions(again.body)] == [
        type(i) for i in instructions(function.body)
    ]


LOOSE = """
// a comment
layout #x = local(1, 2) // another
layout #y = spatial(8, 4) * #x
layout #z = (#y) / #x * #x

func @f(
  %p: *f32,   // the pointer
  %n: i32,
) warps=0x4, grid=%n {

  %g = global_view %p : global<f32, [%n + 0,
                                     (64)], strides = [64, 1]>
  %t = load %g[
    0, 0 ] {
    cache = "stream",
    dims = [0, 1]
  } : reg<f32, [8, 8], #y, contiguous>; 
  store %g[(0), - - 0], %t
  if true { return }
}
"""


def test_free_form_becomes_canonical() -> None:
    text = LOOSE.replace("; ", "").replace("%n: i32,\n", "%n: i32\n")
    canonical = (
        "layout #y = spatial(8, 4) * local(1, 2)\n"
        "\n"
        "func @f(%p: *f32, %n: i32) warps = 4, grid = [%n] {\n"
        "  %g = global_view %p : global<f32, [%n, 64]>\n"
        "  %t = load %g[0, 0] {dims = [0, 1], cache = stream} : reg<f32, [8, 8], #y>\n"
        "  store %g[0, 0], %t\n"
        "  if true {\n"
        "    return\n"
        "  }\n"
        "}\n"
    )
    assert parse(text).text() == canonical
    assert parse(text.replace("\n", "\r\n")).text() == canonical
    assert parse(canonical).text() == canonical


def test_names_that_collide_are_numbered_and_stay() -> None:
    pointer = PointerType(dtype("f32"))
    view = GlobalType(dtype("f32"), (Const(4),), (Const(1),))
    params = (Value("x", pointer), Value("x", pointer), Value("1 2", pointer), Value("", pointer))
    body = tuple(
        REGISTRY["global_view"](param, result=Value("x", view))  # type: ignore[call-arg]
        for param in params
    )
    text = Function("f", params, 1, (Const(1),), body).text()
    assert "(%x: *f32, %x_1: *f32, %v1_2: *f32, %v: *f32)" in text
    assert "  %x_3 = global_view %x_1 : global<f32, [4]>" in text
    assert parse(text).text() == text


def test_layouts_without_names_are_numbered_by_first_use() -> None:
    tile = RegType(dtype("f32"), (8, 8), spatial(8, 4) * local(1, 2))
    other = RegType(dtype("f32"), (8, 8), spatial(8, 4) * local(1, 2))
    third = RegType(dtype("f32"), (8, 4), spatial(8, 4))
    body = tuple(
        REGISTRY["alloc_registers"](result=Value(name, type_))
        for name, type_ in (("a", third), ("b", tile), ("c", other))
    )
    names = (("l0", spatial(2, 2)),)
    text = Function("f", (), 1, (Const(1),), body, layout_names=names).text()
    assert text.startswith(
        "layout #l1 = spatial(8, 4)\nlayout #l2 = spatial(8, 4) * local(1, 2)\n\nfunc"
    )
    assert parse(text).text() == text


def test_types_in_messages_have_their_layout_in_full() -> None:
    tile = RegType(dtype("u4"), (8, 4), spatial(8, 4))
    assert print_type(tile) == "reg<u4, [8, 4], spatial(8, 4)>"
    assert print_type(SharedType(dtype("u3"), (64,))) == "shared<u3, [64]>"


def test_several_functions_share_definitions() -> None:
    text = (
        "codebook levels4 = [-1.5, 0.0, 0.25, 1.0]\n"
        "layout #a = spatial(32)\n"
        "\n"
        "func @f() warps = 1 {\n"
        "  %x = alloc_registers : reg<levels4, [32], #a>\n"
        "}\n"
        "\n"
        "func @g() warps = 1 {\n"
        "  %x = alloc_registers : reg<levels4, [32], #a>\n"
        "  %y = cast %x {dtype = f32}\n"
        "}\n"
    )
    module = parse_module(text)
    assert module.text() == text
    assert module["g"].name == "g"
    assert parse(module["f"].text()).text() == module["f"].text()
    with pytest.raises(KeyError):
        module["h"]


def test_text_is_the_same_in_every_process() -> None:
    script = (
        "from tileloom.programs.matmul.program import matmul\n"
        "print(matmul.trace().text(), end='')\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONPATH": ".src", "PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {matmul.trace().text()}
