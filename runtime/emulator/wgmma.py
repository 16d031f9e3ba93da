"""wgmma: asynchronous products of warp groups, their groups, waits and fences.

Operands are read when a product is issued. Its accumulator has no defined value from then until
the `wait_group` that covers it, the latest moment allowed (with `asynchronous="early"` it has one
at once); further products of one shape may add to it meanwhile. Whoever writes to its registers or
to what it reads before the wait is reported there, or by the check for races.

Registers need a `wgmma.fence` between other accesses and a product (`wgmma_fences`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .cohort import Cohort, FaultError
from .fragments import inverse
from .linker import expect
from .mma import gather_matrix, require_whole_warps
from .opcode import Custom, Form, Mods, OpcodeError, opcode
from .products import Flight
from .step import Step
from .syntax import Int, Operand, Vector
from .types import B32, B64, PRED, TYPES, Array
from .wgmma_operands import (
    ROWS,
    Box,
    Shape,
    addresses,
    computation,
    d_positions,
    read_box,
)

if TYPE_CHECKING:
    from .linker import Linker
    from .syntax import Instruction

_FLOATS = {"f16": ("f16", "f32"), "bf16": ("f32",), "tf32": ("f32",)}
_FP8, _BYTES = ("e4m3", "e5m2"), ("s8", "u8")


@dataclass(slots=True)
class FenceStep(Step):
    """A wgmma.fence."""


@dataclass(slots=True)
class ProductStep(Step):
    """A wgmma.mma_async: the registers it accesses."""

    registers: tuple[int, ...] = ()


@opcode("wgmma")
def wgmma(mods: Mods) -> Form:
    kind = mods.choice("fence", "mma_async", "commit_group", "wait_group")
    if not (mods.flag("sync") and mods.flag("aligned")):
        raise OpcodeError(f"`{mods.text}` needs .sync.aligned")
    if kind == "fence":
        return Custom(lambda instruction, linker: FenceStep(_whole_warps, (), ()))
    if kind == "commit_group":
        return Custom(lambda instruction, linker: Step(_commit, (), (), strict=True))
    if kind == "wait_group":
        return Custom(_build_wait)
    shape = _shape(mods)
    return Custom(lambda instruction, linker: _build_product(instruction, linker, shape))


def _shape(mods: Mods) -> Shape:
    (size,) = [part for part in mods.parts if part.startswith("m64n")] or [""]
    if not mods.flag(size) or not size[4:].replace("k", "", 1).isdigit():
        raise OpcodeError(f"`{mods.text}` needs a shape m64nNkK")
    n, k = (int(number) for number in size[4:].split("k"))
    sat = mods.flag("satfinite")
    d, a, b = mods.type(), mods.type(), mods.type()
    if not _legal(n, k, d.name, a.name, b.name):
        raise OpcodeError(f"`{mods.text}`: no such combination of shape and types")
    return Shape(n, k, d, a, b, sat)


def _legal(n: int, k: int, d: str, a: str, b: str) -> bool:
    if n % 8 or not 8 <= n <= 256:
        return False
    if a in _FLOATS:
        return a == b and d in _FLOATS[a] and k == (8 if a == "tf32" else 16)
    if a in _FP8 and b in _FP8:
        return d in ("f16", "f32") and k == 32
    if a in _BYTES and b in _BYTES:
        return d == "s32" and k == 32 and (n < 32 or n % 16 == 0)
    return False


def _whole_warps(c: Cohort) -> None:
    require_whole_warps(c, None, allow_none=False)


def _commit(c: Cohort) -> None:
    _whole_warps(c)
    c.machine.products.commit(c)


def _build_wait(instruction: Instruction, linker: Linker) -> Step:
    del linker
    expect(instruction, 1)
    (count,) = instruction.operands
    if not isinstance(count, Int) or not 0 <= count.value <= 7:
        raise OpcodeError("`wgmma.wait_group` takes a constant of 0 to 7")
    kept = count.value

    def run(c: Cohort) -> None:
        _whole_warps(c)
        c.machine.products.wait(c, kept)

    return Step(run, (), (), strict=True)


@dataclass(frozen=True, slots=True)
class _Operands:
    """Slots of one instruction's operands; `left` holds four registers or one descriptor."""

    line: int
    shape: Shape
    sums: tuple[int, ...]
    left: tuple[int, ...]
    right: int
    scale: int
    negated: tuple[bool, bool]
    left_box: Box | None
    right_box: Box


