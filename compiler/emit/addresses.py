"""Addresses and bounds masks of a register tile's elements in global or shared memory.

The index of an element is `offset + share of the thread + share of the local number`, so an address
is a run-time base that a thread computes once, plus a constant: loads of one tile differ in their
immediate offsets only. Where a stride is a run-time value, each distinct local step along that
dimension has a base of its own (a `key`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tileloom.layouts import RegisterLayout, Swizzle
from tileloom.vm.expr import Expr
from tileloom.vm.types import RegType

from ..ptx import Address, Operand, Register, RegisterKind
from .bounds import Bounds, Condition, Masks
from .chunks import Element
from .context import Context, GlobalBinding, SharedBinding
from .linear import Facts, Linear, gcd
from .packed import element_positions
from .scalars import Scalars
from .tiles import local_indices, local_values

B32, B64 = RegisterKind.B32, RegisterKind.B64
Key = tuple[int, ...]

# Beyond this an immediate offset is added to the base: hardware has 24 signed bits.
_MAX_IMMEDIATE = 1 << 22


@dataclass(eq=False)
class Access:
    """Where each element of a tile lies, as seen by one thread.

    `bases` are in elements without their constants; `elements` hold bits. `masks` are conditions
    by class; a class of None needs none. `hints` are a load's operands after the address.
    """

    context: Context
    binding: GlobalBinding | SharedBinding
    elements: list[Element]
    bases: dict[Key, Linear]
    masks: dict[object, Condition]
    common: Condition = True
    byte_bases: dict[Key, Linear] = field(default_factory=dict)
    hints: tuple[Operand, ...] = ()
    promised: dict[Key, int] = field(default_factory=dict)  # what divides byte_bases besides
    bounds: Bounds | None = None  # what `masks` come from, where they are left to `ragged`

    @property
    def is_global(self) -> bool:
        return isinstance(self.binding, GlobalBinding)

    @property
    def space(self) -> str:
        if isinstance(self.binding, GlobalBinding):
            return "global"
        return "shared" if self.binding.base is None else "shared::cluster"

    @property
    def swizzle(self) -> Swizzle | None:
        return None if isinstance(self.binding, GlobalBinding) else self.binding.layout.swizzle

    @property
    def byte_aligned(self) -> bool:
        """True if every base starts at a byte whatever the run-time values are."""
        return all(key in self.byte_bases for key in self.bases)

    def alignment(self, key: Key) -> int:
        """A power of two that divides base(key) in bytes, at most 16 counted."""
        known = self.context.facts.divisor(self.byte_bases[key])
        divisor = max(known & -known or 16, self.promised.get(key, 1))
        if isinstance(self.binding, GlobalBinding):
            return min(divisor, self.binding.alignment, 16)
        return min(divisor, 16)

    def address(self, key: Key, byte: int) -> Address:
        """The operand for the byte at `byte` after base(key)."""
        if isinstance(self.binding, GlobalBinding):
            base = self.byte_bases[key]
            if self.promised:  # sums of what all keys have in common are computed once
                forms = [form.terms.items() for form in self.byte_bases.values()]
                terms = sorted(
                    base.terms.items(), key=lambda term: any(term not in f for f in forms)
                )
                base = Linear(dict(terms), base.const)
            return self._global_address(base, self.binding.pointer, byte)
        return shared_address(self.context, self.binding, self.byte_bases[key] + byte)

    def _global_address(self, base: Linear, pointer: Register, byte: int) -> Address:
        form = Linear({pointer: 1, **base.terms}, base.const)
        byte += form.const
        extra = byte if abs(byte) > _MAX_IMMEDIATE else 0
        register = self.context.scalars.in_register(form.without_const() + extra, wide=True)
        return Address(register, byte - extra)

    def condition(self, mask: object) -> Condition:
        """When elements of a mask class are inside the memory's extents."""
        own = True if mask is None else self.masks[mask]
        return self.context.scalars.conjunction(self.common, own)


def shared_address(context: Context, binding: SharedBinding, place: Linear) -> Address:
    """The operand for a byte of a shared tile, before the swizzle at `place` from its start."""
    swizzle = binding.layout.swizzle
    start = Linear.of(binding.base or context.shared_base())
    if swizzle is None:
        register = context.scalars.in_register(start + place.without_const())
        return Address(register, place.const + binding.offset)
    outer, inner = divmod(place.const, swizzle.period)
    swizzled = _swizzled(context, place.without_const() + inner, swizzle)
    register = context.scalars.in_register(start + swizzled.without_const())
    return Address(register, outer * swizzle.period + swizzled.const + binding.offset)


