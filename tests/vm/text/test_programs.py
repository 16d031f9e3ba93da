"""The text of the quantized matmul, the largest program there is, reads back as itself."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.programs.quantized_matmul import pack, quantize
from tileloom.programs.quantized_matmul.plan import plan, traced
from tileloom.vm import parse
from tileloom.vm.verifier import verify


@pytest.mark.parametrize(
    ("weight", "zero_point", "group", "m"),
    [
        ("u4", None, 32, 1),
        ("u3", "int", 48, 16),
        ("i5", None, "channel", 64),
        ("e3m2", None, 32, 16),
        ("nf4", None, 128, 3),
        ("b2", None, "tensor", 1),
    ],
)
def test_quantized_matmul(weight: str, zero_point: str | None, group: int | str, m: int) -> None:
    w = np.random.default_rng(0).standard_normal((96, 64))
    packed = pack(quantize(w, weight, group=group, zero_point=zero_point), activation="f16")
    function = traced(plan(packed, m, "f16", "f16").config)
    text = function.text()
    again = parse(text)
    verify(again)
    assert again.text() == text
