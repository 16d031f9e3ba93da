"""Copies by the copy engine, written wrongly."""

from __future__ import annotations

import pytest

from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError

HEAD = """func @f(%p: *f32, %h: *f16, %n: i32) warps = 1 {
  %g = global_view %p : global<f32, [4, 64]>
  %t = global_view %p : global<f32, [64, 4], strides = [1, 64]>
  %o = global_view %h : global<f16, [64]>
  %s = alloc_shared : shared<f32, [2, 64]>
  %w = alloc_shared : shared<f32, [8, 64], row_major(8, 64) ^ swizzle(3, 4, 3)>
  %c = alloc_shared : shared<f32, [2, 64], column_major(2, 64)>
  %b = alloc_mbarrier : mbarrier<[4]>
"""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "copy_bulk %g[0, 0], %s[0, 0], %b[0] {count = 32}",
            "`copy_bulk`: copies from a global view to a shared tile",
        ),
        (
            "copy_bulk %s[0, 0], %o[0], %b[0] {count = 32}",
            "`copy_bulk`: `shared<f32, [2, 64]>` can't receive `global<f16, [64]>`",
        ),
        (
            "copy_bulk %s[0, 0], %g[0], %b[0] {count = 32}",
            "`copy_bulk`: 1 indices for a tile of rank 2",
        ),
        (
            "copy_bulk %s[0, 0], %g[0, 0], %b[0] {count = 65}",
            "`copy_bulk`: `count` is 65, the last extent 64",
        ),
        (
            "copy_bulk %s[0, 0], %g[0, 0], %b[0] {count = 6}",
            "`copy_bulk`: 6 elements of `f32` are no multiple of 16 bytes",
        ),
        (
            "copy_bulk %w[0, 0], %g[0, 0], %b[0] {count = 32}",
            "`copy_bulk`: elements along the last dimension must be neighbours in shared memory",
        ),
        (
            "copy_bulk %c[0, 0], %g[0, 0], %b[0] {count = 32}",
            "`copy_bulk`: elements along the last dimension must be neighbours in shared memory",
        ),
        (
            "copy_bulk %s[0, 0], %t[0, 0], %b[0] {count = 4}",
            "`copy_bulk`: elements along the last dimension must be neighbours in global memory",
        ),
        (
            "copy_bulk %s[0, 0], %g[0, 0], %s[0, 0] {count = 32}",
            "`copy_bulk`: `%s` must be an array of barriers",
        ),
        (
            "copy_bulk %s[0, 0], %g[0, 0], %b[0], %g {count = 32}",
            "`copy_bulk`: the mask of ranks must be a scalar",
        ),
        (
            "copy_bulk %s[0, 0], %g[0, 0], %b[0] {count = 32, cache = never}",
            "`copy_bulk`: unknown cache hint `never`",
        ),
        (
            "store_bulk %s[0, 0], %g[0, 0] {count = 32}",
            "`store_bulk`: copies from a shared tile to a global view",
        ),
        (
            "store_bulk %g[0, 0], %s[0, 0] {count = 0}",
            "`store_bulk`: `count` is 0, the last extent 64",
        ),
        (
            "prefetch %s[0, 0] {count = 32}",
            "`prefetch`: only global memory goes through the L2",
        ),
        ("prefetch %g[0, 0] {count = 0}", "`prefetch`: `count` is 0"),
        (
            "prefetch %t[0, 0] {count = 4}",
            "`prefetch`: elements along the last dimension must be neighbours in global memory",
        ),
        (
            "prefetch %g[0, 0] {count = 6}",
            "`prefetch`: 6 elements of `f32` are no multiple of 16 bytes",
        ),
        ("bulk_wait {pending = -1}", "`bulk_wait`: `pending` is -1, less than 0"),
        ("bulk_commit %n", "`bulk_commit` takes no operands, not 1"),
    ],
)
def test_wrong_operands(line: str, message: str) -> None:
    with pytest.raises(VMError) as caught:
        parse(f"{HEAD}  {line}\n}}")
    assert caught.value.message == message
    assert caught.value.location is not None and caught.value.location.line == 9
