"""Programs are written as text and run on the interpreter."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tileloom.vm import parse
from tileloom.vm.diagnostics import ExecutionError
from tileloom.vm.interpreter import run

Interpret = Callable[..., None]


@pytest.fixture
def interpret() -> Interpret:
    """`interpret(text, args, **options)` runs a program."""

    def call(text: str, args: Sequence[Any], **options: Any) -> None:
        run(parse(text), args, **options)

    return call


@pytest.fixture
def message(interpret: Interpret) -> Callable[..., str]:
    """`message(text, args, **options)` runs a program that must fail, and gives the whole text."""

    def call(text: str, args: Sequence[Any], **options: Any) -> str:
        with pytest.raises(ExecutionError) as caught:
            interpret(text, args, **options)
        return str(caught.value)

    return call
