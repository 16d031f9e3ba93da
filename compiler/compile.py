"""From a VM function to PTX text: the whole pipeline on one page."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import prod

from tileloom.vm.collection import collection_paused
from tileloom.vm.diagnostics import Location, ResourceError, TargetError, at_location
from tileloom.vm.instructions.registers import SetRegisters
from tileloom.vm.ir import Function, Value, instructions
from tileloom.vm.tensor_maps import TensorMap
from tileloom.vm.text import print_function
from tileloom.vm.types import PointerType, ScalarType
from tileloom.vm.verifier import largest_start, starting_registers, verify

from . import lowering
from .emit.context import SHARED, Context
from .emit.linear import FactTable
from .emit.scalars import Scalars
from .lowering.control import lower_block
from .lowering.conversion import conversion_of
from .passes.bank_swizzles import swizzle_shared
from .passes.complements import absorb_complements
from .passes.inference import Conversion, infer_layouts
from .passes.peephole import clean, renumber
from .passes.shared import SharedPlan, plan_shared
from .passes.shared_layouts import place_shared_operands
from .ptx import (
    Address,
    Builder,
    Kernel,
    Module,
    Parameter,
    RegisterKind,
    Symbol,
    print_module,
)
from .targets import Target, lowest_version, target_named

assert lowering.__name__  # imported for its rules


@dataclass
class Lowered:
    """A compiled function.

    `parameters` are (name, PTX type) in the order of the VM's, then those of the `tensor_maps`;
    `stages` the text of the function after each pass (with `keep_stages`), `lines` the source place
    of each PTX line (from 1).
    """

    ptx: str
    kernel_name: str
    target: str
    shared_bytes: int
    num_threads: int
    parameters: tuple[tuple[str, str], ...]
    tensor_maps: tuple[TensorMap, ...]
    function: Function
    stages: dict[str, str] = field(default_factory=dict)
    lines: dict[int, Location] = field(default_factory=dict)
    conversions: list[Conversion] = field(default_factory=list)


@collection_paused()
def compile_function(
    function: Function,
    target: str = "sm_90a",
    *,
    keep_stages: bool = False,
    with_locations: bool = False,
    check_passes: bool = False,
    far: bool = False,
) -> Lowered:
    """Compiles a function, which parsing or tracing has verified.

    `keep_stages` keeps the text after each pass, `with_locations` adds `.loc` lines, `check_passes`
    verifies the function again after each pass. `far` computes places beyond 2**31 elements right
    (`tileloom.vm.ranges`).

    Raises:
        VMError: what the function asks for can't be compiled, or not for this target.
    """
    machine = target_named(target)
    _check_threads(function, machine)
    _check_clusters(function, machine)
    stages: dict[str, str] = {}
    if keep_stages:
        stages["source"] = print_function(function)
    # Every tile needs its layout before its registers can be counted.
    inferred = infer_layouts(function)
    if keep_stages:
        stages["layouts"] = print_function(inferred.function)
    placed = _with_shared_layouts(inferred.function, machine)
    if keep_stages and placed is not inferred.function:
        stages["shared"] = print_function(placed)
    inferred.function = placed
    if check_passes:
        verify(inferred.function)
    # Conversions are known now, and with them the scratch memory.
    for conversion in inferred.conversions:
        conversion.way = str(conversion_of(conversion.convert))
    shared = plan_shared(inferred.function, machine)
    kernel = _lower(inferred.function, machine, shared, far)
    version = lowest_version(machine, (item.opcode for item in kernel.instructions()))
    symbol = SHARED.name if shared.total else None
    module = Module(target, version, [kernel], symbol, shared.alignment)
    printed = print_module(module, with_locations)
    stages["ptx"] = printed.text
    return Lowered(
        ptx=printed.text,
        kernel_name=kernel.name,
        target=target,
        shared_bytes=shared.total,
        num_threads=function.num_threads,
        parameters=tuple((p.name, p.ptx_type) for p in kernel.parameters),
        tensor_maps=kernel.tensor_maps,
        function=inferred.function,
        stages=stages,
        lines=printed.lines,
        conversions=inferred.conversions,
    )


def _with_shared_layouts(function: Function, target: Target) -> Function:
    """The function with the layouts of its shared tiles, where the program states none."""
    # How wide products are, and with it how their shared operands may lie, is known now.
    placed = place_shared_operands(function)
    # What else lies in shared memory is left as it is unless its accesses would wait for banks.
    return swizzle_shared(placed, target)


def _check_threads(function: Function, target: Target) -> None:
    if function.num_threads > target.max_threads_per_block:
        raise ResourceError(
            f"`@{function.name}` has {function.num_threads} threads, `{target.name}` allows "
            f"{target.max_threads_per_block} a block",
            function.location,
            hint="use fewer warps",
        )


def _check_clusters(function: Function, target: Target) -> None:
    if prod(function.cluster) > 1 and not target.has("cluster"):
        raise TargetError(
            f"`@{function.name}` makes clusters of blocks, `{target.name}` has none",
            function.location,
            hint="clusters need sm_90a",
        )


def _lower(function: Function, target: Target, shared: SharedPlan, far: bool) -> Kernel:
    builder = Builder()
    scalars = Scalars(builder, FactTable())
    scalars.exact = far
    context = Context(
        function=function,
        target=target,
        builder=builder,
        scalars=scalars,
        mutated=mutated_values(function),
        shared_plan=shared,
    )
    parameters = [_bind_parameter(context, value) for value in function.params]
    scalars.grid, scalars.cluster = function.grid, function.cluster_extents
    with at_location(function.location):
        lower_block(context, function.body)
    builder.emit("ret")
    items = absorb_complements(clean(builder.finish()))
    counts = renumber(items)
    return Kernel(
        name=identifier(function.name),
        parameters=(*parameters, *map(_tensor_parameter, range(len(context.tensor_maps)))),
        tensor_maps=tuple(context.tensor_maps),
        num_threads=function.num_threads,
        body=items,
        register_counts=counts,
        min_blocks=function.min_blocks or _least_blocks(function),
        max_registers=_starting_registers(function),
        cluster=function.cluster_extents if context.cluster_size > 1 else None,
        texts=tuple(builder.texts),
        local_bytes=builder.local_bytes,
    )


def _tensor_parameter(number: int) -> Parameter:
    return Parameter(f"tensor_map_{number}", "b8", 64, 128)


def _least_blocks(function: Function) -> int | None:
    """Where groups change their registers, the assembler must know how many they start with."""
    changes = any(isinstance(i, SetRegisters) for i in instructions(function.body))
    return 1 if changes else None


def _starting_registers(function: Function) -> int | None:
    """What threads start with, where that is less than the most that a group takes: the assembler
    would start with those."""
    start = starting_registers(function)
    changes = [i for i in instructions(function.body) if isinstance(i, SetRegisters)]
    return None if start is None or start == largest_start(function, changes) else start


def mutated_values(function: Function) -> frozenset[Value]:
    """Every value that some instruction writes in place."""
    return frozenset(v for i in instructions(function.body) for v in i.mutated())


def identifier(name: str) -> str:
    """A VM name as a PTX identifier."""
    return re.sub(r"[^A-Za-z0-9_$]", "_", name)


def _bind_parameter(context: Context, value: Value) -> Parameter:
    name = f"param_{identifier(value.name)}"
    builder = context.builder
    source = Address(Symbol(name))
    if isinstance(value.type, PointerType):
        loaded = builder.once(RegisterKind.B64)
        builder.emit("ld.param.u64", (loaded,), (source,))
        register = builder.pure("cvta.to.global.u64", RegisterKind.B64, loaded)
        context.pointers[value] = register
        return Parameter(name, "u64")
    assert isinstance(value.type, ScalarType)
    dtype = value.type.dtype
    bits = 8 if dtype.kind == "bool" else dtype.bits
    sign = {"int": "s", "float": "f" if bits >= 32 else "b"}.get(dtype.kind, "u")
    ptx_type = f"{sign}{bits}"
    register = builder.once(RegisterKind.B64 if bits == 64 else RegisterKind.B32)
    load_type = ptx_type.replace("b16", "u16")
    builder.emit(f"ld.param.{load_type}", (register,), (source,))
    lowering.scalars.bind_loaded(context, value, register)
    return Parameter(name, ptx_type)