def _swizzled(context: Context, place: Linear, swizzle: Swizzle) -> Linear:
    value = context.scalars.register(place)
    if isinstance(value, int):
        return Linear({}, swizzle(value))
    pure = context.builder.pure
    mask = ((1 << swizzle.bits) - 1) << swizzle.base
    moved = pure("and.b32", B32, pure("shr.u32", B32, value, swizzle.shift), mask)
    return Linear.of(pure("xor.b32", B32, value, moved))


def build_access(
    context: Context,
    binding: GlobalBinding | SharedBinding,
    offsets: tuple[Expr, ...],
    dims: tuple[int, ...] | None,
    type_: RegType,
    in_bounds: bool,
    alignment: int = 0,
    near: bool = False,
) -> Access:
    """The access of a tile of `type_` at `offsets` along memory dimensions `dims`.

    With an `alignment` that its first element promises, masks are left to `ragged`; `near` keeps
    what they are computed from in the current region.
    """
    layout = type_.placed
    rank = len(offsets)
    if dims is None:
        dims = tuple(range(rank - type_.rank, rank))
    scalars = context.scalars
    starts = [scalars.as_offset(scalars.integer(offset)) for offset in offsets]
    bases = list(starts)
    for dim, memory_dim in enumerate(dims):
        bases[memory_dim] = bases[memory_dim] + context.spatial_index(layout, dim)
        if near and local_values(layout, dim) != (0,):
            bases[memory_dim] = _copied(context, bases[memory_dim])
    places = _places(context, binding, bases, dims, layout)
    access = Access(context, binding, [], places.bases, {})
    masks = Masks(context, binding, bases, in_bounds)
    for memory_dim in range(rank):
        if memory_dim not in dims:
            access.common = context.scalars.conjunction(access.common, masks.of(memory_dim, 0))
    classes = [masks.classes(dims[d], layout, d) for d in range(type_.rank)]
    positions = element_positions(type_.packing, type_.dtype.bits, layout.num_locals)
    local, bits = local_indices(layout), type_.dtype.bits
    limited = [(d, c) for d, c in enumerate(classes) if c is not None]
    bounds = Bounds(masks, [dims[d] for d, _ in limited])
    for number, (key, const) in enumerate(zip(places.keys, places.consts, strict=True)):
        mask = None
        if limited:
            index = local[number]
            mask = tuple([c[index[d]] for d, c in limited])
            if not alignment and mask not in access.masks:
                access.masks[mask] = bounds.inside(mask)
        access.elements.append(Element(key, mask, const * bits, positions[number]))
    find_byte_bases(access, bits)
    if alignment:
        access.bounds = bounds
        _promise(access, starts, alignment)
    return access


def _copied(context: Context, form: Linear) -> Linear:
    """The form in a register of the current region: what follows from it stays there too."""
    if form.is_const:
        return form
    rest = form.without_const()
    source = context.scalars.in_register(rest, context.scalars.is_wide(rest))
    copy = context.builder.compute(f"mov.{source.kind.ptx_type}", source.kind, source)
    context.facts.learn(copy, context.facts.facts(rest))
    return Linear({copy: 1}, form.const)


