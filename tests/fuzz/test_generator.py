"""The generator: the same programs from the same seeds, and everything occurs in some."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tileloom.runtime.fuzz.case import Argument, Case, difference, read_case
from tileloom.runtime.fuzz.check import check, compiled
from tileloom.runtime.fuzz.generate import Drawn, generate
from tileloom.runtime.fuzz.prune import without
from tileloom.runtime.fuzz.shapes import draw_layout, draw_shape
from tileloom.vm.diagnostics import UsageError
from tileloom.vm.instruction import REGISTRY, Instruction
from tileloom.vm.instructions.registers import SetRegisters
from tileloom.vm.instructions.wgmma import Wgmma
from tileloom.vm.ir import Break, For, Group, If, Return, While, walk
from tileloom.vm.text import parse

NOT_DRAWN: set[str] = set()
PROGRAMS = 700


@pytest.fixture(scope="module")
def drawn() -> list[Drawn]:
    return [generate(seed) for seed in range(PROGRAMS)]


def test_seeds_decide_programs() -> None:
    for seed in (3, 4, 5):
        one, other = generate(seed).case, generate(seed).case
        assert one.text() == other.text()


def test_every_instruction_occurs(drawn: list[Drawn]) -> None:
    seen = Counter(
        s.name for d in drawn for s in walk(d.case.function.body) if isinstance(s, Instruction)
    )
    assert set(REGISTRY) - set(seen) <= NOT_DRAWN


def test_every_statement_and_dtype_occurs(drawn: list[Drawn]) -> None:
    kinds = {type(s) for d in drawn for s in walk(d.case.function.body)}
    assert {For, While, If, Break, Return, Group} <= kinds
    text = "".join(d.case.function.text() for d in drawn)
    names = ["f16", "bf16", "f32", "f64", "tf32", "bool", "nf4", "e4m3", "e5m2", "e2m1", "b4"]
    names += [f"u{bits}" for bits in (*range(1, 9), 16, 32, 64)]
    names += [f"i{bits}" for bits in (*range(2, 9), 16, 32, 64)]
    assert [n for n in names if f"<{n}, " not in text] == []
    for word in ("swizzle(", "paired", "unroll", "strides =", "replicate(", "dims =", "cache ="):
        assert word in text, word


def test_both_tiers_occur(drawn: list[Drawn]) -> None:
    free = [d.case for d in drawn if d.case.free]
    exact = [d.case for d in drawn if not d.case.free]
    assert len(free) > PROGRAMS / 8 and len(exact) > PROGRAMS / 2
    assert any(a.error for case in free for a in case.arguments)
    assert not any(a.error for case in exact for a in case.arguments)


@pytest.mark.parametrize("seed", [1832, 303564])
def test_no_registers_are_given_back_behind_products(seed: int) -> None:
    """Their sums live on; the assembler would serialise products for lack of registers."""
    body = generate(seed).case.function.body
    first = next(number for number, s in enumerate(body) if isinstance(s, Wgmma))
    assert any(isinstance(s, Group) for s in body[first:])
    assert not any(isinstance(s, SetRegisters) for s in walk(body[first:]))


def test_nobody_waits_for_a_copy_that_was_dropped() -> None:
    """Of this seed the compiler refuses what a copy of the engine depends on."""
    found = compiled(generate(50005576))
    assert found.refusals
    check(found)


def test_layouts_of_every_kind() -> None:
    source = random.Random(0)
    layouts = [draw_layout(source, draw_shape(source), 64) for _ in range(300)]
    assert any(layout.num_replicas > 1 for layout in layouts)
    assert any(layout.num_threads < 64 for layout in layouts)
    assert any(e not in (1, 2, 4, 8, 16, 32) for layout in layouts for e in layout.shape)
    assert any(layout.num_locals > 8 for layout in layouts)


def test_a_case_survives_its_file(tmp_path: Path) -> None:
    case = generate(11).case
    path = tmp_path / "case.vm"
    path.write_text(case.text())
    again = read_case(path)
    assert again.function.text() == case.function.text()
    assert (again.seed, again.free, again.target) == (case.seed, case.free, case.target)
    for a, b in zip(case.arguments, again.arguments, strict=True):
        assert np.array_equal(a.value, b.value)
        assert (a.output, a.error, a.signed) == (b.output, b.error, b.signed)


def test_a_program_without_a_case(tmp_path: Path) -> None:
    path = tmp_path / "plain.vm"
    path.write_text("func @f() warps = 1 {\n}\n")
    with pytest.raises(UsageError, match="holds no case"):
        read_case(path)


def test_pruning_takes_what_depends(drawn: list[Drawn]) -> None:
    for each in drawn[:40]:
        function = each.case.function
        count = len(list(walk(function.body)))
        for number in range(0, count, 3):
            smaller, kept = without(function, [number])
            assert number not in kept and len(list(walk(smaller.body))) == len(kept)
            parse(smaller.text())


def _case(element: str, value: np.ndarray, **facts: object) -> Case:
    function = parse(f"func @f(%y: *{element}) warps = 1 {{\n}}")
    argument = replace(Argument(value.view(np.uint8), output=True), **facts)  # type: ignore[arg-type]
    return Case(function, (argument,))


def test_differences() -> None:
    one = np.array([1.0, -0.0, np.nan, 4.0], np.float32)
    other = np.array([1.0, 0.0, -np.nan, 4.0], np.float32)
    pair = [one.view(np.uint8)], [other.view(np.uint8)]
    assert "differs in 1 of 4" in difference(_case("f32", one), *pair)
    assert difference(_case("f32", one, signed=False), *pair) == ""
    near = [(one + np.float32(2**-20)).view(np.uint8)]
    case = _case("f32", one, error=2.0**-19, signed=False)
    assert difference(case, pair[0], near) == ""
    far = [(one + np.float32(2**-10)).view(np.uint8)]
    assert "differs in 3 of 4" in difference(case, pair[0], far)
    written = replace(case, arguments=(replace(case.arguments[0], output=False),))
    assert "input" in difference(written, pair[0], far)
