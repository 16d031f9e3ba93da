"""A kernel made executable: basic blocks of linked steps."""

from __future__ import annotations

from dataclasses import dataclass

from . import (  # noqa: F401  (importing registers the opcodes)
    access,
    atomics,
    bits,
    calls,
    compare,
    control,
    convert,
    copies,
    floats,
    halves,
    integers,
    lanes,
    matrices,
    mbarrier_ops,
    mma,
    moves,
    permutes,
    wgmma,
)
from .cohort import Cohort, run_tracking
from .linker import Linker, variable_addresses
from .liveness import Liveness, slot_bits
from .memory import PARAM_WINDOW
from .opcode import OpcodeError
from .step import Block, Control, Run, Step
from .syntax import FunctionBody, ParsedModule, SourceMap
from .tensor_maps import SIZE as MAP_SIZE
from .wgmma_fences import unfenced_products


@dataclass(slots=True)
class Program:
    """`blocks` of one kernel; `linker` holds its constants; `instructions` counts its length."""

    body: FunctionBody
    source: SourceMap
    linker: Linker
    blocks: list[Block]
    shared_static: int
    dynamic_shared: bool
    liveness: Liveness

    def profile(self) -> dict[int, int]:
        """Executions by warps for each PTX line since the counters were reset."""
        counts: dict[int, int] = {}
        for block in self.blocks:
            if block.executions:
                for step in block.steps:
                    counts[step.line] = counts.get(step.line, 0) + block.executions
                if block.control is not None:
                    line = block.control.line
                    counts[line] = counts.get(line, 0) + block.executions
        return counts

    def executed(self) -> int:
        return sum(
            block.executions * (len(block.steps) + (block.control is not None))
            for block in self.blocks
        )

    def reset(self) -> None:
        for block in self.blocks:
            block.executions = 0


def build(body: FunctionBody, module: ParsedModule, global_base: int) -> Program:
    """Links a kernel. Raises EmulatorError with the line of an unknown opcode or wrong operand."""
    variables = [*module.variables.values(), *body.variables.values()]
    static = max(
        (v.offset + v.size for v in variables if v.space == "shared" and not v.external), default=0
    )
    bases = {"shared": 0, "local": 0, "global": global_base, "const": global_base}
    addresses = variable_addresses(variables, bases, static)
    spaces = {variable.name: variable.space for variable in variables}
    spaces |= {param.name: "param" for param in body.params}
    # Only tensor maps are named by their addresses.
    maps = (param for param in body.params if param.size == MAP_SIZE)
    addresses |= {param.name: PARAM_WINDOW + param.offset for param in maps}
    linker = Linker(body, addresses, spaces)
    linked: list[Step | Control] = []
    for instruction in body.instructions:
        try:
            linked.append(linker.link(instruction))
        except OpcodeError as error:
            raise module.source.error(instruction.line, str(error)) from None
    blocks = _blocks(body, linked)
    _guard_unwritten(blocks, linker.num_registers, {reg.slot for reg in body.specials.values()})
    for step in unfenced_products(blocks, linker.num_registers):
        raise module.source.error(
            step.line, "wgmma.fence is missing between an access to this product's registers and it"
        )
    dynamic = any(v.external and v.space == "shared" for v in variables)
    dynamic_start = max(
        (addresses[v.name] for v in variables if v.external and v.space == "shared"), default=static
    )
    liveness = Liveness(blocks, linker.num_registers)
    return Program(body, module.source, linker, blocks, dynamic_start, dynamic, liveness)


