"""Parser and printer know no instruction: one that doesn't exist elsewhere works by its fields."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dtypes import Dtype
from tileloom.vm.instruction import (
    REGISTRY,
    Indices,
    Instruction,
    Mutated,
    Operand,
    Scalar,
    instruction,
)
from tileloom.vm.types import Type


@pytest.fixture(autouse=True)
def _new_instruction() -> Iterator[None]:
    @instruction
    class Invented(Instruction, name="invented.op", result=None):
        target: Mutated
        source: Operand
        offsets: Indices
        count: Scalar
        dtype: Dtype
        words: tuple[str, ...] = ("a", "two words")
        nested: tuple[tuple[int, ...], ...] = ()
        level: int | None = None
        extra: Operand | None = None

        def result_type(self, annotation: Type | None) -> Type | None:
            return annotation

    yield
    del REGISTRY["invented.op"]


PROGRAM = """func @f(%p: *f32, %n: i32) warps = 1 {{
  %g = global_view %p : global<f32, [4]>
  %t = alloc_registers : reg<f32, [4]>
  {}
}}
"""


@pytest.mark.parametrize(
    "line",
    [
        "invented.op %t, %g[%n], %n + 1 {dtype = u3}",
        "%r = invented.op %t, %g[0], 4 {dtype = nf4} : reg<u3, [8]>",
        "invented.op %t, %g[0], 4, %p {dtype = e3m2, level = 0}",
        'invented.op %t, %g[0], 4 {dtype = f16, words = [b, "c d", and], nested = [[1, 2], []]}',
        "invented.op %t, %g[0], 4 {dtype = f16, words = []}",
    ],
)
def test_round_trip(line: str) -> None:
    text = PROGRAM.format(line)
    assert parse(text).text() == text


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        (
            "invented.op %t, %g[0] {dtype = u3}",
            "`invented.op` takes 4 operands, not 2",
            "written `invented.op %target, %source[...], %count, %extra "
            "{dtype = ..., words, nested, level}`",
        ),
        (
            "invented.op %t, %g[0], 4",
            "`invented.op` needs the attribute `dtype`",
            "written `invented.op %target, %source[...], %count, %extra "
            "{dtype = ..., words, nested, level}`",
        ),
        (
            "invented.op 4, %g[0], 4 {dtype = u3}",
            "`invented.op`: target is written to and must be a value",
            None,
        ),
        (
            "invented.op %t, %g[0], %t {dtype = u3}",
            "`invented.op`: count must be a scalar",
            None,
        ),
        (
            "invented.op %t, %g[0], 4 {dtype = u3, level = 1.5}",
            "`invented.op`: `level` is `1.5`, not an integer or `none`",
            None,
        ),
        (
            "invented.op %t, %g[0], 4 {dtype = u3, words = [1]}",
            "`invented.op`: `words` is `[1]`, not a list of words or strings",
            None,
        ),
        (
            "invented.op %t, %g[0], 4 {dtype = u3, level = %n}",
            "an attribute must be a constant",
            "run-time values are operands",
        ),
    ],
)
def test_mistakes(line: str, message: str, hint: str | None) -> None:
    with pytest.raises(VMError) as caught:
        parse(PROGRAM.format(line))
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_instructions_are_frozen_and_take_just_their_fields() -> None:
    invented: Any = REGISTRY["invented.op"]
    values = ("target", "source", (), 3, "f16")
    made = invented(*values, level=2)
    assert made.result is None and made.words == ("a", "two words")
    assert repr(made).endswith("nested=(), level=2, extra=None)")
    assert made != invented(*values, level=2), "compared by identity"
    with pytest.raises(FrozenInstanceError):
        made.level = 3
    with pytest.raises(FrozenInstanceError):
        del made.level
    for wrong in (values[:3], (*values, *range(9))):
        with pytest.raises(AssertionError):
            invented(*wrong)
    for named in ({"unknown": 1}, {"source": "again"}):
        with pytest.raises(AssertionError):
            invented(*values, **named)
