"""Lowering of asynchronous copies from global to shared memory."""

from __future__ import annotations

from tileloom.layouts import RegisterLayout
from tileloom.vm.instructions.memory import CopyAsync, CopyAsyncCommit, CopyAsyncWait
from tileloom.vm.ir import Value
from tileloom.vm.types import GlobalType, RegType

from ..emit.addresses import Access, build_access
from ..emit.caching import cache_hints
from ..emit.chunks import Chunk, Element, plan_chunks
from ..emit.context import Context, LoweringError
from ..emit.tiles import vector_layout
from ..ptx import Operand, Register, RegisterKind
from .memory import load_chunk, memory_binding
from .registry import lowering

B32 = RegisterKind.B32


def copy_layout(context: Context, instruction: CopyAsync) -> RegisterLayout:
    """Which thread copies what: unless said, runs of up to 16 bytes along the last dimension."""
    if instruction.layout is not None:
        return instruction.layout
    source = instruction.source
    assert isinstance(source, Value) and isinstance(source.type, GlobalType)
    bits = source.type.dtype.bits
    return vector_layout(context.num_threads, instruction.shape, bits)


@lowering(CopyAsync)
def lower_copy_async(context: Context, instruction: CopyAsync) -> None:
    source, target = instruction.source, instruction.target
    assert isinstance(source, Value) and isinstance(source.type, GlobalType)
    layout = copy_layout(context, instruction)
    type_ = RegType(source.type.dtype, instruction.shape, layout)
    bits = type_.dtype.bits
    reads = build_access(
        context,
        memory_binding(context, source),
        instruction.source_offsets,
        instruction.dims,
        type_,
        False,
    )
    writes = build_access(
        context, memory_binding(context, target), instruction.target_offsets, None, type_, False
    )
    owns = context.owns(layout, single_replica=True)
    if not reads.byte_aligned or not writes.byte_aligned:
        raise LoweringError("`copy_async`: elements start inside a byte", instruction.location)
    widths = [reads.alignment(key) for key in reads.bases]
    widths += [writes.alignment(key) for key in writes.bases]
    alignment: dict[object, int] = dict.fromkeys(reads.bases, min(widths))
    targets = writes.elements
    chunks = plan_chunks(reads.elements, bits, alignment)
    if not all(_lands_whole(targets, chunk, bits) for chunk in chunks):
        chunks = plan_chunks(reads.elements, bits, alignment, max(1, bits // 8))
        if not all(_lands_whole(targets, chunk, bits) for chunk in chunks):
            raise LoweringError(
                "`copy_async`: elements of one byte land in several", instruction.location
            )
    hints = cache_hints(context, instruction.cache)[1]
    for chunk in chunks:
        number, inside = divmod(chunk.fields[0].tile_bit, bits)
        landing = targets[number]
        place = (landing.key, (landing.bit + inside) // 8)
        _copy_chunk(reads, writes, chunk, place, owns, hints)


def _lands_whole(targets: list[Element], chunk: Chunk, bits: int) -> bool:
    """Whether a chunk's elements lie side by side in the target too, aligned as in the source."""
    first, inside = divmod(chunk.fields[0].tile_bit, bits)
    last = (chunk.fields[-1].tile_bit + chunk.fields[-1].width - 1) // bits
    landing = targets[first]
    # Part of a byte can't be copied: the rest of it in the target would be lost.
    covered = sum(field.width for field in chunk.fields)
    if covered != 8 * chunk.width or (landing.bit + inside) % 8:
        return False
    if len(chunk.fields) > 1 or (landing.bit // 8 - chunk.byte) % min(chunk.width, 16):
        return False
    return all(
        e.key == landing.key and e.bit == landing.bit + bits * number
        for number, e in enumerate(targets[first : last + 1])
    )


def _copy_chunk(
    reads: Access,
    writes: Access,
    chunk: Chunk,
    place: tuple[object, int],
    owns: Register | bool,
    hints: tuple[Operand, ...],
) -> None:
    """One cp.async to a base and byte of the target.

    Below 4 bytes the hardware has none, so the bytes go through a register.
    """
    context = reads.context
    builder, scalars = context.builder, context.scalars
    inside = reads.condition(chunk.mask)
    source = reads.address(chunk.key, chunk.byte)  # type: ignore[arg-type]
    target = writes.address(*place)  # type: ignore[arg-type]
    allowed = scalars.conjunction(owns, writes.condition(None))
    if allowed is False:
        return
    predicate = allowed if isinstance(allowed, Register) else None
    if chunk.width < 4 or inside is False:
        words = load_chunk(reads, chunk, "ld.global")
        kind = f"u{8 * chunk.width}" if chunk.width < 4 else "b32"
        for number, word in enumerate(words):
            each = target._replace(offset=target.offset + 4 * number)
            builder.emit(f"st.shared.{kind}", (), (each, word), predicate)
        return
    cache = "cg" if chunk.width == 16 else "ca"
    srcs: tuple[Operand, ...] = (target, source, chunk.width)
    if isinstance(inside, Register):
        # A source size of 0 fills the target with zeros and reads nothing.
        srcs = (*srcs, builder.pure("selp.b32", B32, chunk.width, 0, inside))
    hint = ".L2::cache_hint" if hints else ""
    builder.emit(f"cp.async.{cache}.shared.global{hint}", (), (*srcs, *hints), predicate)


@lowering(CopyAsyncCommit)
def lower_copy_async_commit(context: Context, instruction: CopyAsyncCommit) -> None:
    context.builder.emit("cp.async.commit_group")


@lowering(CopyAsyncWait)
def lower_copy_async_wait(context: Context, instruction: CopyAsyncWait) -> None:
    context.builder.emit("cp.async.wait_group", (), (instruction.pending,))
