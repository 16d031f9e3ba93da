"""Operands that tensor cores read from shared memory: their matrix descriptors at run time."""

from __future__ import annotations

from dataclasses import dataclass

from tileloom.layouts import MatrixDescriptor, describe_operand, matrix_operand
from tileloom.vm.diagnostics import LayoutMismatchError, Location
from tileloom.vm.expr import Expr
from tileloom.vm.ir import Value

from ..ptx import Register, RegisterKind, Vector
from .addresses import contribution
from .context import Context, SharedBinding
from .linear import Linear

B32, B64 = RegisterKind.B32, RegisterKind.B64
_START_BITS = 14  # of the field of a descriptor that says where the operand starts


@dataclass(frozen=True, eq=False)
class SharedOperand:
    """A shared tile cut into boxes of `size` rows (or columns) by `step` of k.

    `indices` is where the warp group's first box starts, one a dimension.
    """

    value: Value
    binding: SharedBinding
    descriptor: MatrixDescriptor
    mn_dim: int
    k_dim: int
    size: int
    step: int
    indices: tuple[Linear, ...]

    def address(self, context: Context, block: int, step: int) -> Register:
        """The descriptor of a box: its start in units of 16 bytes, and the constant fields."""
        binding = self.binding
        moved = {self.mn_dim: block * self.size, self.k_dim: step * self.step}
        total = Linear({}, binding.layout.start)
        for dim, index in enumerate(self.indices):
            total = total + contribution(context, binding, dim, index, moved.get(dim, 0))
        place = total * (binding.dtype.bits // 8) + binding.offset
        assert place.const % 16 == 0, f"{self.value} starts inside a unit"
        # Boxes share the variable part, unless it could lie before the memory or behind it.
        variable = place.without_const()
        apart = place.const >= 0 and context.facts.is_nonnegative(variable)
        const = place.const if apart else 0
        pure = context.builder.pure
        base = Linear.of(context.shared_base()) + (variable if apart else place)
        units = self._units(context, context.scalars.in_register(base))
        # Only the lower half depends on the place; a sum of 64 bits would hide that.
        high, low = divmod(self.descriptor.bits + const // 16, 1 << 32)
        lower = pure("add.s32", B32, units, low)
        return pure("mov.b64", B64, Vector((lower, pure("mov.b32", B32, high))))

    def _units(self, context: Context, address: Register) -> Register:
        """An address as the descriptor has it: in a cluster its upper bits say whose it is, and
        would lie in the descriptor's next field."""
        pure = context.builder.pure
        if context.cluster_size > 1:
            return pure("bfe.u32", B32, address, 4, _START_BITS)
        return pure("shr.u32", B32, address, 4)


def shared_operand(
    context: Context,
    value: Value,
    offsets: tuple[Expr, ...],
    *,
    is_left: bool,
    size: int,
    step: int,
    moved: Linear,
    location: Location | None,
) -> SharedOperand:
    """A shared operand from its index list on; `moved` is where the warp group's blocks begin
    along m or n.

    Raises:
        LayoutError: its layout is none that a descriptor can say.
        LayoutMismatchError: its index list may point inside a box.
    """
    binding = context.shared[value]
    mn_dim, k_dim = operand_dims(binding.layout.rank, is_left)
    found = describe_operand(binding.layout, binding.dtype.bits, size, mn_dim=mn_dim, k_dim=k_dim)
    indices = [context.scalars.integer(offset) for offset in offsets]
    for dim, unit in ((k_dim, step), (mn_dim, size if found.transposed else 8)):
        if context.facts.divisor(indices[dim]) % unit:
            raise LayoutMismatchError(
                f"index {dim} of `{value.label}` may be no multiple of {unit}",
                location,
                hint=f"`assume` that {unit} divides it",
            )
    indices[mn_dim] = indices[mn_dim] + moved
    return SharedOperand(value, binding, found, mn_dim, k_dim, size, step, tuple(indices))


def operand_dims(rank: int, is_left: bool) -> tuple[int, int]:
    """The dimensions of a shared operand along m or n, and along k."""
    return (rank - 2, rank - 1) if is_left else (rank - 1, rank - 2)


def legal_layout(shape: tuple[int, ...], bits: int, is_left: bool) -> str:
    """The text of a layout that would do, for a hint."""
    rows, columns = shape[-2:]
    if is_left:
        return str(matrix_operand(rows, columns, bits))
    return str(matrix_operand(columns, rows, bits, bits == 16).permute(1, 0))
