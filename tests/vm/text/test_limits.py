"""Texts beyond the limits are located errors: no recursion error, no long wait."""

from __future__ import annotations

import pytest

from tileloom.vm import parse
from tileloom.vm.diagnostics import LimitError


def program(*lines: str) -> str:
    return "func @f(%n: i32) warps = 1 {\n" + "".join(f"{line}\n" for line in lines) + "}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (program("barrier") + "\n" * (1 << 20), "the text has 1048615 characters"),
        (program(f"print %{'x' * 300}"), "a name or number of 301 characters"),
        (program(f"print {'9' * 300}"), "a name or number of 300 characters"),
        (program("print " + "(" * 100 + "1" + ")" * 100), "brackets nested more than 64 deep"),
        (program("if true {\n" * 100 + "}\n" * 100), "brackets nested more than 64 deep"),
        (program("print %n" + " + %n" * 10_000), "the text is nested more than 256 deep"),
        (program("print " + "- " * 10_000 + "%n"), "the text is nested more than 256 deep"),
        (program("print " + "not " * 1000 + "true"), "the text is nested more than 256 deep"),
        (
            program("if true {\n}" + " else if true {\n}" * 200),
            "blocks nested more than 64 deep",
        ),
        (
            program("if true {\n}" + " else if true {\n}" * 5000),
            "the text is nested more than 256 deep",
        ),
        (program("%t = full : reg<f32, [" + "1, " * 30 + "]>"), "`%t` has rank 30"),
    ],
)
def test_limits(text: str, message: str) -> None:
    with pytest.raises(LimitError) as caught:
        parse(text)
    assert caught.value.message.startswith(message)
    assert caught.value.location is not None and len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text",
    [
        program("print %n" + " + %n" * 200),
        program("print " + "(" * 60 + "%n" + ")" * 60),
        program("if true {\n" * 60 + "}\n" * 60),
        program("if true {\n}" + " else if true {\n}" * 60),
    ],
)
def test_within_the_limits(text: str) -> None:
    printed = parse(text).text()
    assert parse(printed).text() == printed
