"""Checks that the result rules of many instructions share, each with the user's own names."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from ..diagnostics import ShapeError, VMError, VMTypeError
from ..expr import Expr
from ..ir import Value
from ..types import GlobalType, PointerType, RegType, ScalarType, SharedType

if TYPE_CHECKING:
    from ..dtypes import Dtype
    from ..instruction import Instruction
    from ..types import Type
    from ..verifier import Kind


def describe(value: Value | Expr) -> str:
    """The name of a value, a word for an expression."""
    return f"`{value.label}`" if isinstance(value, Value) else "a scalar expression"


def type_text(type_: Type) -> str:
    """A type as the text form writes it."""
    from ..text import print_type

    return print_type(type_)


def fail(
    instruction: Instruction,
    message: str,
    *values: Value | Expr | None,
    hint: str | None = None,
    error: type[VMError] = VMTypeError,
) -> NoReturn:
    """Raises an error at an instruction, with a note for each value that tells its type."""
    notes = [
        (f"`{v.label}` is `{type_text(v.type)}`", v.location)
        for v in values
        if isinstance(v, Value)
    ]
    text = f"`{instruction.name}`: {message}"
    raise error(text, instruction.location, notes=notes, hint=hint)


def check_cache_hint(instruction: Instruction, cache: str) -> None:
    """Only known hints."""
    if cache not in ("", "stream", "keep"):
        fail(instruction, f"unknown cache hint `{cache}`", hint='"", "stream" or "keep"')


def cast_hint(operand: Value | Expr, target: Dtype) -> str:
    """How to cast an operand, in the language the program is written in."""
    label = operand.label if isinstance(operand, Value) else "%x"
    if label.startswith("%"):
        return f"`cast {label} {{dtype = {target.name}}}`"
    return f"`vm.cast({label}, vm.{target.name})`"


def reg(instruction: Instruction, operand: Value | Expr, what: str) -> RegType:
    """The operand's type, which must be a register tile."""
    if isinstance(operand, Value) and isinstance(operand.type, RegType):
        return operand.type
    fail(instruction, f"{what} must be a register tile, not {describe(operand)}", operand)


def memory(instruction: Instruction, operand: Value | Expr) -> GlobalType | SharedType:
    """The operand's type, which must be a tile in global or shared memory."""
    if isinstance(operand, Value) and isinstance(operand.type, GlobalType | SharedType):
        return operand.type
    fail(
        instruction,
        f"{describe(operand)} must be a global view or a shared tile",
        operand,
        hint="make a view of a pointer with `global_view`",
    )


def pointer(instruction: Instruction, operand: Value | Expr) -> PointerType:
    """The operand's type, which must be a pointer."""
    if isinstance(operand, Value) and isinstance(operand.type, PointerType):
        return operand.type
    fail(instruction, f"{describe(operand)} must be a pointer", operand)


def no_annotation(instruction: Instruction, annotation: Type | None, type_: Type) -> Type:
    """The inferred type; an annotation may add a layout to it, and nothing else."""
    if annotation is None or annotation == type_:
        return type_
    same = (
        isinstance(annotation, RegType)
        and isinstance(type_, RegType)
        and annotation.dtype == type_.dtype
        and annotation.shape == type_.shape
        and type_.layout is None
    )
    if same:
        return annotation
    fail(
        instruction,
        f"the result is `{type_text(type_)}`, not `{type_text(annotation)}`",
        hint="leave the type away, or write the one found",
    )


def register_annotation(instruction: Instruction, annotation: Type | None) -> RegType:
    """The `: reg<...>` an instruction can't do without."""
    if isinstance(annotation, RegType):
        return annotation
    fail(instruction, "the result's register type is missing", hint="add `: reg<dtype, [shape]>`")


def count_indices(instruction: Instruction, offsets: tuple[Expr, ...], rank: int) -> None:
    """One index for each dimension of the tile."""
    if len(offsets) != rank:
        fail(
            instruction,
            f"{len(offsets)} indices for a tile of rank {rank}",
            error=ShapeError,
            hint=f"give {rank} indices, one a dimension",
        )


