"""Global and shared memory: boxes, dims, strides, sub-byte elements, bounds."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tileloom.vm import dtype, parse
from tileloom.vm.dtypes import pack_bits, unpack_bits
from tileloom.vm.interpreter import run

MOVE = """func @f(%p: *{t}, %q: *{t}, %i: i32, %j: i32) warps = 1 {{
  %g = global_view %p : global<{t}, [5, 6]>
  %x = load %g[%i, %j] : reg<{t}, [4, 4]>
  %h = global_view %q : global<{t}, [9, 9]>
  store %h[%i + 4, %j + 4], %x
}}"""


def moved(source: np.ndarray, target: np.ndarray, i: int, j: int) -> np.ndarray:
    """MOVE, element by element."""
    expected = target.copy()
    for a in range(4):
        for b in range(4):
            inside = 0 <= i + a < 5 and 0 <= j + b < 6
            if 0 <= i + a + 4 < 9 and 0 <= j + b + 4 < 9:
                expected[i + a + 4, j + b + 4] = source[i + a, j + b] if inside else 0
    return expected


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["f32", "u8", "i16", "f64", "u1", "u3", "i5", "e3m2", "u12", "bf16", "bool"]),
    st.integers(-9, 9),
    st.integers(-9, 9),
)
def test_tiles_that_leave_memory_read_zeros_and_drop_stores(name: str, i: int, j: int) -> None:
    bits = dtype(name).bits
    rng = np.random.default_rng(0)
    codes = [
        rng.integers(0, 1 << min(bits, 60), shape).astype(np.uint64) for shape in ((5, 6), (9, 9))
    ]
    source, target = (pack_bits(each, bits) for each in codes)
    run(parse(MOVE.format(t=name)), [source, target, i, j])
    got = unpack_bits(target, bits, 81).reshape(9, 9)
    np.testing.assert_array_equal(got, moved(codes[0], codes[1], i, j))


def test_dims_strides_and_transposed_tiles(interpret: Any) -> None:
    x = np.arange(4 * 5 * 6, dtype=np.int32)
    out = np.zeros((3, 6, 4), np.int32)
    interpret(
        """func @f(%p: *i32, %q: *i32, %s: i32) warps = 1 {
  %g = global_view %p : global<i32, [4, 5, 6], strides = [%s, 6, 1]>
  %h = global_view %q : global<i32, [3, 6, 4]>
  %x = load %g[0, 2, 0] {dims = [2, 0]} : reg<i32, [6, 4]>
  store %h[1, 0, 0], %x
  store %h[2, 0, 0], %x {dims = [1, 2], in_bounds = true}
}""",
        [x, out, 30],
    )
    wanted = x.reshape(4, 5, 6)[:, 2, :].T
    np.testing.assert_array_equal(out, [np.zeros((6, 4)), wanted, wanted])


def test_a_dimension_without_tile_outside_gives_zeros(interpret: Any) -> None:
    x, out = np.ones((2, 4), np.float32), np.full(4, 7, np.float32)
    interpret(
        """func @f(%p: *f32, %q: *f32) warps = 1 {
  %g = global_view %p : global<f32, [2, 4]>
  %h = global_view %q : global<f32, [1, 4]>
  %x = load %g[2, 0] : reg<f32, [4]>
  store %h[0, 0], %x
  store %h[1, 0], %x
  %y = load %g[0, 0] : reg<f32, [4]>
  store %h[-1, 0], %y
}""",
        [x, out],
    )
    assert out.tolist() == [0, 0, 0, 0]


def test_a_view_may_read_the_bits_as_another_dtype(interpret: Any) -> None:
    x, out = np.array([1.0, -2.0], np.float32), np.zeros(2, np.uint32)
    interpret(
        """func @f(%p: *f32, %q: *u32) warps = 1 {
  %g = global_view %p : global<u32, [2]>
  %h = global_view %q : global<u32, [2]>
  %x = load %g[0] : reg<u32, [2]>
  store %h[0], %x
}""",
        [x, out],
    )
    np.testing.assert_array_equal(out, x.view(np.uint32))


NEGATIVE = """func @f(%p: *i32, %q: *i32) warps = 1 {
  %g = global_view %p : global<i32, [4], strides = [-1]>
  %x = load %g[0] : reg<i32, [4]>
  %h = global_view %q : global<i32, [4]>
  store %h[0], %x
}"""


def test_an_address_outside_the_array_is_an_error(message: Any) -> None:
    x, out = np.arange(4, dtype=np.int32), np.zeros(4, np.int32)
    assert message(NEGATIVE, [x, out]) == (
        "execution error: `load`: element offset -3 of `%g` is outside its memory: `%p` holds 4 "
        "elements of `i32`\n"
        " --> <text>:3:3\n"
        "  |\n"
        "3 |   %x = load %g[0] : reg<i32, [4]>\n"
        "  |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        "note: `%g` has shape [4] and strides [-1]\n"
        "hint: pass a larger array, or give the view the extents the array has"
    )


@pytest.mark.parametrize(("name", "held"), [("f32", 3), ("u3", 40), ("u8", 15)])
def test_a_view_larger_than_its_array(message: Any, interpret: Any, name: str, held: int) -> None:
    text = f"""func @f(%p: *{name}, %n: i32) warps = 1 {{
  %g = global_view %p : global<{name}, [%n]>
  %x = load %g[0] : reg<{name}, [64]>
  store %g[0], %x
}}"""
    data = np.zeros(15, np.uint8)
    interpret(text, [data, held])
    assert f"element offset {held} of `%g`" in message(text, [data, held + 1])
    # Addresses are checked even without the other checks.
    assert f"element offset {held} of `%g`" in message(text, [data, held + 1], checks=False)


def test_a_promise_of_bounds_is_checked(message: Any, interpret: Any) -> None:
    text = """func @f(%p: *f32, %n: i32) warps = 1 {
  %g = global_view %p : global<f32, [%n]>
  %x = load %g[0] {in_bounds = true} : reg<f32, [32]>
  store %g[0], %x {in_bounds = true}
}"""
    data = np.zeros(32, np.float32)
    interpret(text, [data, 32])
    assert "`load`: the tile leaves `%g` of shape [31]" in message(text, [data, 31])
    interpret(text, [data, 31], checks=False)


def test_a_read_only_array_can_be_read_but_not_written(interpret: Any, message: Any) -> None:
    data = np.ones(32, np.float32)
    data.flags.writeable = False
    out = np.zeros(32, np.float32)
    text = """func @f(%p: *f32, %q: *f32) warps = 1 {
  %g = global_view %p : global<f32, [32]>
  %h = global_view %q : global<f32, [32]>
  %x = load %g[0] : reg<f32, [32]>
  store %h[0], %x
}"""
    interpret(text, [data, out])
    assert (out == 1).all()
    assert "a store to `%q`, a read-only array" in message(text, [out, data])


SHARED = """layout #s = {layout}
func @f(%p: *{t}, %q: *{t}) warps = 1 {{
  %s = alloc_shared : shared<{t}, [8, 16], #s>
  %g = global_view %p : global<{t}, [8, 16]>
  %x = load %g[0, 0] : reg<{t}, [8, 16]>
  store %s[0, 0], %x
  barrier
  %y = load %s[2, -4] {{dims = [1, 0]}} : reg<{t}, [16, 8]>
  %h = global_view %q : global<{t}, [16, 8]>
  store %h[0, 0], %y
  free_shared %s
}}"""


@pytest.mark.parametrize("layout", ["row_major(8, 16)", "strided([8, 16], [1, 9])"])
@pytest.mark.parametrize("name", ["f16", "u8", "u4", "i3"])
def test_shared_tiles(interpret: Any, name: str, layout: str) -> None:
    bits = dtype(name).bits
    codes = np.random.default_rng(1).integers(0, 1 << min(bits, 8), (8, 16)).astype(np.uint64)
    data, out = pack_bits(codes, bits), pack_bits(np.zeros((16, 8), np.uint8), bits)
    interpret(SHARED.format(t=name, layout=layout), [data, out])
    wanted = np.zeros((16, 8), np.uint64)
    wanted[4:, :6] = codes[2:, :12].T  # row y of the tile is column y - 4 of the shared tile
    np.testing.assert_array_equal(unpack_bits(out, bits, 128).reshape(16, 8), wanted)


PIPELINE = """func @f(%p: *f32, %q: *f32) warps = 1 {
  %g = global_view %p : global<f32, [6, 8]>
  %h = global_view %q : global<f32, [8, 8]>
  %s = alloc_shared : shared<f32, [2, 8]>
  copy_async %s[0, 0], %g[0, 0] {shape = [8]}
  copy_async_commit
  for %i in 0 to 8 {
    if %i < 7 {
      copy_async %s[(%i + 1) % 2, 0], %g[%i + 1, 0] {shape = [8]}
    }
    copy_async_commit
    copy_async_wait {pending = 1}
    barrier
    %x = load %s[%i % 2, 0] : reg<f32, [8]>
    store %h[%i, 0], %x
    barrier
  }
}"""


def test_asynchronous_copies_in_two_stages(interpret: Any) -> None:
    x = np.random.default_rng(2).standard_normal((6, 8)).astype(np.float32)
    out = np.full((8, 8), np.nan, np.float32)
    interpret(PIPELINE, [x, out])
    np.testing.assert_array_equal(out, np.vstack([x, np.zeros((2, 8), np.float32)]))


def test_copies_land_as_late_as_allowed(interpret: Any, message: Any) -> None:
    late = PIPELINE.replace("{pending = 1}", "{pending = 2}")
    x, out = np.ones((6, 8), np.float32), np.full((8, 8), np.nan, np.float32)
    text = message(late, [x, out])
    assert "`%s` is read while an asynchronous copy into it is in flight" in text
    assert "hint: `copy_async_commit`, then `copy_async_wait`, then `barrier`" in text
    interpret(late, [x, out], checks=False)
    assert out[0].tolist() == [0] * 8  # the data is really not there


def test_uncommitted_copies_are_not_waited_for(message: Any) -> None:
    text = PIPELINE.replace("    copy_async_commit\n", "").replace("{pending = 1}", "{pending = 0}")
    arrays = [np.ones((6, 8), np.float32), np.zeros((8, 8), np.float32)]
    assert "`%s` is read while an asynchronous copy" in message(text, arrays)


def test_a_copy_takes_what_memory_held_when_it_started(interpret: Any) -> None:
    x, out = np.arange(8, dtype=np.float32), np.zeros(8, np.float32)
    interpret(
        """func @f(%p: *f32, %q: *f32) warps = 1 {
  %g = global_view %p : global<f32, [8]>
  %h = global_view %q : global<f32, [8]>
  %s = alloc_shared : shared<f32, [8]>
  copy_async %s[0], %g[0] {shape = [8]}
  copy_async_commit
  copy_async_wait
  barrier
  %x = load %s[0] : reg<f32, [8]>
  store %h[0], %x
}""",
        [x, out],
    )
    np.testing.assert_array_equal(out, x)


def test_a_copy_must_fit_its_target(message: Any) -> None:
    text = """func @f(%p: *f32) warps = 1 {
  %g = global_view %p : global<f32, [8]>
  %s = alloc_shared : shared<f32, [8]>
  copy_async %s[1], %g[0] {shape = [8]}
}"""
    data = np.zeros(8, np.float32)
    assert "the copy of shape [8] leaves `%s` of shape [8]" in message(text, [data])


def test_a_negative_extent_is_an_error(message: Any, interpret: Any) -> None:
    text = """func @f(%p: *f32, %n: i32) warps = 1 {
  %g = global_view %p : global<f32, [%n]>
  %x = load %g[0] : reg<f32, [8]>
}"""
    interpret(text, [None, 0])
    assert "`%g` has a negative extent: shape [-1]" in message(text, [None, -1])
