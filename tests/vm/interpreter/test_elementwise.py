"""Each elementwise instruction against numpy, on values that include the awkward ones."""

from typing import Any

import numpy as np
import pytest

from tileloom.vm import dtype
from tileloom.vm.instruction import REGISTRY
from tileloom.vm.instructions.elementwise import Comparison, Elementwise
from tileloom.vm.semantics.elementwise import ARITHMETIC, COMPARISONS

N = 64
AWKWARD = [0.0, -0.0, np.inf, -np.inf, np.nan, 0.5, 1.5, 2.5, -0.5, 1e-7, 65504.0, -3.25]


def program(op: str, name: str, count: int, result: str | None = None) -> str:
    inputs = "xyw"[:count]
    params = ", ".join(f"%p{v}: *{name}" for v in inputs)
    views = "\n".join(f"%g{v} = global_view %p{v} : global<{name}, [{N}]>" for v in inputs)
    loads = "\n".join(f"%{v} = load %g{v}[0] : reg<{name}, [{N}]>" for v in inputs)
    operands = ", ".join(f"%{v}" for v in inputs)
    cast = "" if result is None else f"%r = cast %z {{dtype = {result}}}\n"
    stored = "%z" if result is None else "%r"
    return f"""func @f({params}, %pz: *{result or name}) warps = 1 {{
{views}
{loads}
%z = {op} {operands}
{cast}%gz = global_view %pz : global<{result or name}, [{N}]>
store %gz[0], {stored}
}}"""


def floats(rng: np.random.Generator, kind: Any) -> np.ndarray:
    values = rng.standard_normal(N) * np.exp2(rng.integers(-6, 6, N))
    values[: len(AWKWARD)] = rng.permutation(AWKWARD)
    return values.astype(kind)


def same(got: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_array_equal(got, wanted)
    number = ~np.isnan(wanted) if wanted.dtype.kind == "f" else slice(None)
    np.testing.assert_array_equal(np.signbit(got)[number], np.signbit(wanted)[number])


BINARY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "min": np.fmin,
    "max": np.fmax,
}
UNARY = {
    "neg": lambda a: -a,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "rcp": lambda a: 1 / a,
    "round": np.rint,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
}
APPROXIMATE = {
    "exp": np.exp,
    "exp2": np.exp2,
    "log": np.log,
    "log2": np.log2,
    "rsqrt": lambda a: 1 / np.sqrt(a),
    "tanh": np.tanh,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
}
COMPARE = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}
INTEGER = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "min": min,
    "max": max,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
}


def test_every_elementwise_instruction_is_named_here() -> None:
    named = {*BINARY, *UNARY, *APPROXIMATE, *COMPARE, *INTEGER}
    others = {"mod", "not", "shl", "shr", "where", "fma", "clip"}  # tests of their own below
    classes = {name for name, cls in REGISTRY.items() if issubclass(cls, Elementwise)}
    assert named | others == classes
    assert {cls.name for cls in COMPARISONS} == {
        name for name, cls in REGISTRY.items() if issubclass(cls, Comparison)
    }
    assert not set(ARITHMETIC) & set(COMPARISONS)


@pytest.mark.parametrize("name", ["f16", "f32", "f64"])
@pytest.mark.parametrize("op", sorted(BINARY))
def test_binary_floats(interpret: Any, op: str, name: str) -> None:
    rng = np.random.default_rng(1)
    kind = dtype(name).numpy
    x, y, z = floats(rng, kind), floats(rng, kind), np.zeros(N, kind)
    interpret(program(op, name, 2), [x, y, z])
    # float64 holds two halves' results exactly enough that rounding it is rounding once.
    wide = np.float64 if name == "f16" else kind
    with np.errstate(all="ignore"):
        same(z, BINARY[op](x.astype(wide), y.astype(wide)).astype(kind))


@pytest.mark.parametrize("name", ["f16", "f32", "f64"])
@pytest.mark.parametrize("op", sorted(UNARY))
def test_unary_floats(interpret: Any, op: str, name: str) -> None:
    kind = dtype(name).numpy
    x, z = floats(np.random.default_rng(2), kind), np.zeros(N, kind)
    interpret(program(op, name, 1), [x, z])
    with np.errstate(all="ignore"):
        same(z, UNARY[op](x))


