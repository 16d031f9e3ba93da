"""Where a `wgmma.fence` is missing: found before a kernel runs, over all paths.

Registers of a product (accumulator, left operand) that something else may have accessed since the
last fence make it wrong, and so does a product without any fence before it. Products of one shape
that share an accumulator need none between them.
"""

from __future__ import annotations

from .step import Block, Step
from .wgmma import FenceStep, ProductStep


def unfenced_products(blocks: list[Block], num_registers: int) -> list[Step]:
    """The products that some path reaches without the fence they need."""
    if not any(isinstance(step, ProductStep) for block in blocks for step in block.steps):
        return []
    start = 1 << num_registers  # stands for "no fence yet"
    entering: dict[int, int] = {0: start}
    pending = [0]
    wrong: dict[int, Step] = {}
    while pending:
        number = pending.pop()
        leaving = _through(blocks[number], entering[number], num_registers, wrong)
        for following in blocks[number].successors(number):
            joined = entering.get(following, 0) | leaving
            if following not in entering or joined != entering[following]:
                entering[following] = joined
                pending.append(following)
    return list(wrong.values())


def _through(block: Block, dirty: int, num_registers: int, wrong: dict[int, Step]) -> int:
    never = 1 << num_registers
    for step in block.steps:
        if isinstance(step, FenceStep):
            dirty = 0
        elif isinstance(step, ProductStep):
            if dirty & (never | _mask(step.registers, num_registers)):
                wrong[id(step)] = step
        else:
            guard = () if step.guard is None else (step.guard,)
            dirty |= _mask((*step.reads, *step.data, *step.writes, *guard), num_registers)
    return dirty


def _mask(slots: tuple[int, ...], num_registers: int) -> int:
    found = 0
    for slot in slots:
        if 0 <= slot < num_registers:
            found |= 1 << slot
    return found
