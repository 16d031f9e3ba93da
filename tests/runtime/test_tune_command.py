"""`tileloom tune`: its mistakes, and that it measures only where there is a GPU."""

from __future__ import annotations

import pytest

from tileloom.runtime.cli import main
from tileloom.runtime.cuda import context


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vector_add"], "usage error: `vector_add` has no schedules to choose from\n"),
        (["quantised_matmul"], "did you mean `quantized_matmul`?"),
        (["quantized_matmul", "--wieghts", "u4"], "unrecognized arguments: --wieghts u4"),
        (["quantized_matmul"], "device error: there is no GPU to measure on\n"),
    ],
)
def test_mistakes(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(context, "available", lambda: False)
    assert main(["tune", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--help"]) == 0
    assert "usage: tileloom tune PROGRAM" in capsys.readouterr().out
