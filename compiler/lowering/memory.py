"""Lowering of views, shared tiles, loads and stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tileloom.vm.expr import Expr
from tileloom.vm.instruction import Instruction
from tileloom.vm.instructions.cluster import LoadRemote, StoreRemote
from tileloom.vm.instructions.memory import GlobalView, Load, Store
from tileloom.vm.ir import Value
from tileloom.vm.types import GlobalType, RegType

from ..emit.addresses import Access, build_access
from ..emit.bits import Piece, assemble, split_at_words
from ..emit.caching import cache_hints
from ..emit.chunks import Chunk, plan_chunks, whole_bytes
from ..emit.context import Context, GlobalBinding, LoweringError, SharedBinding
from ..emit.locals import as_words, from_words, pack_bools
from ..emit.ownership import one_owner_a_byte
from ..emit.ragged import Ragged
from ..emit.subbyte import load_elements, store_elements
from ..emit.tiles import Tile, tile_type, vector_layout
from ..ptx import Operand, Register, RegisterKind, Vector
from .matrices import load_matrices
from .registry import layout_default, lowering

if TYPE_CHECKING:
    from ..passes.inference import Inference

B32, B64 = RegisterKind.B32, RegisterKind.B64
_SELECT_BITS = 0xE4  # (a & c) | (b & ~c)


@lowering(GlobalView)
def lower_global_view(context: Context, instruction: GlobalView) -> None:
    result, pointer = instruction.result, instruction.pointer
    assert result is not None and isinstance(result.type, GlobalType)
    assert isinstance(pointer, Value)
    register = context.pointers[pointer]
    integer = context.scalars.integer
    context.views[result] = GlobalBinding(
        register,
        instruction.alignment,
        result.type.dtype,
        tuple(integer(extent) for extent in result.type.shape),
        tuple(integer(stride) for stride in result.type.strides),
    )


def memory_binding(context: Context, operand: Value | Expr) -> GlobalBinding | SharedBinding:
    """The memory an operand names."""
    assert isinstance(operand, Value)
    found = context.views.get(operand) or context.shared.get(operand)
    assert found is not None, f"no memory behind %{operand.name}"
    return found


def tile_access(
    context: Context,
    binding: GlobalBinding | SharedBinding,
    instruction: Load | Store | LoadRemote | StoreRemote,
    type_: RegType,
    near: bool = False,
) -> Access:
    """A tile's elements in memory, as the threads that hold it access them."""
    place = (instruction.offsets, instruction.dims)
    alignment = instruction.alignment if isinstance(instruction, Load | Store) else 0
    access = build_access(context, binding, *place, type_, instruction.in_bounds, alignment, near)
    access.common = context.scalars.conjunction(access.common, context.owns(type_.placed))
    return access


@lowering(Load)
def lower_load(context: Context, instruction: Load) -> None:
    result = instruction.result
    assert result is not None and isinstance(result.type, RegType)
    binding = memory_binding(context, instruction.source)
    access = tile_access(context, binding, instruction, result.type)
    if isinstance(binding, SharedBinding):
        words = load_matrices(access, binding, instruction, result.type)
        if words is not None:
            context.bind(result, words)
            return
    modifiers, access.hints = cache_hints(context, instruction.cache if access.is_global else "")
    opcode = f"ld.{access.space}{modifiers}"
    if access.bounds is None:
        context.bind(result, load_tile(access, result.type, opcode))
        return
    near = partial(tile_access, context, binding, instruction, result.type, near=True)
    context.bind(result, _load_ragged(access, near, result.type, opcode))


def _load_ragged(
    access: Access, near: Callable[[], Access], type_: RegType, opcode: str
) -> list[Register]:
    """The words of a tile that may begin and end inside a thread's run of neighbours."""
    context, ragged = access.context, Ragged(access, type_.dtype.bits)
    words = load_words(ragged.whole, type_, opcode)
    if ragged.partial is False:
        return words
    kind = words[0].kind
    found = context.builder.storages(len(words), kind)
    for target, word in zip(found, words, strict=True):
        context.copy(target, word)
    with context.guarded(ragged.partial):
        rest = replace(ragged.rest(near()), hints=access.hints)
        for target, word in zip(found, load_words(rest, type_, opcode), strict=True):
            context.builder.emit(f"or.{kind.ptx_type}", (target,), (target, word))
    return found


