"""mma.sync: f16, bf16, tf32, fp8 and 8-bit integers.

Products and sums are formed in f64 (or exactly, for integers) and rounded once at the end, to f32
or f16: the hardware's sums are less exact, in an order the manual leaves open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from .cohort import Cohort, FaultError
from .convert import fp8_values
from .fragments import a_map, b_map, c_inverse, c_map, inverse
from .linker import expect
from .opcode import Custom, Form, Mods, OpcodeError, opcode
from .rounding import bf16_values, canonical, to_f16
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
        return shape.c.name in ("f16", "f32")
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
    to_registers = c_map(shape.c_per_register)

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


def _decoder(type_: Type) -> Callable[[Array], Array]:
    """Raw elements -> f64 (integers too: they stay below 2^53)."""
    name = type_.name
    if name == "bf16":
        return lambda raw: bf16_values(raw).astype(np.float64)
    if name == "tf32":
        # The hardware reads only the upper 19 bits.
        mask = np.uint32(0xFFFFE000)
        return lambda raw: (raw & mask).view(np.float32).astype(np.float64)
    if name in ("e4m3", "e5m2"):
        table = fp8_values(name)
        return lambda raw: table[raw]
    view = type_.view
    return lambda raw: raw.view(view).astype(np.float64)


@lru_cache(maxsize=64)
def _multiplier(shape: _Shape) -> Callable[[Cohort, list[tuple[int, ...]]], Array]:
    """A closure computing D [n, 16, 8] as an array whose bits go to the registers."""
    k, w = shape.k, shape.per_register
    unit = 4 // w
    a_places, b_places = inverse("a", k, w), inverse("b", k, w)
    c_places = c_inverse(shape.c_per_register)
    read_a, read_b, read_c = (_decoder(t) for t in (shape.a, shape.b, shape.c))
    c_unit = 2 if shape.c_per_register == 2 else 4
    finish = _finisher(shape)

    def run(cohort: Cohort, ins: list[tuple[int, ...]]) -> Array:
        n = cohort.num_warps
        a = read_a(gather_matrix(cohort, ins[0], a_places, unit)).reshape(n, 16, k)
        b = read_b(gather_matrix(cohort, ins[1], b_places, unit)).reshape(n, k, 8)
        c = read_c(gather_matrix(cohort, ins[2], c_places, c_unit)).reshape(n, 16, 8)
        return finish(np.matmul(a, b) + c)

    return run


def _finisher(shape: _Shape) -> Callable[[Array], Array]:
    if shape.c.name == "f32":
        return lambda total: canonical(total.astype(np.float32), np.uint32, 0x7FFFFFFF)
    if shape.c.name == "f16":
        return to_f16
    if shape.sat:
        low, high = -(2.0**31), 2.0**31 - 1
        return lambda total: np.clip(total, low, high).astype(np.int64).astype(np.int32)
    return lambda total: total.astype(np.int64).astype(np.int32)


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