@pytest.mark.parametrize("name", ["f16", "f32"])
@pytest.mark.parametrize("op", sorted(APPROXIMATE))
def test_approximate_functions_are_correctly_rounded_here(
    interpret: Any, op: str, name: str
) -> None:
    kind = dtype(name).numpy
    x, z = floats(np.random.default_rng(3), kind), np.zeros(N, kind)
    interpret(program(op, name, 1), [x, z])
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(z, APPROXIMATE[op](x.astype(np.float64)).astype(kind))


@pytest.mark.parametrize("op", [*sorted(BINARY), "neg", "abs", "round", "exp"])
def test_bf16_rounds_each_result_once(interpret: Any, op: str) -> None:
    rng, bf16 = np.random.default_rng(4), dtype("bf16")
    count = 2 if op in BINARY else 1
    codes = [bf16.encode(floats(rng, np.float64)) for _ in range(count)]
    z = np.zeros(N, np.uint16)
    interpret(program(op, "bf16", count), [*codes, z])
    with np.errstate(all="ignore"):
        function = {**UNARY, **APPROXIMATE, **BINARY}[op]
        wanted = function(*(bf16.decode(c) for c in codes))
    np.testing.assert_array_equal(bf16.decode(z), bf16.decode(bf16.encode(wanted)))


@pytest.mark.parametrize("name", ["f16", "f32", "bf16"])
@pytest.mark.parametrize("op", sorted(COMPARE))
def test_comparisons(interpret: Any, op: str, name: str) -> None:
    rng, element = np.random.default_rng(5), dtype(name)
    x, y = (element.encode(floats(rng, np.float64)) for _ in range(2))
    y[::3] = x[::3]
    z = np.zeros(N, np.uint8)
    interpret(program(op, name, 2, result="u8"), [x, y, z])
    np.testing.assert_array_equal(z, COMPARE[op](element.decode(x), element.decode(y)))


