"""Programs whose tensors have more than 2**31 elements, and what each must give.

Numpy's zeros take no memory until they are written, so a tensor of gigabytes costs what is touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

MATMUL = """func @f(%x: *f16, %w: *f16, %y: *f32, %m: i32, %k: i32, %n: i32, %row: i32) warps = 1 {
  %gx = global_view %x : global<f16, [%m, %k]>
  %gw = global_view %w : global<f16, [%k, %n]>
  %gy = global_view %y : global<f32, [16, %n]>
  %acc = full : reg<f32, [16, 8]>
  for %i in 0 to 2 {
    %a = load %gx[%row, %k - 32 + %i * 16] : reg<f16, [16, 16]>
    %b = load %gw[%k - 32 + %i * 16, 0] : reg<f16, [16, 8]>
    mma %acc, %a, %b
  }
  store %gy[0, 0], %acc
}"""

CUBE = """func @f(%x: *u8, %y: *u8, %a: i32, %b: i32, %c: i32) warps = 1 {
  %gx = global_view %x : global<u8, [%a, %b, %c]>
  %gy = global_view %y : global<u8, [32]>
  %t = load %gx[%a - 1, %b - 1, %c - 32] : reg<u8, [32]>
  store %gy[0], %t
  store %gx[%a - 1, %b - 1, 0], %t
}"""

# The index itself is a product that no i32 holds.
FLAT = """func @f(%x: *u8, %y: *u8, %n: i64) warps = 1, grid = [2] {
  %gx = global_view %x : global<u8, [%n]>
  %gy = global_view %y : global<u8, [64]>
  %t = load %gx[(block.x + 2147483600) * 2] : reg<u8, [32]>
  store %gy[block.x * 32], %t
  store %gx[block.x * 2147483600], %t
}"""

# Elements smaller than a byte, whose bits' number passes 2**32 before their own does 2**31.
NIBBLES = """func @f(%x: *u4, %y: *u4, %rows: i32, %k: i32) warps = 1 {
  %gx = global_view %x : global<u4, [%rows, %k]>
  %gy = global_view %y : global<u4, [64]>
  %t = load %gx[%rows - 1, %k - 64] : reg<u4, [64], local(1) * spatial(32) * local(2)>
  store %gy[0], %t
}"""

COPY = """func @f(%x: *f16, %y: *f16, %rows: i32, %k: i32) warps = 1 {
  %gx = global_view %x {alignment = 16} : global<f16, [%rows, %k]>
  %gy = global_view %y : global<f16, [8, 64]>
  assume %k % 64 == 0
  %s = alloc_shared : shared<f16, [8, 64]>
  copy_async %s[0, 0], %gx[%rows - 8, %k - 64] {shape = [8, 64]}
  copy_async_commit
  copy_async_wait
  barrier
  %t = load %s[0, 0] : reg<f16, [8, 64]>
  store %gy[0, 0], %t
}"""

GATHER = """func @f(%x: *u8, %y: *u8, %rows: i32, %k: i32) warps = 1 {
  %gx = global_view %x : global<u8, [%rows, %k]>
  %gy = global_view %y : global<u8, [32, 1]>
  %i = arange : reg<i32, [32]>
  %last = full {fill = 32800} : reg<i32, [32]>
  %at = sub %last, %i
  %two = reshape %at {shape = [32, 1]}
  %t = gather %gx[0, %k - 1], %two {dim = 0} : reg<u8, [32, 1]>
  store %gy[0, 0], %t
}"""


@dataclass(frozen=True)
class Far:
    """A program, its arguments (arrays first), and a check of them afterwards."""

    text: str
    make: Callable[[], list[Any]]
    check: Callable[..., None]


def _matmul() -> list[Any]:
    m, k, n = 33000, 65536, 8
    x, w = np.zeros((m, k), np.float16), np.zeros((k, n), np.float16)
    draw = np.random.default_rng(0)
    x[-16:, -32:] = draw.integers(-8, 8, (16, 32))
    w[-32:] = draw.integers(-8, 8, (32, n))
    return [x, w, np.zeros((16, n), np.float32), m, k, n, m - 16]


def _check_matmul(x: Any, w: Any, y: Any, *_: int) -> None:
    wide = np.float32
    np.testing.assert_array_equal(y, x[-16:, -32:].astype(wide) @ w[-32:].astype(wide))
    assert y.any()


def _cube() -> list[Any]:
    x = np.zeros((2, 70000, 65536), np.uint8)
    x[-1, -1, -32:] = np.arange(1, 33)
    return [x, np.zeros(32, np.uint8), *x.shape]


def _check_cube(x: Any, y: Any, *_: int) -> None:
    np.testing.assert_array_equal(y, np.arange(1, 33))
    np.testing.assert_array_equal(x[-1, -1, :32], y)
    assert not x[0, 0, :64].any()


def _flat() -> list[Any]:
    x = np.zeros(2 * 2147483600 + 64, np.uint8)
    x[-64:] = np.arange(1, 65)
    return [x, np.zeros(64, np.uint8), x.size]


def _check_flat(x: Any, y: Any, *_: int) -> None:
    np.testing.assert_array_equal(y, [*range(1, 33), *range(3, 35)])
    np.testing.assert_array_equal(x[:32], y[:32])
    np.testing.assert_array_equal(x[2147483600:][:32], y[32:])


def _nibbles() -> list[Any]:
    x = np.zeros(40000 * 65536 // 2, np.uint8)
    x[-32:] = np.arange(1, 33)
    return [x, np.zeros(32, np.uint8), 40000, 65536]


def _check_last(x: Any, y: Any, *_: int) -> None:
    np.testing.assert_array_equal(y, x[-32:])
    assert y.any()


def _copy() -> list[Any]:
    x = np.zeros((33000, 65536), np.float16)
    x[-8:, -64:] = np.arange(512).reshape(8, 64)
    return [x, np.zeros((8, 64), np.float16), *x.shape]


def _check_copy(x: Any, y: Any, *_: int) -> None:
    np.testing.assert_array_equal(y, np.arange(512).reshape(8, 64))


def _gather() -> list[Any]:
    x = np.zeros((33000, 65536), np.uint8)
    x[32769:32801, -1] = np.arange(1, 33)
    return [x, np.zeros(32, np.uint8), *x.shape]


def _check_gather(x: Any, y: Any, *_: int) -> None:
    np.testing.assert_array_equal(y, np.arange(32, 0, -1))


PROGRAMS = {
    "matmul": Far(MATMUL, _matmul, _check_matmul),
    "cube": Far(CUBE, _cube, _check_cube),
    "flat": Far(FLAT, _flat, _check_flat),
    "nibbles": Far(NIBBLES, _nibbles, _check_last),
    "copy": Far(COPY, _copy, _check_copy),
    "gather": Far(GATHER, _gather, _check_gather),
}
