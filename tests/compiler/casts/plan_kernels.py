"""Plans as kernels: each thread loads a plan's input words, runs it, and stores the outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tileloom.compiler.casts import Plan, emit_plan
from tileloom.compiler.ptx import (
    Address,
    Builder,
    Kernel,
    Module,
    Parameter,
    Register,
    RegisterKind,
    Symbol,
    print_module,
    special,
)
from tileloom.compiler.targets import TARGETS, lowest_version
from tileloom.runtime.emulator import parse_module

B32, B64 = RegisterKind.B32, RegisterKind.B64


def plan_module(plans: Sequence[Plan], target: str) -> str:
    """The PTX of kernels `plan0`, `plan1`, ... with parameters (inputs, outputs)."""
    kernels = [_kernel(f"plan{number}", plan) for number, plan in enumerate(plans)]
    opcodes = [item.opcode for kernel in kernels for item in kernel.instructions()]
    version = lowest_version(TARGETS[target], opcodes)
    return print_module(Module(target, version, kernels)).text


def _kernel(name: str, plan: Plan) -> Kernel:
    builder = Builder()
    thread = builder.pure("mov.u32", B32, special("tid.x"))
    inputs = [
        builder.compute("ld.global.b32", B32, Address(base, 4 * number))
        for base in [_base(builder, "inputs", thread, plan.num_inputs)]
        for number in range(plan.num_inputs)
    ]
    outputs = emit_plan(builder, plan, inputs)
    base = _base(builder, "outputs", thread, len(outputs))
    for number, register in enumerate(outputs):
        builder.emit("st.global.b32", (), (Address(base, 4 * number), register))
    builder.emit("ret")
    parameters = (Parameter("inputs", "u64"), Parameter("outputs", "u64"))
    return Kernel(name, parameters, 256, builder.finish(), builder.counts)


def _base(builder: Builder, parameter: str, thread: Register, words: int) -> Register:
    start = builder.pure("ld.param.u64", B64, Address(Symbol(parameter)))
    start = builder.pure("cvta.to.global.u64", B64, start)
    offset = builder.pure("mul.wide.u32", B64, thread, 4 * words)
    return builder.pure("add.s64", B64, start, offset)


def emulate(plans: Sequence[Plan], inputs: Sequence[Any], target: str) -> list[Any]:
    """The outputs [lanes, words] of each plan for its inputs [lanes, words]."""
    kernels = parse_module(plan_module(plans, target)).kernels
    results = []
    for number, (plan, words) in enumerate(zip(plans, inputs, strict=True)):
        found = np.zeros((len(words), len(plan.outputs)), np.uint32)
        kernels[f"plan{number}"].launch(1, len(words), [np.ascontiguousarray(words), found])
        results.append(found)
    return results
