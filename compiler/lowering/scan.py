"""Lowering of scans along any dimension of any layout.

The index along the dimension is written in mixed radix by the layout's modes: some digits number
the thread's locals, some are digits of the thread number. The digits are worked through from the
innermost to the outermost. After each step, for the block of elements that differ only in the
digits done so far,

    prefix[local]   the element combined with all before it in its block
    total[block]    the whole block combined, known to all threads that share it

and the next digit d combines what lies before it: `prefix = total of smaller d (+) prefix`. A local
digit is a loop over registers; a thread digit within a warp is an exchange in log2 steps; any other
goes through shared memory. The order is fixed by the layout, so results repeat bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from tileloom.layouts import RegisterLayout
from tileloom.vm.expr import Const
from tileloom.vm.instructions import elementwise as vm
from tileloom.vm.instructions.reduction import Scan
from tileloom.vm.ir import Value
from tileloom.vm.types import RegType

from ..emit.context import Context
from ..emit.elements import pack_elements, scalar_element, unpack_elements
from ..emit.exchange import Carrier, element_bytes, warp_pieces, within_warp
from ..emit.linear import Linear
from ..emit.tiles import Tile
from ..ptx import Address, Operand, Register, RegisterKind
from . import operations
from .registry import Demand, layout_demand, layout_rule, lowering, scratch

if TYPE_CHECKING:
    from ..passes.inference import Inference

PRED = RegisterKind.PRED
_OPERATIONS = {
    "add": vm.Add, "mul": vm.Mul, "max": vm.Max, "min": vm.Min,
    "and": vm.And, "or": vm.Or, "xor": vm.Xor,
}  # fmt: skip


class Digit(NamedTuple):
    """`extent` values, `step` apart in the thread number (`spatial`) or the local number."""

    spatial: bool
    step: int
    extent: int


def scan_digits(layout: RegisterLayout, dim: int) -> list[Digit]:
    """The digits of a dimension, innermost first; thread digits cut where a warp ends."""
    found: list[tuple[int, list[Digit]]] = []
    for step, extent, stride in layout.spatial_modes_of(dim):
        found.append((stride, [Digit(True, *part) for part in warp_pieces(step, extent)]))
    for step, extent, stride in layout.local_modes_of(dim):
        found.append((stride, [Digit(False, step, extent)]))
    found.sort(key=lambda entry: entry[0])
    return [digit for _, digits in found for digit in digits]


class _Scan:
    """One scan; `prefix` of an exclusive one is None where nothing comes before."""

    def __init__(self, context: Context, instruction: Scan, source: Tile) -> None:
        dtype = source.type.dtype
        self.context = context
        self.layout = source.type.placed
        self.carrier = Carrier(context, dtype)
        self.scratch = context.scratch.get(instruction, 0)
        self._emit = operations.element_operation(_OPERATIONS[instruction.op], dtype)
        self._select = operations.element_operation(vm.Where, dtype)
        self.neutral = scalar_element(context, Const(instruction.neutral(dtype)), dtype)
        elements = unpack_elements(context, source, range(source.num_locals))
        self.prefix: list[Register | None] = [
            None if instruction.exclusive else e for e in elements
        ]
        # A block is named by its first local; `members` are the locals in it.
        self.total = dict(enumerate(elements))
        self.members = {number: [number] for number in range(source.num_locals)}

    def _combine(self, before: Register, after: Register | None) -> Register:
        return before if after is None else self._emit(self.context, before, after)

    def _where(self, condition: Register, then: Register, otherwise: Register | None) -> Register:
        other: Operand = self.neutral if otherwise is None else otherwise
        return self._select(self.context, condition, then, other)

    def locals_digit(self, step: int, extent: int) -> None:
        """Blocks of one thread that follow each other."""
        for first in [key for key in self.total if key // step % extent == 0]:
            carry = self.total[first]
            for key in range(first + step, first + step * extent, step):
                before, own = carry, self.total.pop(key)
                carry = self._combine(before, own)
                for local in self.members[key]:
                    # The block's own total is its last prefix: one operation serves both.
                    mine = self.prefix[local]
                    self.prefix[local] = carry if mine is own else self._combine(before, mine)
                self.members[first] += self.members.pop(key)
            self.total[first] = carry

    def lanes_digit(self, step: int, extent: int) -> None:
        """Blocks of neighbouring lanes: an inclusive scan of the totals by doubling distances."""
        pure, shuffle = self.context.builder.pure, self.carrier.shuffle
        place = self.context.scalars.register(self.context.digit(step, extent))
        thread = self.context.thread()
        last = pure("or.b32", RegisterKind.B32, thread, step * (extent - 1))
        for key, own in self.total.items():
            total, distance = own, 1
            while distance < extent:
                other = shuffle("up", total, step * distance, 0)
                reaches = pure("setp.ge.s32", PRED, place, distance)
                total = self._where(reaches, self._combine(other, total), total)
                distance *= 2
            before = shuffle("up", total, step, 0)
            after_first = pure("setp.ge.s32", PRED, place, 1)
            for local in self.members[key]:
                mine = self.prefix[local]
                if mine is own:
                    self.prefix[local] = total
                else:
                    self.prefix[local] = self._where(after_first, self._combine(before, mine), mine)
            self.total[key] = shuffle("idx", total, last)

    def shared_digit(self, step: int, extent: int) -> None:
        """Blocks of any threads: everyone reads the totals of all and combines them in order."""
        context, scalars, size = self.context, self.context.scalars, self.carrier.size
        thread = Linear.of(context.thread())
        inner, outer = scalars.modulo(thread, step), scalars.floor_divide(thread, step * extent)
        others = self.layout.num_threads // extent
        column = Linear.of(context.shared_base()) + (outer * step + inner) * size
        digit = context.digit(step, extent)
        row = len(self.total) * others * size
        owns = context.owns(self.layout)
        predicate = owns if isinstance(owns, Register) else None
        place = scalars.in_register(column + digit * row)
        context.barrier()
        for number, total in enumerate(self.total.values()):
            address = Address(place, self.scratch + number * others * size)
            self.carrier.put(address, total, predicate)
        context.barrier()
        start = scalars.in_register(column)

        def read(row_number: int, number: int) -> Register:
            offset = self.scratch + row_number * row + number * others * size
            return self.carrier.get(Address(start, offset), predicate)

        for number, key in enumerate(list(self.total)):
            self._gather(key, number, digit, extent, read)

    def _gather(
        self,
        key: int,
        number: int,
        digit: Linear,
        extent: int,
        read: Callable[[int, int], Register],
    ) -> None:
        """Combines the totals of all rows of one column; keeps what lies before the own row."""
        context = self.context
        place = context.scalars.register(digit)
        total, before = read(0, number), None
        for row in range(1, extent):
            if before is None:
                before = total
            else:
                reached = context.builder.pure("setp.ge.s32", PRED, place, row)
                before = self._where(reached, total, before)
            total = self._combine(total, read(row, number))
        self.total[key] = total
        if before is None:
            return
        after_first = context.builder.pure("setp.ge.s32", PRED, place, 1)
        for local in self.members[key]:
            mine = self.prefix[local]
            self.prefix[local] = self._where(after_first, self._combine(before, mine), mine)


@lowering(Scan)
def lower_scan(context: Context, instruction: Scan) -> None:
    result = instruction.result
    assert result is not None and isinstance(result.type, RegType)
    scan = _Scan(context, instruction, context.tile(instruction.value))
    for digit in scan_digits(scan.layout, instruction.dim):
        if not digit.spatial:
            scan.locals_digit(digit.step, digit.extent)
        elif within_warp(digit.step, digit.extent):
            scan.lanes_digit(digit.step, digit.extent)
        else:
            scan.shared_digit(digit.step, digit.extent)
    elements = [scan.neutral if prefix is None else prefix for prefix in scan.prefix]
    context.bind(result, pack_elements(context, result.type, elements))


@scratch(Scan)
def scan_scratch(instruction: Scan, num_threads: int) -> int:
    """Bytes of shared memory a scan needs."""
    value = instruction.value
    assert isinstance(value, Value) and isinstance(value.type, RegType)
    layout = value.type.placed
    blocks, most = layout.num_locals, 0
    for digit in scan_digits(layout, instruction.dim):
        if not digit.spatial:
            blocks //= digit.extent
        elif not within_warp(digit.step, digit.extent):
            most = max(most, blocks)
    return layout.num_threads * most * element_bytes(value.type.dtype)


@layout_rule(Scan)
def infer_scan(inference: Inference, instruction: Scan) -> None:
    inference.propose(instruction.result, inference.known(instruction.value))
    inference.propose(instruction.value, inference.known(instruction.result))


@layout_demand(Scan)
def scan_demand(instruction: Scan, num_threads: int) -> Demand:
    value = instruction.value
    assert isinstance(value, Value) and isinstance(value.type, RegType)
    return [("result", value.type.placed)]