def load_tile(access: Access, type_: RegType, opcode: str) -> list[Register]:
    """The registers of a tile loaded from memory; masked elements are zero."""
    registers = load_words(access, type_, opcode)
    if type_.dtype.kind == "bool":
        return from_words(access.context, type_, registers)
    return registers


def load_words(access: Access, type_: RegType, opcode: str) -> list[Register]:
    """Loads a thread's part of a tile into fresh registers; masked elements are zero."""
    bits, count = type_.dtype.bits, type_.placed.num_locals
    if not access.byte_aligned:
        return load_elements(access, bits, count, opcode)
    alignment: dict[object, int] = {key: access.alignment(key) for key in access.bases}
    chunks = plan_chunks(access.elements, bits, alignment)
    if bits == 64 and all(chunk.width >= 8 for chunk in chunks):
        return _load_wide(access, chunks, opcode, count)
    num_words = -(-count * bits // 32)
    words: list[Register | None] = [None] * num_words
    pieces: list[list[Piece]] = [[] for _ in range(num_words)]
    for chunk in chunks:
        loaded = load_chunk(access, chunk, opcode)
        for field in chunk.fields:
            cuts = split_at_words(field.chunk_bit, field.width, field.tile_bit)
            for source, source_bit, width, target, target_bit in cuts:
                if width == 32:
                    words[target] = loaded[source]
                    continue
                pieces[target].append(Piece(loaded[source], source_bit, width, target_bit))
    builder = access.context.builder
    found = [word or assemble(builder, parts) for word, parts in zip(words, pieces, strict=True)]
    return from_words(access.context, type_, found) if bits == 64 else found


def load_chunk(access: Access, chunk: Chunk, opcode: str) -> list[Register]:
    """The chunk's words, zero where the mask is false."""
    builder = access.context.builder
    condition = access.condition(chunk.mask)
    count = max(1, chunk.width // 4)
    registers = [builder.once(B32) for _ in range(count)]
    if condition is not True:
        for register in registers:
            builder.emit("mov.b32", (register,), (0,))
    if condition is False:
        return registers
    target: Operand = registers[0] if count == 1 else Vector(tuple(registers))
    kind = f"u{8 * chunk.width}" if chunk.width < 4 else "b32"
    vector = f".v{count}" if count > 1 else ""
    predicate = condition if isinstance(condition, Register) else None
    address = access.address(chunk.key, chunk.byte)  # type: ignore[arg-type]
    builder.emit(f"{opcode}{vector}.{kind}", (target,), (address, *access.hints), predicate)
    return registers


def _load_wide(access: Access, chunks: list[Chunk], opcode: str, count: int) -> list[Register]:
    """Elements of 64 bits: each chunk holds one or two."""
    builder = access.context.builder
    registers = [builder.once(B64) for _ in range(count)]
    for chunk in chunks:
        condition = access.condition(chunk.mask)
        numbers = [f.tile_bit // 64 + i for f in chunk.fields for i in range(f.width // 64)]
        targets = tuple(registers[number] for number in numbers)
        if condition is not True:
            for register in targets:
                builder.emit("mov.b64", (register,), (0,))
        if condition is False:
            continue
        address = access.address(chunk.key, chunk.byte)  # type: ignore[arg-type]
        operand: Operand = targets[0] if len(targets) == 1 else Vector(targets)
        vector = ".v2" if len(targets) == 2 else ""
        predicate = condition if isinstance(condition, Register) else None
        builder.emit(f"{opcode}{vector}.b64", (operand,), (address, *access.hints), predicate)
    return registers


@lowering(Store)
def lower_store(context: Context, instruction: Store) -> None:
    tile = context.tile(instruction.value)
    binding = memory_binding(context, instruction.target)
    access = tile_access(context, binding, instruction, tile.type)
    place = (instruction.offsets, instruction.dims, tile.type)
    if not one_owner_a_byte(context, binding, *place):
        raise shared_bytes(tile, instruction)
    if access.bounds is None:
        store_words(access, tile)
        return
    ragged = Ragged(access, tile.bits)
    store_words(ragged.whole, tile)
    if ragged.partial is not False:
        with context.guarded(ragged.partial):
            near = tile_access(context, binding, instruction, tile.type, near=True)
            store_words(ragged.rest(near), tile)


def check_whole_bytes(access: Access, tile: Tile, instruction: Instruction) -> None:
    """A thread can only write whole bytes: two that share one would race.

    Raises:
        LoweringError: elements share bytes between threads, or may start inside one.
    """
    if not access.byte_aligned or not whole_bytes(access.elements, tile.bits):
        raise shared_bytes(tile, instruction)


def shared_bytes(tile: Tile, instruction: Instruction) -> LoweringError:
    """The error for elements smaller than a byte whose bytes may have several threads."""
    return LoweringError(
        f"`{instruction.name}`: elements of `{tile.type.dtype.name}` may share bytes between "
        "threads",
        instruction.location,
        notes=[f"the value has layout `{tile.type.placed}`"],
        hint="give each thread whole bytes of neighbouring elements along the last dimension, and "
        "`assume` what divides run-time offsets and strides",
    )


def store_words(access: Access, tile: Tile) -> None:
    """Stores a thread's part of a tile; no other thread stores to its bytes."""
    registers, bits = tile.registers, tile.bits
    if tile.type.dtype.kind == "bool":
        registers = pack_bools(access.context, registers, bits)
    if not access.byte_aligned:
        store_elements(access, registers, bits)
        return
    alignment: dict[object, int] = {key: access.alignment(key) for key in access.bases}
    chunks = plan_chunks(access.elements, bits, alignment)
    wide = bits == 64 and all(chunk.width >= 8 for chunk in chunks)
    if bits == 64 and not wide:
        registers = as_words(access.context, tile)
    for chunk in chunks:
        _store_chunk(access, chunk, registers, wide)


def _store_chunk(access: Access, chunk: Chunk, words: list[Register], wide: bool) -> None:
    """Stores a chunk of 32-bit words, or `wide` of registers that hold 64 bits."""
    context = access.context
    condition = access.condition(chunk.mask)
    if condition is False:
        return
    if wide:
        numbers = [f.tile_bit // 64 + i for f in chunk.fields for i in range(f.width // 64)]
        values, kind = [words[number] for number in numbers], "b64"
    else:
        values = _chunk_words(context, chunk, words)
        if sum(field.width for field in chunk.fields) < 8 * chunk.width:
            values = _merged(access, chunk, values)
        kind = f"u{8 * chunk.width}" if chunk.width < 4 else "b32"
    vector = f".v{len(values)}" if len(values) > 1 else ""
    value: Operand = values[0] if len(values) == 1 else Vector(tuple(values))
    predicate = condition if isinstance(condition, Register) else None
    address = access.address(chunk.key, chunk.byte)  # type: ignore[arg-type]
    opcode = f"st.{access.space}{vector}.{kind}"
    context.builder.emit(opcode, (), (address, value), predicate)


def _merged(access: Access, chunk: Chunk, words: list[Register]) -> list[Register]:
    """Words of a chunk that covers some bytes in part: the other bits as they are in memory."""
    old = load_chunk(access, chunk, f"ld.{access.space}")
    covered = [0] * len(words)
    for field in chunk.fields:
        for word, bit, width, _, _ in split_at_words(field.chunk_bit, field.width, 0):
            covered[word] |= ((1 << width) - 1) << bit
    compute = access.context.builder.compute
    return [
        compute("lop3.b32", B32, new, before, mask, _SELECT_BITS)
        for new, before, mask in zip(words, old, covered, strict=True)
    ]


def _chunk_words(context: Context, chunk: Chunk, words: list[Register]) -> list[Register]:
    """The chunk's bits gathered from the tile's words."""
    pieces: list[list[Piece]] = [[] for _ in range(max(1, chunk.width // 4))]
    for field in chunk.fields:
        cuts = split_at_words(field.tile_bit, field.width, field.chunk_bit)
        for source, source_bit, width, target, target_bit in cuts:
            pieces[target].append(Piece(words[source], source_bit, width, target_bit))
    return [assemble(context.builder, parts) for parts in pieces]


@layout_default(Load, LoadRemote, phase=2)
def default_load(inference: Inference, instruction: Load | LoadRemote) -> None:
    result = instruction.result
    assert result is not None
    type_ = tile_type(result)
    layout = vector_layout(inference.num_threads, type_.shape, type_.dtype.bits)
    inference.propose(result, layout)


@layout_default(Store, phase=1)
def default_store(inference: Inference, instruction: Store) -> None:
    """Elements smaller than a byte: what is stored has threads that own whole bytes."""
    value = instruction.value
    type_ = tile_type(value)
    if type_.dtype.bits % 8:
        layout = vector_layout(inference.num_threads, type_.shape, type_.dtype.bits)
        inference.propose(value, layout)
