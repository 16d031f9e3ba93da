"""Which ordinary writes to shared memory the asynchronous proxy sees."""

from __future__ import annotations

import numpy as np
import pytest

from tileloom.vm import dtype
from tileloom.vm.diagnostics import ExecutionError
from tileloom.vm.interpreter.boxes import place
from tileloom.vm.interpreter.owners import MANY
from tileloom.vm.interpreter.shared import PendingCopy, SharedTile
from tileloom.vm.types import SharedType


def tile() -> SharedTile:
    return SharedTile("s", SharedType(dtype("f32"), (8, 8)), None)


def write(target: SharedTile, how: str) -> None:
    box = place((2, 0), (8, 8), (1, 8), None)
    data = np.ones((1, 8), np.float32)
    if how == "store":
        target.write(box, data, None, np.zeros((1, 8), np.int32), None, True)
    elif how == "copy":
        copy = PendingCopy(target, box, data, np.full((1, 8), MANY, np.int32), None)
        target.start_copy(copy, True)
        target.land(copy)
    else:
        target.note_atomic(box, None)


@pytest.mark.parametrize("how", ["store", "copy", "atomic"])
def test_writes_need_a_fence(how: str) -> None:
    target = tile()
    write(target, how)
    target.barrier()
    whole, other = place((0, 0), (8, 8), (8, 8), None), place((3, 0), (8, 8), (5, 8), None)
    with pytest.raises(ExecutionError) as caught:
        target.read_async(whole, None, True)
    assert caught.value.message == (
        "`%s` is read through the asynchronous proxy, but its element [2, 0] was written by other "
        "means with no proxy fence since"
    )
    target.read_async(other, None, True)
    target.read_async(whole, None, False)
    target.fence_proxy()
    target.read_async(whole, None, True)


def test_a_fence_is_no_barrier() -> None:
    target = tile()
    write(target, "store")
    target.fence_proxy()
    with pytest.raises(ExecutionError, match="race on `%s`"):
        target.read_async(place((0, 0), (8, 8), (8, 8), None), None, True)


def test_a_fence_comes_after_the_write() -> None:
    target = tile()
    target.fence_proxy()
    write(target, "store")
    target.barrier()
    with pytest.raises(ExecutionError, match="asynchronous proxy"):
        target.read_async(place((2, 3), (8, 8), (1, 1), None), None, True)
