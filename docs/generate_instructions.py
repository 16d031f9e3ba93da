"""The page of the instructions: what their classes say, and the PTX that examples become."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from generate_reference import call_text, docstring, exported

from tileloom import vm
from tileloom.compiler import compile_function
from tileloom.vm.diagnostics import VMError
from tileloom.vm.dsl.values import Scalar, Tile
from tileloom.vm.expr import Const
from tileloom.vm.instruction import REGISTRY, Effect, Instruction, Role, roles
from tileloom.vm.instructions.memory import GlobalView, Store
from tileloom.vm.instructions.transform import Cast
from tileloom.vm.ir import Function, Statement, Value, instructions
from tileloom.vm.text import parse_module
from tileloom.vm.types import GlobalType, PointerType, RegType, row_major_strides

TARGET = "sm_90a"
FAMILIES = {
    "create": "Making tiles",
    "memory": "Memory",
    "matrices": "Matrices of 8 rows in shared memory",
    "gather": "Memory at places given by a tile",
    "elementwise": "Elementwise",
    "transform": "Dtype, shape and layout",
    "dims": "Dimensions of extent 1",
    "matmul": "Matrix products",
    "wgmma": "Matrix products of warp groups",
    "reduction": "Reductions and scans",
    "shuffle": "Exchange between lanes",
    "scalars": "Scalars",
    "sync": "Barriers and semaphores",
    "atomics": "Atomics",
    "mbarrier": "Barriers that count",
    "bulk": "Copies by the copy engine",
    "tensor": "Tiles copied by the copy engine",
    "registers": "Registers of warp groups",
    "cluster": "Clusters",
    "dependencies": "Dependent launches",
    "debug": "Printing and checking",
}
OWN = "each thread, on what it holds"
# Who takes part, where that is not each thread by itself.
GROUPS = {
    "alloc_shared": "the block",
    "free_shared": "the block",
    "convert_layout": "each thread, or the whole block, which meets twice (shared memory)",
    "mma": "each warp together",
    "wgmma": "each warp group together",
    "wgmma_commit": "each warp group together",
    "wgmma_wait": "each warp group together",
    "load_matrix": "each warp together",
    "store_matrix": "each warp together",
    "shuffle": "each warp together",
    "reduce": "the threads along `dim`: within a warp by lane exchange, else the whole block meets",
    "scan": "the threads along `dim`: within a warp by lane exchange, else the whole block meets",
    "item": "each thread if all hold the element, else the whole block, which meets",
    "load_scalar": "each thread reads the same element",
    "var": "each thread, all alike",
    "barrier": "the whole block, which meets",
    "fence_proxy_async": "each thread, for what it and those it met wrote",
    "lock": "the whole block, which meets after the wait of one warp",
    "release": "the whole block, which meets before one thread stores",
    "atomic_scalar": "the whole block, which meets before and after one thread's update",
    "alloc_mbarrier": "the whole block, which meets after one thread's initialisation",
    "mbarrier_arrive": "each thread, or each warp together",
    "mbarrier_expect": "one thread of the group",
    "mbarrier_wait": "each thread",
    "mbarrier_test": "the one thread or warp of the group, which agrees",
    "copy_bulk": "one thread of the group",
    "store_bulk": "one thread of the group",
    "copy_tensor": "one thread of the group",
    "store_tensor": "one thread of the group",
    "bulk_commit": "one thread of the group",
    "bulk_wait": "one thread of the group",
    "set_registers": "each 4 warps together, from a multiple of 4 on",
    "cluster_barrier": "all blocks of the cluster, which meet",
    "wait_dependencies": "each thread",
    "launch_dependents": "each thread",
    "print": "one thread of the block; a tile is collected by the whole block",
    "assert": "each thread, all alike",
    "assume": "nobody: it is a promise",
    "trap": "each thread, all alike",
}
EFFECTS = {
    Effect.READS_MEMORY: "reads memory",
    Effect.WRITES_MEMORY: "writes memory",
    Effect.SYNCHRONIZES: "orders memory accesses",
    Effect.OBSERVABLE: "stays, in order",
}
OPERATORS = {
    "__add__": "a + b", "__sub__": "a - b", "__mul__": "a * b", "__truediv__": "a / b",
    "__mod__": "a % b", "__and__": "a & b", "__or__": "a | b", "__xor__": "a ^ b",
    "__lshift__": "a << b", "__rshift__": "a >> b", "__lt__": "a < b", "__le__": "a <= b",
    "__gt__": "a > b", "__ge__": "a >= b", "__eq__": "a == b", "__ne__": "a != b",
    "__neg__": "-a", "__invert__": "~a", "__abs__": "abs(a)", "__getitem__": "a[0:16, :]",
}  # fmt: skip
# Address arithmetic, which is no instruction's own, in the families that need any.
_ADDRESSES = re.compile(
    r"mov\.|mad\.|mul\.(wide|lo)\.|(add|shr|sub|cvt)\.[su](32|64)|cvta\.|(and|or|xor)\.b32|bra|ret"
)
_MOVES = re.compile(r"mov\.|bra|ret|st\.(local|param)|cvta\.")
_IN_MEMORY = (
    "memory", "matrices", "gather", "scalars", "sync", "atomics", "cluster", "mbarrier", "bulk",
    "tensor",
)  # fmt: skip
_HEADLINE = re.compile(r"// (?:%(\S+) = )?(\w+)")


def page(programs: Path) -> str:
    """The page; `programs` holds a module of examples for each family but the elementwise."""
    parts = [_HEAD]
    for family, title in FAMILIES.items():
        module = import_module(f"tileloom.vm.instructions.{family}")
        classes = [cls for cls in REGISTRY.values() if cls.__module__ == module.__name__]
        parts.append(f"## {title}\n")
        if family == "elementwise":
            parts += [docstring(module).partition("\n\n")[2] + "\n", _elementwise(classes)]
            continue
        used = _examples(programs / f"{family}.vm", family in _IN_MEMORY)
        parts += [_section(cls, used.get(cls.name, [])) for cls in classes]
    return "\n".join(parts)


_HEAD = f"""\
# Instructions