def _blocks(body: FunctionBody, linked: list[Step | Control]) -> list[Block]:
    leaders = {0, *body.labels.values()}
    leaders |= {i + 1 for i, item in enumerate(linked) if isinstance(item, Control)}
    leaders |= {
        i for i, item in enumerate(linked) if isinstance(item, Control) and item.kind == "barrier"
    }
    starts = sorted(start for start in leaders if start < len(linked))
    number_at = {start: number for number, start in enumerate(starts)}
    blocks = [Block(start) for start in starts]
    end = len(blocks)  # a block of its own: falling off the end is an exit
    for number, block in enumerate(blocks):
        stop = starts[number + 1] if number + 1 < len(starts) else len(linked)
        for item in linked[block.start : stop]:
            if isinstance(item, Step):
                block.steps.append(item)
            else:
                item.block, item.following = number, number + 1
                if item.label:
                    item.target = number_at.get(body.labels[item.label], end)
                block.control = item
        block.runs = [step.run for step in block.steps]
    leave = Control("exit", control._run_exit, following=end + 1)
    blocks.append(Block(len(linked), control=leave))
    return blocks


# ---- registers that may never have been written


def _guard_unwritten(blocks: list[Block], count: int, always: set[int]) -> None:
    """Wraps the steps that may read a register that was never written."""
    everything = (1 << count) - 1
    start_set = sum(1 << slot for slot in always)
    exposed, written = zip(*map(_exposed_and_written, blocks), strict=True)
    at_entry = [everything] * len(blocks)
    at_entry[0] = start_set
    pending = [0]
    visited = set()
    while pending:
        number = pending.pop()
        visited.add(number)
        leaving = at_entry[number] | written[number]
        for following in blocks[number].successors(number):
            joined = at_entry[following] & leaving
            if joined != at_entry[following] or following not in visited:
                at_entry[following] = joined
                pending.append(following)
    for number, block in enumerate(blocks):
        if number in visited and exposed[number] & everything & ~at_entry[number]:
            _guard_block(block, at_entry[number], count)


def _exposed_and_written(block: Block) -> tuple[int, int]:
    """Slots that a block reads before it writes them, and those that it writes, as sets of bits."""
    exposed: set[int] = set()
    written: set[int] = set()
    for step in reversed(block.steps):
        exposed.difference_update(step.writes)
        exposed.update(step.reads, step.data)
        if step.guard is not None:
            exposed.add(step.guard)
        written.update(step.writes)
    return slot_bits(exposed), slot_bits(written)


def _guard_block(block: Block, known: int, count: int) -> None:
    for place, step in enumerate(block.steps):
        used = (*step.reads, *step.data, *(() if step.guard is None else (step.guard,)))
        unsure = tuple(s for s in used if 0 <= s < count and not known >> s & 1)
        if unsure:
            step.unsure = unsure
            block.runs[place] = _tracked_if_unset(step)
        for slot in step.writes:
            if slot >= 0:
                known |= 1 << slot


def _tracked_if_unset(step: Step) -> Run:
    """The step; where a register that it reads was never written, with undefined values."""

    def run(c: Cohort) -> None:
        if any(c.regs[slot] is None for slot in step.unsure):
            run_tracking(c, step)
        else:
            step.run(c)

    return run


def immediate_post_dominators(blocks: list[Block]) -> list[int]:
    """For each block the first block that every path from it to the end passes; -1 if none."""
    count = len(blocks)
    everything = (1 << count) - 1
    after = [everything] * count
    after[count - 1] = 1 << (count - 1)
    exits = [number for number in range(count) if not blocks[number].successors(number)]
    for number in exits:
        after[number] = 1 << number
    changed = True
    while changed:
        changed = False
        for number in range(count - 1, -1, -1):
            following = blocks[number].successors(number)
            if not following:
                continue
            common = everything
            for successor in following:
                common &= after[successor]
            common |= 1 << number
            if common != after[number]:
                after[number] = common
                changed = True
    return [_nearest(after, number) for number in range(count)]


def _nearest(after: list[int], number: int) -> int:
    """Of the post-dominators of a block the one that has all others behind it."""
    strict = after[number] & ~(1 << number)
    candidate = strict
    while candidate:
        block = (candidate & -candidate).bit_length() - 1
        if after[block] == strict:
            return block
        candidate &= candidate - 1
    return -1
