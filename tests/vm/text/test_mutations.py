"""Whatever is done to a program's text, the answer is a program or a `VMError` with a place."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError

TEXTS = [path.read_text() for path in sorted((Path(__file__).parent / "corpus").glob("*.vm"))]
TOKEN = re.compile(r"\w+|\s+|[^\w\s]")
NASTY = [
    *"(){}[]<>=+-*/%&|^,:;#@!'\"\\\n\t\0é漢",
    *("0", "-1", "999999999999999999999", "1e999", "0x", "nan", "inf", "1.5", "2147483648"),
    *("//", "==", "<<", "%x", "#a", "f16", "u3", "bool", "e8m0", "nf4", "tf32", "paired"),
    *("if", "else", "for", "not", "func", "layout", "return", "break", "while", "true", "none"),
    *("local(0)", "spatial(64, 64)", "replicate(2)", "row_major(8, 8)", "swizzle(9, 9, 9)"),
    *("reg<f16, [8]>", "global<u3, [%n]>", "shared<f32, [0]>", "*f16", "[]", "{}", "block.x"),
]


def mutated(text: str, seed: int) -> str:
    """A text with one to four of its tokens deleted, doubled, swapped or replaced."""
    draw = random.Random(seed)
    tokens = TOKEN.findall(text)
    others = TOKEN.findall(draw.choice(TEXTS))
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(tokens))
        match draw.randrange(6):
            case 0:
                del tokens[at]
            case 1:
                tokens.insert(at, draw.choice(NASTY))
            case 2:
                tokens[at] = draw.choice(NASTY)
            case 3:
                tokens[at] = draw.choice(others)
            case 4:
                other = draw.randrange(len(tokens))
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case 5:
                tokens[at:at] = tokens[at : at + draw.randint(1, 12)]
        if not tokens:
            break
    return "".join(tokens)


def outcome(text: str) -> str:
    """The program's text, or the error's."""
    try:
        printed = parse(text).text()
    except VMError as error:
        assert error.location is not None, error.message
        assert "\n" not in error.message
        return str(error)
    assert parse(printed).text() == printed
    return printed


@pytest.mark.parametrize("text", TEXTS)
def test_mutated_tokens(text: str) -> None:
    for seed in range(150):
        broken = mutated(text, seed)
        try:
            outcome(broken)
        except Exception as error:
            error.add_note(f"seed {seed}, text:\n{broken}")
            raise


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=80), st.sampled_from(TEXTS), st.integers(0, 2000))
def test_inserted_text(inserted: str, text: str, at: int) -> None:
    outcome(text[:at] + inserted + text[at:])


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    outcome(text)