def _build_product(instruction: Instruction, linker: Linker, shape: Shape) -> Step:
    if instruction.guard is not None:
        raise OpcodeError("a guarded `wgmma.mma_async` is not emulated")
    in_registers = len(instruction.operands) > 1 and isinstance(instruction.operands[1], Vector)
    halves, integers = shape.k == 16, shape.d.name == "s32"
    trans = (1 if in_registers else 2) if halves else 0
    expect(instruction, 4 + (0 if integers else 2) + trans)
    d, a, b, scale, *rest = instruction.operands
    immediates = [_immediate(operand) for operand in rest]
    signs, majors = immediates[:2], immediates[2:]
    if any(sign not in (1, -1) for sign in signs) or any(m not in (0, 1) for m in majors):
        raise OpcodeError(f"`{instruction.opcode}`: wrong immediates {immediates}")
    element = TYPES["f32"] if shape.d.name == "f32" else B32
    sums = tuple(linker.dest(item, element) for item in linker.vector(d, shape.d_registers))
    width = shape.element_bytes
    if in_registers:
        left = tuple(linker.source(item, B32) for item in linker.vector(a, 4))
        left_box = None
    else:
        left = (linker.source(a, B64),)
        left_box = Box(ROWS, shape.k, width, bool(majors and majors[0]))
    right_box = Box(shape.n, shape.k, width, bool(majors and majors[-1]))
    negated = (bool(signs) and signs[0] < 0, bool(signs) and signs[1] < 0)
    operands = _Operands(
        instruction.line, shape, sums, left, linker.source(b, B64), linker.source(scale, PRED),
        negated, left_box, right_box,
    )  # fmt: skip
    if len(set(sums)) != len(sums):
        raise OpcodeError(f"`{instruction.opcode}`: a register occurs twice in the accumulator")
    addressing = (operands.right, operands.scale, *(() if in_registers else left))
    reads = tuple(slot for slot in addressing if not linker.is_constant(slot))
    data = left if in_registers else ()
    step = ProductStep(lambda c: _issue(c, operands), reads, sums, strict=True, own=True, data=data)
    step.registers = (*sums, *data)
    return step


def _immediate(operand: Operand) -> int:
    if not isinstance(operand, Int):
        raise OpcodeError("wgmma's scales and majors are constants")
    return operand.value


def _issue(c: Cohort, operands: _Operands) -> None:
    _whole_warps(c)
    products, shape = c.machine.products, operands.shape
    n = c.num_warps
    warp = c.rows % c.machine.warps_per_block
    descriptor = _uniform(c, operands.right)
    keeps = _uniform(c, operands.scale)
    products.note_issue(c, operands.line, descriptor)
    places = [addresses(operands.right_box, descriptor, np.zeros(n, np.int64))]
    b = read_box(c, places[0], shape.element_bytes)
    if operands.left_box is None:
        a = _left_registers(c, operands)
    else:
        found = addresses(operands.left_box, _uniform(c, operands.left[0]), warp % 4 * ROWS)
        places.append(found)
        a = read_box(c, found, shape.element_bytes)
    before, bad = products.accumulators(c, operands.sums, keeps)
    if operands.left_box is None:
        bad = _with_undefined_rows(c, operands, bad)
    result = _multiply(operands, a, b, before)
    values = c.lanes(operands.left[0]) if operands.left_box is None else None
    left = operands.left if values is not None else ()
    flight = Flight(
        operands.line, c.rows.copy(), operands.sums, bad, left,
        [c.regs[slot].copy() for slot in left], products.units(c, places, shape.element_bytes),
    )  # fmt: skip
    products.start(c, flight, result)


def _uniform(c: Cohort, slot: int) -> Array:
    """The value of a register that must be the same in all lanes of a warp: [n]."""
    values = c.lanes(slot)
    if (values != values[:, :1]).any():
        raise FaultError(f"a descriptor or scale differs in {c.lane_name(values != values[:, :1])}")
    return np.ascontiguousarray(values[:, 0])


def _left_registers(c: Cohort, operands: _Operands) -> Array:
    """Raw a [n, k, 16] from registers."""
    k, width = operands.shape.k, operands.shape.element_bytes
    places = inverse("a", k, 4 // width).reshape(16, k).T.reshape(-1)
    return gather_matrix(c, operands.left, places, width).reshape(c.num_warps, k, ROWS)


def _multiply(operands: _Operands, a: Array, b: Array, before: Array) -> Array:
    """The accumulator's registers [registers, n, 32] after the product, from those before."""
    shape = operands.shape
    per = 2 if shape.d.name == "f16" else 1
    n = before.shape[1]
    raw = before.swapaxes(0, 1).reshape(n, -1)
    elements = raw.view(np.uint16) if per == 2 else raw
    positions = d_positions(shape.n, per).reshape(-1)
    matrix = np.empty((n, ROWS * shape.n), elements.dtype)
    matrix[:, positions] = elements
    c = np.ascontiguousarray(matrix.reshape(n, ROWS, shape.n).swapaxes(1, 2))
    if any(operands.negated):
        a = _negative(a, shape) if operands.negated[0] else a
        b = _negative(b, shape) if operands.negated[1] else b
    d = computation(shape)(a, b, c)
    flat = d.swapaxes(1, 2).reshape(n, -1)[:, positions]
    words = np.ascontiguousarray(flat).view(np.uint32).reshape(n, -1, 32)
    result: Array = np.ascontiguousarray(words.swapaxes(0, 1))
    return result


def _negative(raw: Array, shape: Shape) -> Array:
    sign = raw.dtype.type(1 << 8 * shape.element_bytes - 1)
    flipped: Array = raw ^ sign
    return flipped


def _with_undefined_rows(c: Cohort, operands: _Operands, bad: Array | None) -> Array | None:
    """An undefined element of a makes its row of the result undefined: lanes [registers, n, 32]."""
    lanes = [c.undefined.get(slot) for slot in operands.left]
    if all(found is None for found in lanes):
        return bad
    found = np.zeros((len(operands.sums), c.num_warps, 32), bool)
    for number, undefined in enumerate(lanes):
        if undefined is None:
            continue
        groups = np.repeat(undefined.reshape(-1, 8, 4).any(2), 4, 1)  # rows by lane / 4
        half = number % 2  # registers 1 and 3 hold rows g + 8
        per = 1 if operands.shape.d.name == "f16" else 2
        rows = np.arange(len(operands.sums)) // per % 2 == half
        found[rows] |= groups
    return found if bad is None else found | bad