@pytest.mark.parametrize("name", ["i8", "u8", "i32", "u32", "i64", "u64"])
@pytest.mark.parametrize("op", sorted(INTEGER))
def test_integers_wrap(interpret: Any, op: str, name: str) -> None:
    rng, element = np.random.default_rng(6), dtype(name)
    bits = element.bits
    x, y = (rng.integers(0, 256, N * bits // 8, np.uint8).view(element.numpy) for _ in range(2))
    x[:2], y[:2] = element.min_finite, element.max_finite
    z = np.zeros(N, element.numpy)
    interpret(program(op, name, 2), [x, y, z])
    exact = [INTEGER[op](a, b) % (1 << bits) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    np.testing.assert_array_equal(z.view(f"u{bits // 8}"), np.array(exact, f"u{bits // 8}"))


@pytest.mark.parametrize("name", ["i8", "u8", "i32", "u32"])
def test_integer_division_rounds_down(interpret: Any, name: str) -> None:
    rng, element = np.random.default_rng(7), dtype(name)
    x = rng.integers(0, 256, N * element.bits // 8, np.uint8).view(element.numpy)
    y = np.where(np.arange(N) % 2, 7, element.encode(-3).view(element.numpy) | 1)
    y = y.astype(element.numpy)
    for op in ("div", "mod"):
        z = np.zeros(N, element.numpy)
        interpret(program(op, name, 2), [x, y, z])
        pairs = zip(x.tolist(), y.tolist(), strict=True)
        assert z.tolist() == [a // b if op == "div" else a % b for a, b in pairs]


def test_division_by_zero_is_an_error_only_where_it_is_used(interpret: Any, message: Any) -> None:
    x, y, z = (np.arange(N, dtype=np.int32) for _ in range(3))
    text = message(program("div", "i32", 2), [x, y, z])
    assert "element [0] of `%z` was never given a value" in text
    guarded = program("div", "i32", 2).replace(
        "%gz =", "%ok = ne %y, 0\n%safe = where %ok, %z, -1\n%gz ="
    )
    interpret(guarded.replace("store %gz[0], %z", "store %gz[0], %safe"), [x, y, z])
    assert z.tolist() == [-1] + [1] * (N - 1)


@pytest.mark.parametrize("name", ["i32", "u32", "i8", "u8"])
@pytest.mark.parametrize("op", ["shl", "shr"])
def test_shifts(interpret: Any, op: str, name: str) -> None:
    rng, element = np.random.default_rng(8), dtype(name)
    x = rng.integers(0, 256, N * element.bits // 8, np.uint8).view(element.numpy)
    y = (np.arange(N) % (element.bits + 4)).astype(element.numpy)
    z = np.zeros(N, element.numpy)
    interpret(program(op, name, 2), [x, y, z])
    for a, amount, got in zip(x.tolist(), y.tolist(), z, strict=True):
        exact = a << amount if op == "shl" else a >> amount
        assert int(element.encode(got)) == exact % (1 << element.bits)


def test_not_of_integers_and_truths(interpret: Any) -> None:
    x, z = np.arange(N, dtype=np.uint8), np.zeros(N, np.uint8)
    interpret(program("not", "u8", 1), [x, z])
    np.testing.assert_array_equal(z, ~x)
    truths = program("lt", "u8", 2, result="u8").replace(
        "%r = cast %z", "%t = not %z\n%r = cast %t"
    )
    y = x[::-1].copy()
    interpret(truths, [x, y, z])
    np.testing.assert_array_equal(z, x >= y)


@pytest.mark.parametrize("name", ["f32", "f16", "i32"])
def test_clip_and_where(interpret: Any, name: str) -> None:
    kind = dtype(name).numpy
    x = (np.arange(N) - 20).astype(kind)
    y, w, z = np.full(N, -5, kind), np.full(N, 9, kind), np.zeros(N, kind)
    interpret(program("clip", name, 3), [x, y, w, z])
    np.testing.assert_array_equal(z, np.clip(x, -5, 9))
    choose = program("add", name, 2).replace(
        "%z = add %x, %y", "%c = gt %x, %y\n%z = where %c, %x, 7"
    )
    interpret(choose, [x, y, z])
    np.testing.assert_array_equal(z, np.where(x > y, x, 7))


def test_clip_sends_nan_to_the_lower_bound(interpret: Any) -> None:
    x, y, w = (np.full(N, v, np.float32) for v in (np.nan, -1, 1))
    z = np.zeros(N, np.float32)
    interpret(program("clip", "f32", 3), [x, y, w, z])
    assert (z == -1).all()


SIGNALS = {
    "f16": (np.uint16, 0x7C24),
    "f32": (np.uint32, 0x7F900000),
    "f64": (np.uint64, 0x7FF << 52 | 5),
}


@pytest.mark.parametrize("op", ["min", "max"])
@pytest.mark.parametrize("name", sorted(SIGNALS))
def test_a_nan_that_signals_is_left_out_too(interpret: Any, name: str, op: str) -> None:
    kind, code = SIGNALS[name]
    x = np.full(N, code, kind).view(dtype(name).numpy)
    y, z = np.arange(N).astype(x.dtype), np.zeros(N, x.dtype)
    for first, second in ((x, y), (y, x)):
        interpret(program(op, name, 2), [first, second, z])
        assert z.tolist() == y.tolist()


@pytest.mark.parametrize("name", sorted(SIGNALS))
@pytest.mark.parametrize("op", ["min", "max"])
def test_zeros_have_an_order(interpret: Any, name: str, op: str) -> None:
    x = np.zeros(N, dtype(name).numpy)
    y, z = -x, x + 7
    for first, second in ((x, y), (y, x)):
        interpret(program(op, name, 2), [first, second, z])
        assert (np.signbit(z) == (op == "min")).all() and not z.any()


def test_broadcasting_and_scalars(interpret: Any) -> None:
    x, z = np.arange(8, dtype=np.float32), np.zeros((4, 8), np.float32)
    interpret(
        """func @f(%p: *f32, %q: *f32, %alpha: f32) warps = 1 {
  %g = global_view %p : global<f32, [1, 8]>
  %row = load %g[0, 0] : reg<f32, [1, 8]>
  %column = arange {dim = 0} : reg<f32, [4, 1]>
  %sum = add %row, %column
  %scaled = mul %sum, %alpha
  %less = sub 1.0, %scaled
  %h = global_view %q : global<f32, [4, 8]>
  store %h[0, 0], %less
}""",
        [x, z, 0.5],
    )
    np.testing.assert_array_equal(z, 1 - (x + np.arange(4)[:, None]) * 0.5)