class EngineCopy(Protocol):
    """The fields of an instruction that copies between global and shared memory."""

    target: Value | Expr
    target_offsets: tuple[Expr, ...]
    source: Value | Expr
    source_offsets: tuple[Expr, ...]


def copied(instruction: Instruction, to_shared: bool) -> tuple[SharedType, GlobalType]:
    """The shared and the global side of an `EngineCopy`, each with an index a dimension."""
    copy = cast(EngineCopy, instruction)
    target, source = memory(instruction, copy.target), memory(instruction, copy.source)
    shared, view = (target, source) if to_shared else (source, target)
    if not isinstance(shared, SharedType) or not isinstance(view, GlobalType):
        sides = ("a global view", "a shared tile")
        start, end = sides if to_shared else sides[::-1]
        fail(instruction, f"copies from {start} to {end}", copy.target, copy.source)
    count_indices(instruction, copy.target_offsets, target.rank)
    count_indices(instruction, copy.source_offsets, source.rank)
    return shared, view


def tile_dims(
    instruction: Instruction, dims: tuple[int, ...] | None, tile_rank: int, memory_rank: int
) -> tuple[int, ...]:
    """Which memory dimension each dimension of a register tile runs along (default: the last)."""
    if dims is None:
        dims = tuple(range(memory_rank - tile_rank, memory_rank))
    bad = len(dims) != tile_rank or len(set(dims)) != tile_rank
    if bad or any(not 0 <= d < memory_rank for d in dims):
        fail(
            instruction,
            f"a tile of rank {tile_rank} can't lie along dimensions {list(dims)} "
            f"of memory of rank {memory_rank}",
            error=ShapeError,
            hint="`dims` names one memory dimension for each dimension of the tile",
        )
    return dims


def broadcast_shape(instruction: Instruction, *operands: Value | Expr) -> tuple[int, ...]:
    """numpy's broadcast of the tiles' shapes; scalars fit any."""
    shape: tuple[int, ...] = ()
    for operand in operands:
        if isinstance(operand, Expr):
            continue
        other = reg(instruction, operand, "an operand").shape
        rank = max(len(shape), len(other))
        a, b = (1,) * (rank - len(shape)) + shape, (1,) * (rank - len(other)) + other
        if any(x != y and 1 not in (x, y) for x, y in zip(a, b, strict=True)):
            fail(
                instruction,
                f"shapes {list(shape)} and {list(other)} don't broadcast",
                *operands,
                error=ShapeError,
                hint="extents must be equal or 1",
            )
        shape = tuple(max(x, y) if 0 not in (x, y) else 0 for x, y in zip(a, b, strict=True))
    return shape


def is_scalar(operand: Value | Expr) -> bool:
    """Whether an operand is a uniform scalar."""
    return isinstance(operand, Expr) or isinstance(operand.type, ScalarType)


def scalar_operand(
    instruction: Instruction, operand: Value | Expr, element: Dtype, what: str = "an operand"
) -> None:
    """A scalar that a dtype can hold: no float where integers are, no number for a condition."""
    if isinstance(operand, Value):
        return
    from ..verifier import scalar_kind

    found = scalar_kind(operand, instruction.location)
    wanted = {"uint": "int", "int": "int", "bool": "bool"}.get(element.kind, "float")
    if found != wanted and (found, wanted) != ("int", "float"):
        kinds = {"int": "an integer", "float": "a float", "bool": "a condition"}
        fail(instruction, f"{what} is {kinds[found]}, which `{element.name}` can't hold")


def arithmetic(instruction: Instruction, element: Dtype, kinds: tuple[str, ...]) -> None:
    """A dtype of one of the kinds that is computed with: whole bytes, no float of 8 bits."""
    whole = element.kind == "bool" or element.bits in (8, 16, 32, 64)
    if element.kind in kinds and whole and not (element.kind == "float" and element.bits == 8):
        return
    fail(
        instruction,
        f"has no arithmetic on `{element.name}`",
        *instruction.operands(),
        hint="cast to f16, bf16, f32 or a whole-byte integer first",
    )


def expect_scalar(instruction: Instruction, expr: Expr, kind: Kind, what: str) -> None:
    """A scalar expression of one kind."""
    from ..verifier import expect_kind

    expect_kind(kind, expr, f"`{instruction.name}`: {what}", instruction.location)
