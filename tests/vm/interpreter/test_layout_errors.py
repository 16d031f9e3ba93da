"""Layouts and packings that only the run finds wrong are told at the instruction's place."""

from typing import Any

import pytest

from tileloom.layouts import local, spatial
from tileloom.vm import PAIRED, dtype
from tileloom.vm.diagnostics import ExecutionError, Location
from tileloom.vm.expr import Const
from tileloom.vm.instructions.create import Full
from tileloom.vm.instructions.transform import View
from tileloom.vm.interpreter import run
from tileloom.vm.ir import Function, Value
from tileloom.vm.types import RegType


def test_a_packing_that_does_not_fit() -> None:
    """Built without the parser and its verifier, as a pass could."""
    layout = spatial(4) * local(8)  # 8 codes of 3 bits are no whole paired unit of 32
    source = Value("x", RegType(dtype("u3"), (32,), layout))
    target = Value("y", RegType(dtype("u3"), (32,), layout, PAIRED))
    place = Location("f.vm", 3, 1, 5, "view")
    body: Any = (Full(0, result=source), View(source, result=target, location=place))
    with pytest.raises(ExecutionError) as caught:
        run(Function("f", (), 1, (Const(1),), body), [])
    assert "`view`: the paired packing of 3-bit elements comes in units of 32" in str(caught.value)
    assert caught.value.location is place