Each instruction by family: how the text form writes it, the function of `tileloom.vm` that traces
it, what it means, which threads take part, and what it becomes.

`%name` is an operand, `%x[offsets]` one with an index list, `{{...}}` are attributes with their
defaults; `[...]` may be left away. An operand marked `&` is written in place. The PTX is that of
the example for `{TARGET}`, without moves, branches and the arithmetic of addresses; `x2` says how
often an opcode stands there. A tile's threads are those of the `warp_group` or `single_thread` it
stands in, else the whole block; "each thread" means that the threads need not meet. Control flow is
described in [text.md](text.md).
"""


def _section(cls: type[Instruction], examples: Sequence[tuple[str, str]]) -> str:
    written = [signature(cls), *_calls(cls)]
    lines = [f"### `{cls.name}`\n", "```", *written, "```\n", docstring(cls), ""]
    effects = [text for effect, text in EFFECTS.items() if effect in cls.effect]
    lines.append(f"Threads: {'; '.join([GROUPS.get(cls.name, OWN), *effects])}.\n")
    assert examples, f"no example of {cls.name}"
    lines += ["| example | PTX |", "|---|---|"]
    lines += [f"| `{text}` | {ptx or 'none'} |" for text, ptx in examples]
    return "\n".join(lines) + "\n"


def signature(cls: type[Instruction]) -> str:
    """An instruction as the text form writes it, attributes with their defaults."""
    operands: list[str] = []
    attributes: list[str] = []
    defaults = {f.name: f.default for f in fields(cls)}
    for name, role in roles(cls).items():
        match role:
            case Role.INDICES:
                operands[-1] += f"[{name}]"
            case Role.ATTRIBUTE:
                attributes.append(_attribute(name, defaults[name]))
            case _:
                sign = {Role.MUTATED: "&%", Role.SCALAR: ""}.get(role, "%")
                optional = defaults[name] is None
                operands.append(f"[{sign}{name}]" if optional else f"{sign}{name}")
    result = {True: "%result = ", None: "[%result =] ", False: ""}[cls.has_result]
    text = f"{result}{cls.name} {', '.join(operands)}".rstrip()
    text += f" {{{', '.join(attributes)}}}" if attributes else ""
    return f"{text} : type" if cls.needs_type else text


def _attribute(name: str, default: Any) -> str:
    if default is MISSING:
        return name
    if default is None or isinstance(default, bool):
        return f"{name} = {str(default).lower()}"
    return f"{name} = {'[]' if default == () else default}" if default != "" else f'{name} = ""'


def _calls(cls: type[Instruction]) -> list[str]:
    return _tracers().get(cls.name, [])


@cache
def _tracers() -> dict[str, list[str]]:
    """For each instruction the calls and operators that trace it."""
    found: dict[str, list[str]] = {}
    for name, function in exported(vm).items():
        if inspect.isfunction(function):
            for traced in _traced_by(function):
                found.setdefault(traced, []).append(f"vm.{call_text(name, function)}")
    for owner in (Tile, Scalar):
        for name, method in vars(owner).items():
            if name in OPERATORS or (inspect.isfunction(method) and not name.startswith("_")):
                shown = OPERATORS.get(name) or f"{owner.__name__.lower()}.{call_text(name, method)}"
                for traced in _traced_by(method):
                    found.setdefault(traced, []).append(shown)
    return found


def _traced_by(function: Callable[..., Any]) -> list[str]:
    """The instructions whose classes a function names."""
    source = inspect.getsource(inspect.unwrap(function))
    by_class = {cls.__name__: name for name, cls in REGISTRY.items()}
    words = dict.fromkeys(re.findall(r"\.([A-Z]\w+)\b", source))
    return [by_class[word] for word in words if word in by_class]


def _examples(file: Path, in_memory: bool) -> dict[str, list[tuple[str, str]]]:
    """For each instruction in a module of programs: its line, and the opcodes it becomes."""
    left_out = _ADDRESSES if in_memory else _MOVES
    text = file.read_text()
    lines = text.splitlines()
    found: dict[str, list[tuple[str, str]]] = {}
    for function in parse_module(text, file.name).functions:
        for instruction, opcodes in compiled(function):
            assert instruction.location is not None
            shown = lines[instruction.location.line - 1].strip()
            kept = [opcode for opcode in opcodes if not left_out.match(opcode)]
            of_class = found.setdefault(instruction.name, [])
            if (shown, listed(kept)) not in of_class:
                of_class.append((shown, listed(kept)))
    return found


def listed(opcodes: Sequence[str]) -> str:
    """Opcodes in the order they first come in, with how often."""
    counts = Counter(opcodes)
    return ", ".join(f"`{o}`" + (f" x{n}" if n > 1 else "") for o, n in counts.items())


def compiled(function: Function) -> list[tuple[Instruction, list[str]]]:
    """Each instruction of a function, and the opcodes that stand under it in the PTX."""
    ptx = compile_function(keep_results(function), TARGET).ptx
    waiting = list(instructions(function.body))
    found: list[tuple[Instruction, list[str]]] = []
    opcodes: list[str] = []
    for line in map(str.strip, ptx.partition("{")[2].splitlines()):
        if line.startswith("//"):
            opcodes = []
            head = _HEADLINE.match(line)
            if head and waiting and head.groups() == (_result(waiting[0]), waiting[0].name):
                found.append((waiting.pop(0), opcodes))
        elif line and line[0] not in ".${}":
            opcodes.append(_opcode(line))
    assert not waiting, f"no code of {waiting[0]}"
    return found


def _opcode(line: str) -> str:
    """The opcode of a line of PTX; a call's with the function's name."""
    words = re.sub(r"^@!?%\w+ ", "", line).rstrip(";").split()
    return f"call {words[-2].rstrip(',')}" if words[0] == "call" else words[0]


def _result(instruction: Instruction) -> str | None:
    return None if instruction.result is None else instruction.result.name


def keep_results(function: Function) -> Function:
    """The function with a store of every register tile that its outermost block makes: nothing is
    left out of the code because nobody needs it."""
    params, stores = list(function.params), list[Statement]()
    for number, statement in enumerate(function.body):
        tile = statement.result if isinstance(statement, Instruction) else None
        if tile is None or not isinstance(tile.type, RegType):
            continue
        if tile.type.dtype == vm.bool_:  # stored, they would have to lie in whole bytes
            byte = Value(f"byte_{number}", replace(tile.type, dtype=vm.u8))
            stores.append(Cast(tile, vm.u8, result=byte))
            tile = byte
        assert isinstance(tile.type, RegType)
        shape = tuple(map(Const, tile.type.shape))
        pointer = Value(f"kept_{number}", PointerType(tile.type.dtype))
        type_ = GlobalType(tile.type.dtype, shape, row_major_strides(shape))
        view = Value(f"view_{number}", type_)
        params.append(pointer)
        zeros = (Const(0),) * len(shape)
        stores += [GlobalView(pointer, result=view), Store(view, zeros, tile)]
    return replace(function, params=tuple(params), body=(*function.body, *stores))


_DTYPES = ("f32", "f16", "i32", "bool")


def _elementwise(classes: Sequence[type[Instruction]]) -> str:
    """One row an instruction: its PTX for each dtype, one element (f16: two) a thread."""
    lines = [f"Threads: {OWN}.\n", "| text | Python | meaning | f32 | f16 | i32 | bool |"]
    lines.append("|---" * 7 + "|")
    for cls in classes:
        python = ", ".join(f"`{call.replace('|', chr(92) + '|')}`" for call in _calls(cls))
        meaning = docstring(cls).replace("\n", " ").replace("|", "\\|")
        cells = [_of_dtype(cls, element) for element in _DTYPES]
        lines.append(f"| {' | '.join([f'`{signature(cls)}`', python, meaning, *cells])} |")
    return "\n".join(lines) + "\n"


def _of_dtype(cls: type[Instruction], element: str) -> str:
    """The opcodes of an elementwise instruction on tiles of a dtype; empty if it has none."""
    names = list(roles(cls))
    extent, layout = (64, "spatial(32) * local(2)") if element == "f16" else (32, "spatial(32)")
    loads = "\n".join(
        f"  %v{name} = global_view %{name} : global<{kind}, [{extent}]>\n"
        f"  %t{name} = load %v{name}[0] : reg<{kind}, [{extent}], {layout}>"
        for name in names
        if (kind := "bool" if name == "condition" else element)
    )
    params = ", ".join(f"%{n}: *{'bool' if n == 'condition' else element}" for n in names)
    operands = ", ".join(f"%t{name}" for name in names)
    text = f"func @f({params}) warps = 1 {{\n{loads}\n  %r = {cls.name} {operands}\n}}"
    try:
        function = vm.parse(text)
    except VMError:
        return ""
    found = [opcodes for instruction, opcodes in compiled(function) if type(instruction) is cls]
    return listed([opcode for opcode in found[0] if not _MOVES.match(opcode)])