def _promise(access: Access, starts: list[Linear], alignment: int) -> None:
    """What the promise about the element at `starts` says of the bases."""
    context, binding = access.context, access.binding
    start = Linear({}, 0)
    for dim, form in enumerate(starts):
        start = start + contribution(context, binding, dim, form, 0)
    for key, base in access.bases.items():
        known = context.facts.divisor((base - start) * (binding.dtype.bits // 8))
        access.promised[key] = min(alignment, known & -known or alignment)


@dataclass(eq=False)
class _Places:
    bases: dict[Key, Linear]
    keys: list[Key]
    consts: list[int]


def _places(
    context: Context,
    binding: GlobalBinding | SharedBinding,
    bases: list[Linear],
    dims: tuple[int, ...],
    layout: RegisterLayout,
) -> _Places:
    """Each local's element offset: a base by key, and a constant."""
    common = Linear({}, 0)
    if isinstance(binding, SharedBinding):
        common = common + binding.layout.start
    per_dim: list[dict[int, tuple[int, int]]] = []
    forms: list[list[Linear]] = []
    for memory_dim, base in enumerate(bases):
        if memory_dim not in dims:
            common = common + contribution(context, binding, memory_dim, base, 0)
    for dim, memory_dim in enumerate(dims):
        ids: dict[frozenset[tuple[Register, int]], int] = {}
        of_value: dict[int, tuple[int, int]] = {}
        own: list[Linear] = []
        values = local_values(layout, dim)
        moved = contributions(context, binding, memory_dim, bases[memory_dim], values)
        for value, form in zip(values, moved, strict=True):
            terms = frozenset(form.terms.items())
            if terms not in ids:
                ids[terms] = len(own)
                own.append(form.without_const())
            of_value[value] = (ids[terms], form.const)
        per_dim.append(of_value)
        forms.append(own)
    places = _Places({}, [], [])
    for local in local_indices(layout):
        found = [of_value[v] for of_value, v in zip(per_dim, local, strict=True)]
        key = tuple([identity for identity, _ in found])
        if key not in places.bases:
            total = common.without_const()
            for own, identity in zip(forms, key, strict=True):
                total = total + own[identity]
            places.bases[key] = total
        places.keys.append(key)
        places.consts.append(common.const + sum([const for _, const in found]))
    return places


def contributions(
    context: Context,
    binding: GlobalBinding | SharedBinding,
    dim: int,
    base: Linear,
    values: Sequence[int],
) -> list[Linear]:
    """What index[dim] = base + value adds to the element offset, for each of the values."""
    if isinstance(binding, GlobalBinding):
        scaled, stride = _scaled(context, base, binding.strides[dim]), binding.strides[dim]
        return [scaled + stride * value for value in values]
    return [contribution(context, binding, dim, base, value) for value in values]


def contribution(
    context: Context, binding: GlobalBinding | SharedBinding, dim: int, base: Linear, value: int
) -> Linear:
    """What index[dim] = base + value adds to the element offset."""
    if isinstance(binding, GlobalBinding):
        return _scaled(context, base, binding.strides[dim]) + binding.strides[dim] * value
    digits = binding.layout.digits_of(dim)
    if not digits:
        return Linear({}, 0)
    index = base + value
    if len(digits) == 1:
        return index * digits[0][2]
    # index = outer + inside, outer a multiple of the grain: no digit's carry crosses it, so what
    # is inside adds a constant, and neighbours share a base.
    grain = context.facts.divisor(index.without_const()) or digits[0][0] * digits[0][1]
    for step, extent, _ in digits:
        for border in (step, step * extent):
            grain = gcd(grain, border) if border % grain and grain % border else grain
    inside = index.const % grain
    outer = index + -inside
    scalars = context.scalars
    total = Linear({}, sum(inside // step % extent * stride for step, extent, stride in digits))
    for step, extent, stride in digits:
        if step * extent > grain or outer.is_const:
            digit = scalars.modulo(scalars.floor_divide(outer, step), extent)
            total = total + digit * stride
    return total


def _scaled(context: Context, form: Linear, stride: Linear) -> Linear:
    """form * stride in 64 bits, region by region so that invariant parts can be hoisted."""
    if stride.is_const:
        return form * stride.const
    scalars = context.scalars
    step = scalars.in_register(stride, scalars.is_wide(stride))
    total = stride * form.const
    for group in form.by_region():
        index = scalars.in_register(group, scalars.is_wide(group))
        if step.kind is B64 or index.kind is B64:
            wide = scalars.product(_widened(group, scalars), _widened(stride, scalars))
            total = total + wide
            continue
        product = context.builder.pure("mul.wide.s32", B64, index, step)
        divisor = context.facts.divisor(group) * context.facts.divisor(stride)
        context.facts.learn(product, Facts(divisor=divisor or 1))
        total = total + Linear.of(product)
    return total


def _widened(form: Linear, scalars: Scalars) -> Linear:
    register = scalars.in_register(form, wide=True)
    scalars.facts.learn(register, Facts(divisor=scalars.facts.divisor(form) or 1))
    return Linear.of(register)


def find_byte_bases(access: Access, bits: int) -> None:
    """Fills `byte_bases` for every key whose base is a whole number of bytes."""
    context = access.context
    for key, base in access.bases.items():
        total = Linear({}, 0)
        for register, coefficient in base.terms.items():
            form = _in_bytes(context, register, coefficient * bits)
            if form is None:
                break
            total = total + form
        else:
            access.byte_bases[key] = total


def _in_bytes(context: Context, register: Register, coefficient: int) -> Linear | None:
    if coefficient % 8 == 0:
        return Linear({register: coefficient // 8})
    divisor = 1
    while coefficient * divisor % 8:
        divisor *= 2
    if context.facts.of(register).divisor % divisor:
        return None
    quotient = context.scalars.floor_divide(Linear.of(register), divisor)
    return quotient * (coefficient * divisor // 8)
