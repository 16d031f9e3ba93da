"""Views, casts, decodes and the operations on shapes."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tileloom.layouts import RegisterLayout, column_local, column_spatial, local, replicate, spatial
from tileloom.vm import CONTIGUOUS, PAIRED, Packing, dtype, parse
from tileloom.vm.decode import decode_form
from tileloom.vm.dtypes import pack_bits, predefined, unpack_bits
from tileloom.vm.interpreter import run
from tileloom.vm.packing import pairs
from tileloom.vm.semantics.bit_views import view_codes, view_poison
from tileloom.vm.types import RegType

SMALL = [each.name for each in predefined() if each.bits <= 8]


def bit_string(type_: RegType, codes: np.ndarray, thread: int) -> int:
    """The bits of one thread's words, from the definition, as a Python integer."""
    layout = type_.placed
    positions = type_.packing.positions(type_.dtype.bits, layout.num_locals)
    return sum(
        (int(codes[layout(thread, element)]) >> bit & 1) << int(positions[element, bit])
        for element in range(layout.num_locals)
        for bit in range(type_.dtype.bits)
    )


def reg(name: str, layout: RegisterLayout, packing: Packing = CONTIGUOUS) -> RegType:
    return RegType(dtype(name), layout.shape, layout, packing)


WORDS = local(1, 3) * spatial(4, 1)  # three words in each of 4 threads
VIEWS = [
    (reg("u32", WORDS), reg("u3", column_spatial(2, 2) * local(4, 8), PAIRED)),
    (reg("u32", WORDS), reg("u3", column_spatial(2, 2) * local(4, 8))),
    (reg("u32", WORDS), reg("e2m3", spatial(4) * local(16))),
    (reg("u8", spatial(4, 1) * local(1, 12)), reg("u32", WORDS)),
    (reg("u16", spatial(4) * local(6)), reg("u8", spatial(4) * local(2, 6).reshape(12))),
    (reg("u64", spatial(4) * local(5)), reg("u5", spatial(4) * local(64))),
    (reg("u5", spatial(2, 2) * column_local(8, 4), PAIRED), reg("u32", local(5) * spatial(4))),
    (reg("f32", spatial(8) * local(2)), reg("f64", spatial(8))),
    (reg("bool", spatial(4) * local(8)), reg("u8", spatial(4))),
    (reg("u16", replicate(2) * spatial(4) * local(2)), reg("u32", replicate(2) * spatial(4))),
    (reg("u7", spatial(2) * local(32), PAIRED), reg("u7", spatial(2) * local(32))),
    (reg("u24", spatial(3) * local(4)), reg("u12", spatial(3) * local(8))),
]


