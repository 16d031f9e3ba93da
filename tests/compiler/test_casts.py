"""Casts of whole tiles: the compiled ones give what the interpreter says, for special codes too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from execution import agree, emulate

from tileloom.vm import parse
from tileloom.vm.diagnostics import ExecutionError
from tileloom.vm.dtypes import Dtype, dtype
from tileloom.vm.interpreter import run

UNUSUAL = ("e4m3", "e5m2", "e6m1", "e7m0", "e8m0", "e5m0")
DESTS = ("f16", "bf16", "f32", "i8", "i32", "u16", "e4m3", "e5m2", "e3m2")
WIDE_FLOATS = ("f16", "bf16", "f32")


def program(source: str, dest: str, count: int) -> str:
    return f"""layout #row = spatial(32) * local({count // 32})
func @f(%p: *{source}, %q: *{dest}) warps = 1 {{
  %gp = global_view %p : global<{source}, [{count}]>
  %gq = global_view %q : global<{dest}, [{count}]>
  %x = load %gp[0] : reg<{source}, [{count}], #row>
  %y = cast %x {{dtype = {dest}}}
  store %gq[0], %y
}}"""


def array(kind: Dtype, codes: Any) -> Any:
    """Codes as the array that a program takes: packed, or of numpy's type."""
    codes = np.asarray(codes).astype(kind.code_dtype)
    if kind.bits % 8:
        bits = codes[:, None] >> np.arange(kind.bits) & 1
        return np.packbits(bits.astype(np.uint8).ravel(), bitorder="little")
    return codes if kind.numpy is None else codes.view(kind.numpy)


def both(source: str, dest: str, codes: Any, target: str) -> list[Any]:
    """What the interpreter and the emulator give, as values; equal as codes but for NaNs."""
    old, new = dtype(source), dtype(dest)
    results = []
    for execute in (run, lambda function, args: emulate(function, args, target)):
        found = array(new, np.zeros(len(codes), np.int64))
        execute(parse(program(source, dest, len(codes))), [array(old, codes), found])
        results.append(found)
    if new.bits % 8:
        assert np.array_equal(*results)
        return results
    return [new.decode(found.view(new.code_dtype)) for found in results]


@pytest.mark.parametrize("dest", DESTS)
@pytest.mark.parametrize("source", UNUSUAL)
def test_all_codes_of_unusual_floats(source: str, dest: str) -> None:
    kind = dtype(source)
    codes = np.arange(256) % (1 << kind.bits)
    for target in ("sm_80", "sm_90a") if source == "e4m3" else ("sm_90a",):
        meant, found = both(source, dest, codes, target)
        assert np.array_equal(meant, found, equal_nan=True)
    if dest == "f16":
        large = np.isfinite(kind.table) & (np.abs(kind.table) > 65504)
        assert np.array_equal(
            np.abs(meant[: 1 << kind.bits][large]), 65504 + 0 * np.nonzero(large)[0]
        )


INTEGERS = ("i8", "u16", "i32", "u32", "i64", "u64")
WIDE_CASTS = [
    *((source, dest) for source in (*WIDE_FLOATS, "f64") for dest in INTEGERS),
    *((source, dest) for source in WIDE_FLOATS for dest in ("e4m3", "e3m2")),
]


@pytest.mark.parametrize(("source", "dest"), WIDE_CASTS)
def test_infinities_nans_and_large_values_of_wide_floats(source: str, dest: str) -> None:
    kind = dtype(source)
    large = [np.inf, -np.inf, np.nan, -np.nan, 1e30, -1e30, 3e9, -3e9, 65504, 0.5, 1.5, -0.0]
    codes = np.resize(kind.encode(np.array(large)), 256)
    meant, found = both(source, dest, codes, "sm_90a")
    assert np.array_equal(meant, found, equal_nan=True)


def test_wide_floats_overflow_to_infinity() -> None:
    codes = dtype("f32").encode(np.resize([70000.0, -1e30], 32))
    for values in both("f32", "f16", codes, "sm_90a"):
        assert np.array_equal(values, np.resize([np.inf, -np.inf], 32))


@pytest.mark.parametrize("source", ["e4m3", "e5m2"])
def test_decodes_of_special_codes_have_no_value(source: str) -> None:
    text = program(source, "bf16", 64).replace("cast %x", "decode %x")
    kind = dtype(source)
    finite = np.flatnonzero(np.isfinite(kind.table))
    result = np.zeros(64, np.uint16)
    run(parse(text), [np.resize(finite, 64).astype(np.uint8), result])
    assert result.any()
    for code in np.flatnonzero(~np.isfinite(kind.table)):
        codes = np.zeros(64, np.uint8)
        codes[17] = code
        with pytest.raises(ExecutionError, match=r"element \[17\]"):
            run(parse(text), [codes, result])


@pytest.mark.parametrize("source", ["i32", "u32", "i64", "f64"])
@pytest.mark.parametrize("target", ["bf16", "tf32"])
def test_numbers_of_many_digits_are_rounded_once(source: str, target: str) -> None:
    """Just above and below ties of the short float, where rounding to f32 first is wrong."""
    if (source, target) == ("f64", "bf16"):
        pytest.skip("no conversion yet")
    rng = np.random.default_rng(0)
    digits = 8 if target == "bf16" else 11
    tie = (2 * rng.integers(1 << digits - 1, 1 << digits, 256) + 1) << 29 - digits
    numbers = (tie + rng.integers(-1, 2, 256)).astype(np.int64)
    kinds: Any = {"i32": np.int32, "u32": np.uint32, "i64": np.int64, "f64": np.float64}
    x = numbers.astype(kinds[source])
    text = f"""func @f(%x: *{source}, %y: *{target}) warps = 1 {{
  %gx = global_view %x : global<{source}, [256]>
  %gy = global_view %y : global<{target}, [256]>
  %a = load %gx[0] : reg<{source}, [256]>
  %b = cast %a {{dtype = {target}}}
  store %gy[0], %b
}}"""
    out = np.zeros(256, np.uint16 if target == "bf16" else np.float32)
    found = agree(text, [x, out])[1]
    step = 1 << 30 - digits
    whole, rest = numbers // step, numbers % step
    nearest = whole + np.where(rest == step // 2, whole % 2, rest > step // 2)
    wanted = (nearest * step).astype(np.float64)
    got = (found.astype(np.uint32) << 16).view(np.float32) if target == "bf16" else found
    np.testing.assert_array_equal(got.astype(np.float64), wanted)
