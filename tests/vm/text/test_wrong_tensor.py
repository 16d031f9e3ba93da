"""Tiles copied by the copy engine, written wrongly."""

from __future__ import annotations

import pytest

from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError

HEAD = """func @f(%p: *f16, %q: *u4, %n: i32) warps = 1 {
  %g = global_view %p : global<f16, [4, 64]>
  %d = global_view %p : global<f16, [1, 1, 1, 1, 4, 64]>
  %u = global_view %q : global<u4, [4, 64]>
  %s = alloc_shared : shared<f16, [2, 4, 64]>
  %w = alloc_shared : shared<u4, [4, 64]>
  %b = alloc_mbarrier : mbarrier<[4]>
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "copy_tensor %g[0, 0], %s[0, 0, 0], %b[0] {shape = [4, 64]}",
            "`copy_tensor`: copies from a global view to a shared tile",
        ),
        (
            "copy_tensor %s[0, 0, 0], %u[0, 0], %b[0] {shape = [4, 64]}",
            "`copy_tensor`: the shared tile is `shared<f16, [2, 4, 64]>` but the view "
            "`global<u4, [4, 64]>`",
        ),
        (
            "copy_tensor %w[0, 0], %u[0, 0], %b[0] {shape = [4, 64]}",
            "`copy_tensor`: the engine has no elements of `u4`",
        ),
        (
            "copy_tensor %s[0, 0, 0], %d[0, 0, 0, 0, 0, 0], %b[0] {shape = [4, 64]}",
            "`copy_tensor`: a view of rank 6, the engine knows 5 dimensions",
        ),
        (
            "copy_tensor %s[0, 0, 0], %g[0, 0], %b[0] {shape = [5, 64]}",
            "`copy_tensor`: a tile of shape [5, 64] doesn't fit the shared tile's [2, 4, 64]",
        ),
        (
            "copy_tensor %s[0, 0, 0], %g[0, 0], %b[0]",
            "`copy_tensor`: a tile of shape [] doesn't fit the shared tile's [2, 4, 64]",
        ),
        (
            "copy_tensor %s[0, 0, 0], %g[0, 0], %b[0] {shape = [4, 64], dims = [0, 0]}",
            "`copy_tensor`: a tile of rank 2 can't lie along dimensions [0, 0] of memory of rank 2",
        ),
        (
            "copy_tensor %s[0, 0, 0], %g[0, 0], %n {shape = [4, 64]}",
            "`copy_tensor`: barrier needs an index list",
        ),
        (
            "store_tensor %s[0, 0, 0], %g[0, 0] {shape = [4, 64]}",
            "`store_tensor`: copies from a shared tile to a global view",
        ),
        (
            "store_tensor %g[0, 0], %s[0, 0, 0] {shape = [4, 64], cache = often}",
            "`store_tensor`: unknown cache hint `often`",
        ),
    ],
)
def test_wrong_operands(line: str, message: str) -> None:
    with pytest.raises(VMError) as caught:
        parse(f"{HEAD}  {line}\n}}")
    assert caught.value.message == message
    assert caught.value.location is not None and caught.value.location.line == 8
