"""The access of a tile with one coordinate from a tile of indices (`addresses` has the others).

Elements with the same index register share a base address, so that a row fetched by one index is
still read in wide pieces.
"""

from __future__ import annotations

from collections.abc import Sequence

from tileloom.vm.dtypes import Dtype
from tileloom.vm.expr import Expr
from tileloom.vm.types import RegType

from ..ptx import Register, RegisterKind
from .addresses import Access, contribution, find_byte_bases
from .bounds import Masks
from .chunks import Element
from .context import Context, GlobalBinding, SharedBinding
from .elements import unpack_elements
from .linear import Facts, Linear
from .packed import element_positions
from .tiles import Tile

B32, B64 = RegisterKind.B32, RegisterKind.B64


def index_forms(context: Context, tile: Tile, numbers: Sequence[int]) -> list[Linear]:
    """The elements with these local numbers as indices, each register only once."""
    forms: dict[Register, Linear] = {}
    registers = unpack_elements(context, tile, numbers)
    for register in registers:
        if register not in forms:
            forms[register] = Linear.of(_fixed(context, register, tile.type.dtype))
    return [forms[register] for register in registers]


def _fixed(context: Context, register: Register, dtype: Dtype) -> Register:
    """The index in a register that nobody writes again, with what its dtype says about it."""
    compute = context.builder.compute
    unsigned = dtype.kind == "uint"
    if unsigned and dtype.bits == 32:
        register = compute("cvt.u64.u32", B64, register)
    elif register.region is None or dtype.bits >= 32:
        register = compute(f"mov.{register.kind.ptx_type}", register.kind, register)
    if unsigned and dtype.bits < 64:
        context.facts.learn(register, Facts(0, (1 << dtype.bits) - 1))
    return register


def build_indexed_access(
    context: Context,
    binding: GlobalBinding | SharedBinding,
    offsets: tuple[Expr, ...],
    dims: tuple[int, ...] | None,
    type_: RegType,
    dim: int,
    index: Sequence[Linear],
    in_bounds: bool,
) -> Access:
    """The access of a tile of `type_` whose element number i lies at `index[i]` along memory
    dimension `dim`, and along `dims` otherwise."""
    rank = len(offsets)
    if dims is None:
        dims = tuple(range(rank - type_.rank, rank))
    along = {memory: tile for tile, memory in enumerate(dims) if memory != dim}
    scalars = context.scalars
    bases = [scalars.as_offset(scalars.integer(offset)) for offset in offsets]
    for memory_dim, tile_dim in along.items():
        bases[memory_dim] += context.spatial_index(type_.placed, tile_dim)
    access = Access(context, binding, [], {}, {})
    places = _Places(access, bases, dim, in_bounds)
    for memory_dim in range(rank):
        if memory_dim != dim and memory_dim not in along:
            places.fix(memory_dim)
    classes = {m: places.masks.classes(m, type_.placed, t) for m, t in along.items()}
    bits = type_.dtype.bits
    positions = element_positions(type_.packing, bits, type_.placed.num_locals)
    for number, local in enumerate(type_.placed.local_table.tolist()):
        values = {m: local[t] for m, t in along.items()}
        known = {m: c[values[m]] for m, c in classes.items() if c is not None}
        key, const = places.place(index[number], values)
        mask = places.mask(index[number], known)
        access.elements.append(Element(key, mask, const * bits, positions[number]))
    find_byte_bases(access, bits)
    return access


class _Places:
    """Fills an access's bases and masks, each made once."""

    def __init__(self, access: Access, bases: list[Linear], dim: int, in_bounds: bool) -> None:
        self.access = access
        self.bases = bases
        self.dim = dim
        self.in_bounds = in_bounds
        self.masks = Masks(access.context, access.binding, bases, in_bounds)
        start = access.binding.layout.start if isinstance(access.binding, SharedBinding) else 0
        self._common = Linear({}, start)
        self._parts: dict[tuple[int, int], Linear] = {}
        self._indexed: dict[Linear, tuple[Linear, bool | Register]] = {}
        self._keys: dict[frozenset[tuple[Register, int]], int] = {}

    def fix(self, memory_dim: int) -> None:
        """A dimension along which the tile does not extend."""
        self._common += self._part(memory_dim, 0)
        access = self.access
        inside = self.masks.of(memory_dim, 0)
        access.common = access.context.scalars.conjunction(access.common, inside)

    def place(self, index: Linear, values: dict[int, int]) -> tuple[tuple[int, ...], int]:
        """The key of an element's base, and its constant offset in elements."""
        total = self._common + self._at(index)[0]
        for memory_dim, value in values.items():
            total += self._part(memory_dim, value)
        terms = frozenset(total.terms.items())
        key = (self._keys.setdefault(terms, len(self._keys)),)
        self.access.bases.setdefault(key, total.without_const())
        return key, total.const

    def mask(self, index: Linear, known: dict[int, int]) -> object:
        """The class of an element's bounds condition; None if it is always inside."""
        condition = self._at(index)[1]
        if condition is True and not known:
            return None
        mask = (index, *known.items())
        if mask not in self.access.masks:
            parts = [self.masks.of(memory_dim, value) for memory_dim, value in known.items()]
            whole = self.access.context.scalars.conjunction(condition, *parts)
            self.access.masks[mask] = whole
        return mask

    def _part(self, memory_dim: int, value: int) -> Linear:
        part = self._parts.get((memory_dim, value))
        if part is None:
            access = self.access
            part = contribution(
                access.context, access.binding, memory_dim, self.bases[memory_dim], value
            )
            self._parts[memory_dim, value] = part
        return part

    def _at(self, index: Linear) -> tuple[Linear, bool | Register]:
        """What an index adds to the element offset, and when it is inside."""
        found = self._indexed.get(index)
        if found is None:
            access, dim = self.access, self.dim
            base = self.bases[dim] + index
            bases = [base if d == dim else b for d, b in enumerate(self.bases)]
            inside = Masks(access.context, access.binding, bases, self.in_bounds).of(dim, 0)
            part = contribution(access.context, access.binding, dim, base, 0)
            found = self._indexed[index] = (part, inside)
        return found
