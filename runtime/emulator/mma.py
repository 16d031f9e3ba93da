"""mma.sync: f16, bf16, tf32, fp8 and 8-bit integers.

Integers are exact; floats sum as an H100 does (see `tensor_core`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from . import tensor_core
from .cohort import Cohort, FaultError
from .convert import fp8_values
from .fragments import a_map, b_map, c_inverse, c_map, inverse
from .linker import expect
from .opcode import Custom, Form, Mods, OpcodeError, opcode
from .rounding import canonical
from .step import Step, lane_mask
from .types import B32, RAW, TYPES, Array, Type, any_along

if TYPE_CHECKING:
    from .linker import Linker
    from .syntax import Instruction

# Shapes by the bits of an element.
_DEPTHS = {16: (8, 16), 32: (4, 8), 8: (16, 32)}


@dataclass(frozen=True, slots=True)
class _Shape:
    k: int
    a: Type
    b: Type
    c: Type
    sat: bool

    @property
    def per_register(self) -> int:
        return 32 // _bits(self.a)

    @property
    def c_per_register(self) -> int:
        return 2 if self.c.name == "f16" else 1

    @property
    def registers(self) -> tuple[int, int, int]:
        """Registers of A, B and C in each lane."""
        w = self.per_register
        return 16 * self.k // 32 // w, 8 * self.k // 32 // w, 4 // self.c_per_register


def _bits(type_: Type) -> int:
    return 32 if type_.name == "tf32" else type_.bits


@opcode("mma")
def mma(mods: Mods) -> Form:
    if not (mods.flag("sync") and mods.flag("aligned")):
        raise OpcodeError(f"`{mods.text}` needs .sync.aligned")
    size = mods.choice("m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32")
    if not (mods.flag("row") and mods.flag("col")):
        raise OpcodeError(f"`{mods.text}` needs .row.col")
    sat = mods.flag("satfinite")
    mods.flags("kind::f8f6f4")
    d, a, b, c = mods.type(), mods.type(), mods.type(), mods.type()
    shape = _Shape(int(size[6:]), a, b, c, sat)
    if d != c or not _legal(shape):
        raise OpcodeError(f"`{mods.text}`: no such combination of types")
    return Custom(lambda instruction, linker: _build(instruction, linker, shape))


def _legal(shape: _Shape) -> bool:
    names = shape.a.name, shape.b.name
    if shape.k not in _DEPTHS.get(_bits(shape.a), ()):
        return False
    if names in (("f16", "f16"),):
        return shape.c.name in ("f16", "f32")
    if names in (("bf16", "bf16"), ("tf32", "tf32")):
        return shape.c.name == "f32"
    if set(names) <= {"u8", "s8"}:
        return shape.c.name == "s32"
    if set(names) <= {"e4m3", "e5m2"}:
        return shape.c.name == "f32"
    return False


def _build(instruction: Instruction, linker: Linker, shape: _Shape) -> Step:
    expect(instruction, 4)
    counts = shape.registers
    d, a, b, c = instruction.operands
    element = TYPES["f32"] if shape.c.name == "f32" else B32
    outs = tuple(linker.dest(item, element) for item in linker.vector(d, counts[2]))
    ins = [
        tuple(linker.source(item, B32) for item in linker.vector(operand, count))
        for operand, count in zip((a, b, c), counts, strict=True)
    ]
    guard = instruction.guard
    multiply = _multiplier(shape)
    # Where each register's element lies in the transposed result.
    row, column = np.divmod(c_map(shape.c_per_register), 8)
    to_registers = column * 16 + row

    def run(cohort: Cohort) -> None:
        if guard is not None:
            on = lane_mask(cohort, guard.slot, instruction.negated)
            require_whole_warps(cohort, on, allow_none=True)
        else:
            on = None
            if not cohort.full:
                require_whole_warps(cohort, None, allow_none=False)
        result = multiply(cohort, ins)
        count = cohort.num_warps
        flat = np.ascontiguousarray(result.reshape(count, 128)[:, to_registers]).view(np.uint32)
        bad = _undefined_result(cohort, shape, ins) if cohort.undefined else None
        for number, slot in enumerate(outs):
            lanes = slice(32 * number, 32 * number + 32)
            cohort.write(slot, flat[:, lanes], on, None if bad is None else bad[number])

    step = Step(run, (), outs, strict=True, own=True)
    step.data = tuple(s for group in ins for s in group if not linker.is_constant(s))
    return step


def require_whole_warps(c: Cohort, on: Array | None, allow_none: bool) -> None:
    """Matrix instructions are for all 32 lanes of a warp at once."""
    executing = c.mask if on is None else on
    partial = any_along(executing, 1) & any_along(~executing, 1)
    if partial.any():
        lanes = ~executing & partial[:, None]
        raise FaultError(f"a warp-wide instruction without {c.lane_name(lanes)}")


def gather_matrix(c: Cohort, slots: tuple[int, ...], places: Array, unit: int) -> Array:
    """Elements of `unit` bytes, raw, in matrix order: [n, elements]."""
    joined = np.concatenate([c.lanes(slot) for slot in slots], 1)
    return joined.view(RAW[8 * unit]).take(places, axis=1)


@lru_cache(maxsize=64)
def _multiplier(shape: _Shape) -> Callable[[Cohort, list[tuple[int, ...]]], Array]:
    """A closure computing the transpose of D, [n, 8, 16], whose bits go to the registers."""
    k, w = shape.k, shape.per_register
    a_places = inverse("a", k, w).reshape(16, k).T.reshape(-1)
    b_places = inverse("b", k, w)
    c_places = c_inverse(shape.c_per_register).reshape(16, 8).T.reshape(-1)
    c_unit = 2 if shape.c_per_register == 2 else 4
    compute = _floats(shape) if shape.a.kind in "fx" else _integers(shape)

    def run(cohort: Cohort, ins: list[tuple[int, ...]]) -> Array:
        n = cohort.num_warps
        a = gather_matrix(cohort, ins[0], a_places, 4 // w).reshape(n, k, 16)
        b = gather_matrix(cohort, ins[1], b_places, 4 // w).reshape(n, k, 8)
        c = gather_matrix(cohort, ins[2], c_places, c_unit).reshape(n, 8, 16)
        return compute(a, b, c)

    return run


Compute = Callable[[Array, Array, Array], Array]


def _floats(shape: _Shape) -> Compute:
    finish = tensor_core.finisher(shape.c)
    addend = tensor_core.operand(shape.c)
    if shape.a.name in ("e4m3", "e5m2"):
        return _eight_bit_floats(shape)
    factor = tensor_core.operand(shape.a)
    return lambda a, b, c: finish(tensor_core.multiply_add((factor, factor), addend, a, b, c))


def _eight_bit_floats(shape: _Shape) -> Compute:
    """Hopper computes these as halves: first the elements of k with k % 4 < 2, then the others on
    top of that sum, and adds C in the end, in f32."""
    tables = [fp8_values(t.name).astype(np.float16).view(np.uint16) for t in (shape.a, shape.b)]
    factor, addend = tensor_core.operand(TYPES["f16"]), tensor_core.operand(TYPES["f32"])
    first = np.arange(shape.k) % 4 < 2

    def run(a: Array, b: Array, c: Array) -> Array:
        x, y = tables[0][a], tables[1][b]
        total = np.zeros(c.shape, np.uint32)
        for part in (first, ~first):
            x_part, y_part = x[:, part], y[:, part]
            exact = tensor_core.multiply_add((factor, factor), addend, x_part, y_part, total)
            total = tensor_core.to_f32(exact)
        return canonical(total.view(np.float32) + c.view(np.float32), np.uint32, 0x7FFFFFFF)

    return run


def _product(a: Array, b: Array) -> Array:
    """[n, k, 8] transposed @ [n, k, 16]."""
    result: Array = np.matmul(b.swapaxes(1, 2), a)
    return result


def _integers(shape: _Shape) -> Compute:
    """Exact in f64: sums stay below 2^53."""
    views = shape.a.view, shape.b.view, np.dtype(np.int32)

    def run(a: Array, b: Array, c: Array) -> Array:
        x, y, z = (raw.view(v).astype(np.float64) for raw, v in zip((a, b, c), views, strict=True))
        total = _product(x, y) + z
        if shape.sat:
            total = np.clip(total, -(2.0**31), 2.0**31 - 1)
        wrapped: Array = total.astype(np.int64).astype(np.int32)
        return wrapped

    return run


def _undefined_result(
    cohort: Cohort, shape: _Shape, ins: list[tuple[int, ...]]
) -> list[Array] | None:
    """Lanes of each result register that depend on an undefined element; None if none does."""
    if not any(slot in cohort.undefined for group in ins for slot in group):
        return None
    n, w = cohort.num_warps, shape.per_register

    def spread(slots: tuple[int, ...], positions: Array, per: int, size: int) -> Array:
        lanes = np.concatenate([_bad(cohort, slot) for slot in slots], 1)
        result = np.zeros((n, size), bool)
        result[:, positions] = np.repeat(lanes, per, 1)
        return result

    a = spread(ins[0], a_map(shape.k, w), w, 16 * shape.k).reshape(n, 16, shape.k)
    b = spread(ins[1], b_map(shape.k, w), w, 8 * shape.k).reshape(n, shape.k, 8)
    per = shape.c_per_register
    c = spread(ins[2], c_map(per), per, 128).reshape(n, 16, 8)
    rows, columns = any_along(a, 2), any_along(b, 1)
    bad = (rows[:, :, None] | columns[:, None, :] | c).reshape(n, 128)[:, c_map(per)]
    found = any_along(bad.reshape(n, -1, 32, per), 3)
    return [np.ascontiguousarray(found[:, number]) for number in range(found.shape[1])]


def _bad(cohort: Cohort, slot: int) -> Array:
    found = cohort.undefined.get(slot)
    return np.zeros((cohort.num_warps, 32), bool) if found is None else found