@pytest.mark.parametrize(("source", "target"), VIEWS, ids=lambda t: f"{t.dtype}-{t.packing.name}")
def test_a_view_keeps_every_threads_bits(source: RegType, target: RegType) -> None:
    rng = np.random.default_rng(3)
    limit = 1 << min(source.dtype.bits, 63)
    codes = rng.integers(0, limit, source.shape, np.uint64).astype(source.dtype.code_dtype)
    seen = view_codes(source, target, codes)
    assert seen.dtype == target.dtype.code_dtype
    for thread in range(target.placed.num_threads):
        assert bit_string(source, codes, thread) == bit_string(target, seen, thread)
    np.testing.assert_array_equal(view_codes(target, source, seen), codes)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_drawn_views(data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, 8))
    packing = data.draw(st.sampled_from([CONTIGUOUS, PAIRED]))
    unit = 2 * pairs(bits)
    threads, units = data.draw(st.sampled_from([1, 2, 4, 6])), data.draw(st.integers(1, 3))
    column = data.draw(st.booleans())
    inner = column_local(2, unit // 2) if column else local(unit // 2, 2)
    codes_layout = spatial(threads, 1) * local(1, units) * inner
    words = unit * units * bits // 32
    word_layout = local(1, words) * spatial(threads, 1)
    source = reg("u32", word_layout)
    target = reg(f"u{bits}", codes_layout, packing)
    codes = np.random.default_rng(bits).integers(0, 2**32, source.shape, np.uint32)
    seen = view_codes(source, target, codes)
    for thread in range(threads):
        assert bit_string(source, codes, thread) == bit_string(target, seen, thread)


def test_poison_follows_the_bits() -> None:
    source = reg("u32", local(3) * spatial(1))
    target = reg("u3", spatial(1) * local(32))
    poison = np.array([False, True, False])
    seen = view_poison(source, target, poison)
    # Word 1 holds bits 32 .. 63: codes 10 (bits 30 .. 32) to 21 (bits 63 .. 65).
    assert np.flatnonzero(seen).tolist() == list(range(10, 22))
    assert view_poison(source, target, ~poison).sum() == 22


def test_view_as_an_instruction(interpret: Any) -> None:
    codes = np.random.default_rng(5).integers(0, 8, (4, 32)).astype(np.uint8)
    words = np.stack([pack_bits(row, 3).view(np.uint32) for row in codes])
    out = np.zeros((4, 32), np.uint8)
    interpret(
        """layout #w = spatial(4, 1) * local(1, 3)
layout #q = spatial(4, 1) * local(1, 32)
func @f(%p: *u32, %q: *u8) warps = 1 {
  %g = global_view %p : global<u32, [4, 3]>
  %x = load %g[0, 0] : reg<u32, [4, 3], #w>
  %c = view %x : reg<u3, [4, 32], #q>
  %y = cast %c {dtype = u8}
  %h = global_view %q : global<u8, [4, 32]>
  store %h[0, 0], %y
}""",
        [words, out],
    )
    np.testing.assert_array_equal(out, codes)


def test_a_view_needs_the_layout_of_its_source(message: Any) -> None:
    text = """func @f() warps = 1 {
  %x = full : reg<u32, [32]>
  %y = view %x : reg<u8, [32, 4], spatial(32, 1) * local(1, 4)>
}"""
    found = message(text, [])
    assert "`view` reads bits by their place in threads, but `%x` has no layout" in found


CAST = """func @f(%p: *{source}, %q: *{dest}) warps = 1 {{
  %g = global_view %p : global<{source}, [{count}]>
  %x = load %g[0] : reg<{source}, [{count}]>
  %y = cast %x {{dtype = {dest}}}
  %h = global_view %q : global<{dest}, [{count}]>
  store %h[0], %y
}}"""


def cast(source: str, dest: str, codes: np.ndarray) -> np.ndarray:
    text = CAST.format(source=source, dest=dest, count=codes.size)
    data = pack_bits(codes, dtype(source).bits)
    bits = dtype(dest).bits
    out = pack_bits(np.zeros(codes.size, np.uint64), bits)
    run(parse(text), [data, out])
    return unpack_bits(out, bits, codes.size)


@pytest.mark.parametrize("dest", ["f16", "bf16", "f32", "i8", "u4", "e4m3", "i32", "f64", "tf32"])
@pytest.mark.parametrize("source", SMALL)
def test_casts_from_every_small_dtype(source: str, dest: str) -> None:
    a, b = dtype(source), dtype(dest)
    codes = np.arange(1 << a.bits).astype(np.uint64)
    values = a.decode(codes)
    if dest == "f16":  # saturates
        values = np.where(np.isinf(values), values, np.clip(values, -65504, 65504))
    got, wanted = cast(source, dest, codes), b.encode(values)
    number = ~np.isnan(b.decode(wanted)) if b.is_float else slice(None)
    np.testing.assert_array_equal(got[number], wanted[number])
    assert not b.is_float or np.isnan(b.decode(got[~number])).all()


@pytest.mark.parametrize(
    "dest", ["f16", "bf16", "f32", "u8", "i4", "e5m2", "e2m1", "i32", "u64", "b3"]
)
@pytest.mark.parametrize("source", ["f16", "bf16", "f32", "i32", "i64", "u16", "f64"])
def test_casts_between_wide_dtypes(source: str, dest: str) -> None:
    a, b = dtype(source), dtype(dest)
    rng = np.random.default_rng(6)
    values = rng.standard_normal(256) * np.exp2(rng.integers(-20, 20, 256))
    values[:8] = [0.5, 1.5, 2.5, -0.5, 65504, 65519, 65520, 1e30]
    codes = a.encode(values).astype(np.uint64)
    with np.errstate(over="ignore"):
        wanted = b.encode(a.decode(codes))
    np.testing.assert_array_equal(cast(source, dest, codes), wanted)


@pytest.mark.parametrize("source", ["u1", "u3", "u4", "i5", "b7", "e2m1", "e3m2", "u8"])
@pytest.mark.parametrize(
    ("dest", "packing", "name"),
    [
        ("f16", "contiguous", ""),
        ("bf16", "contiguous", ""),
        ("f16", "paired", ""),
        ("bf16", "paired", ""),
        ("bf16", "paired", "subnormal"),
    ],
)
def test_decode_is_its_form(
    interpret: Any, source: str, dest: str, packing: str, name: str
) -> None:
    element, target = dtype(source), dtype(dest)
    form = decode_form(element, target, Packing(packing), name)
    unit = 2 * len(form.exponents)
    count = 2 * unit if packing == "contiguous" else unit * 4
    rng = np.random.default_rng(7)
    codes = rng.integers(0, 1 << element.bits, (8, count)).astype(np.uint8)
    data, out = pack_bits(codes, element.bits), np.zeros((8, count), np.uint16)
    kind = "" if packing == "contiguous" else f", {packing}"
    named = f", form = {name}" if name else ""
    interpret(
        f"""layout #q = spatial(8, 1) * local(1, {count})
func @f(%p: *{source}, %q: *{dest}) warps = 1 {{
  %g = global_view %p : global<{source}, [8, {count}]>
  %x = load %g[0, 0] : reg<{source}, [8, {count}], #q>
  %r = repack %x : reg<{source}, [8, {count}], #q{kind}>
  %y = decode %r {{dtype = {dest}{named}}}
  %h = global_view %q : global<{dest}, [8, {count}]>
  store %h[0, 0], %y
}}""",
        [data, out],
    )
    for column in range(count):
        pair = column % unit // 2
        values = element.decode(codes[:, column] ^ np.uint8(form.code_xor)).astype(np.float64)
        wanted = values * 2.0 ** form.exponents[pair] + form.constants[pair]
        np.testing.assert_array_equal(target.decode(out[:, column]), wanted)


SHAPES = """func @f(%p: *f32, %q: *f32) warps = 1 {{
  %g = global_view %p : global<f32, [4, 6]>
  %x = load %g[0, 0] : reg<f32, [4, 6]>
  %y = {operation}
  %zero = sub %x, %x
  assign %x, %zero
  %h = global_view %q : global<f32, {shape}>
  store %h{offsets}, %y
}}"""


@pytest.mark.parametrize(
    ("operation", "compute"),
    [
        ("reshape %x {shape = [3, 8]}", lambda x: x.reshape(3, 8)),
        ("reshape %x {shape = [24]}", lambda x: x.reshape(24)),
        ("transpose %x", lambda x: x.T),
        ("transpose %x {order = [0, 1]}", lambda x: x),
        ("slice %x {offsets = [1, 2], shape = [2, 4]}", lambda x: x[1:3, 2:6]),
        ("concat %x, %x {dim = 1} : reg<f32, [4, 12]>", lambda x: np.hstack([x, x])),
        ("concat %x, %x : reg<f32, [8, 6]>", lambda x: np.vstack([x, x])),
        ("cast %x {dtype = f32}", lambda x: x),
        ("convert_layout %x : reg<f32, [4, 6], spatial(4, 6)>", lambda x: x),
    ],
)
def test_results_are_values_of_their_own(interpret: Any, operation: str, compute: Any) -> None:
    """The source is overwritten after the operation, and the result must not notice."""
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    wanted = compute(x)
    out = np.zeros(wanted.shape, np.float32)
    shape, offsets = list(wanted.shape), [0] * wanted.ndim
    interpret(SHAPES.format(operation=operation, shape=shape, offsets=offsets), [x.copy(), out])
    np.testing.assert_array_equal(out, wanted)


def test_broadcast_and_its_poison(interpret: Any, message: Any) -> None:
    text = """func @f(%q: *i32) warps = 1 {
  %x = SOURCE : reg<i32, [1, 6]>
  %y = broadcast %x {shape = [4, 6]}
  %h = global_view %q : global<i32, [4, 6]>
  store %h[0, 0], %y
}"""
    out = np.zeros((4, 6), np.int32)
    interpret(text.replace("SOURCE", "arange {dim = 1, start = 5, step = -2}"), [out])
    np.testing.assert_array_equal(out, np.tile(5 - 2 * np.arange(6), (4, 1)))
    assert "uninitialised" in message(text.replace("SOURCE", "alloc_registers"), [out])


@pytest.mark.parametrize(
    "operation",
    [
        "reshape %x {shape = [2]}",
        "transpose %x",
        "concat %x, %one {dim = 1} : reg<f32, [1, 4]>",
        "concat %one, %x {dim = 1} : reg<f32, [1, 4]>",
        "slice %x {offsets = [0, 1], shape = [1, 1]}",
        "view %x : reg<u32, [1, 2], local(1, 2)>",
        "cast %x {dtype = f16}",
    ],
)
def test_poison_is_passed_on(message: Any, operation: str) -> None:
    text = f"""func @f() warps = 1 {{
  %x = alloc_registers : reg<f32, [1, 2], local(1, 2)>
  %one = full : reg<f32, [1, 2], local(1, 2)>
  %y = {operation}
  %r = eq %y, %y
  %i = cast %r {{dtype = u32}}
  %flat = reshape %i {{shape = [COUNT]}}
  %sum = reduce %flat
  %v = item %sum
  assert %v == COUNT
}}"""
    count = 4 if "concat" in operation else 1 if "slice" in operation else 2
    text = text.replace("COUNT", str(count))
    assert "depends on an uninitialised scalar" in message(text, [])
    run(parse(text.replace("alloc_registers", "full")), [])


def test_the_clean_part_of_a_join_is_clean() -> None:
    text = """func @f() warps = 1 {
  %x = alloc_registers : reg<f32, [1, 2]>
  %one = full {fill = 1} : reg<f32, [1, 2]>
  %y = concat %x, %one {dim = 1} : reg<f32, [1, 4]>
  %z = slice %y {offsets = [0, 3], shape = [1, 1]}
  %v = item %z
  assert %v == 1.0
}"""
    run(parse(text), [])
