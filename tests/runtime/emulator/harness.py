"""Runs one instruction over arrays of operands: a thread an element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tileloom.runtime.emulator import LaunchStatistics, parse_module

_REGISTER = {8: "b16", 16: "b16", 32: "b32", 64: "b64"}


def kernel_text(body: str, params: int, registers: str = "", shared: bool = False) -> str:
    """A kernel `k` with pointer parameters p0 .. and the usual registers around `body`."""
    lines = [".version 8.0", ".target sm_90a", ".address_size 64"]
    if shared:
        lines.append(".extern .shared .align 128 .b8 smem[];")
    declared = ", ".join(f".param .u64 p{number}" for number in range(params))
    lines += [f".visible .entry k({declared})", "{"]
    lines.append("  .reg .b16 %h<40>; .reg .b32 %r<60>; .reg .b64 %rd<60>; .reg .pred %p<20>;")
    lines += [registers, body, "  ret;", "}"]
    return "\n".join(lines)


def run_kernel(
    body: str,
    args: Sequence[object],
    grid: int = 1,
    block: int = 32,
    shared: int = 0,
    registers: str = "",
    **options: Any,
) -> LaunchStatistics:
    """Launches `body` with pointer parameters p0 .., loaded into %rd0 .., and tid in %r50."""
    loads = "".join(f"  ld.param.u64 %rd{i}, [p{i}];\n" for i in range(len(args)))
    text = kernel_text(loads + "  mov.u32 %r50, %tid.x;\n" + body, len(args), registers, shared > 0)
    kernel = parse_module(text).kernels["k"]
    return kernel.launch(grid, block, args, shared_bytes=shared, **options)


def _index(pointer: int, size: int) -> str:
    return f"""
  ld.param.u64 %rd{pointer}, [p{pointer}];
  mul.wide.u32 %rd40, %r50, {size};
  add.u64 %rd{pointer}, %rd{pointer}, %rd40;"""


def op_kernel(
    text: str, inputs: Sequence[np.dtype[Any]], outputs: Sequence[np.dtype[Any]], count: int
) -> str:
    """A kernel of one thread an element, 128 a block, around `text`; see `run_op`."""
    body = "  mov.u32 %r50, %tid.x; mov.u32 %r51, %ctaid.x; mad.lo.u32 %r50, %r51, 128, %r50;\n"
    body += f"  setp.ge.u32 %p19, %r50, {count}; @%p19 bra DONE;"
    registers, stores = "", ""
    names: dict[str, str] = {}
    for number, kind in enumerate([*inputs, *outputs]):
        role = f"i{number}" if number < len(inputs) else f"o{number - len(inputs)}"
        bits = 8 * kind.itemsize
        predicate = kind == np.bool_
        registers += f"  .reg .{_REGISTER[bits]} %{role}; .reg .pred %{role}p;"
        body += _index(number, kind.itemsize)
        names[role] = f"%{role}p" if predicate else f"%{role}"
        if number < len(inputs):
            body += f"\n  ld.global.b{bits} %{role}, [%rd{number}];"
            if predicate:
                body += f"\n  setp.ne.u16 %{role}p, %{role}, 0;"
        else:
            if predicate:
                stores += f"\n  selp.u16 %{role}, 1, 0, %{role}p;"
            stores += f"\n  st.global.b{bits} [%rd{number}], %{role};"
    body += f"\n  {text.format(**names)}{stores}\nDONE:"
    shared = "smem" in text
    return kernel_text(body, len(inputs) + len(outputs), registers, shared)


def run_op(
    text: str, inputs: Sequence[np.ndarray[Any, Any]], outputs: Sequence[Any], shared: int = 0
) -> list[np.ndarray[Any, Any]]:
    """Executes `text`, in which {o0}, {o1} .. and {i0}, {i1} .. stand for registers.

    Operand i comes from inputs[i], one element a thread; bool arrays are predicates. Results come
    back as arrays of the given types.
    """
    count = len(inputs[0])
    kinds = [np.dtype(kind) for kind in outputs]
    module = parse_module(op_kernel(text, [array.dtype for array in inputs], kinds, count))
    results = [np.zeros(count, kind) for kind in kinds]
    buffers = [*map(np.ascontiguousarray, inputs), *results]
    module.kernels["k"].launch(-(-count // 128), 128, buffers, shared_bytes=shared)
    return results


def sample_integers(bits: int, count: int, seed: int) -> np.ndarray[Any, Any]:
    """Raw integers: edges, small values, and random ones of all lengths."""
    rng = np.random.default_rng(seed)
    raw = (
        rng.integers(0, 1 << bits, count, dtype=np.uint64, endpoint=False)
        if bits < 64
        else (rng.integers(0, np.iinfo(np.uint64).max, count, dtype=np.uint64, endpoint=True))
    )
    raw >>= rng.integers(0, bits, count, dtype=np.uint64)
    top = 1 << (bits - 1)
    edges = [0, 1, 2, 31, 32, 33, bits - 1, bits, top - 1, top, top + 1, 2 * top - 1, 2 * top - 2]
    raw[: len(edges)] = edges
    rng.shuffle(raw)
    return raw.astype(f"u{bits // 8}")


def sample_floats(exponent: int, mantissa: int, count: int, seed: int) -> np.ndarray[Any, Any]:
    """Raw codes of a format: specials, subnormals, all magnitudes, and neighbours of one."""
    bits = 1 + exponent + mantissa
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 1 << bits, count, dtype=np.uint64)
    near = rng.random(count) < 0.5
    bias = (1 << (exponent - 1)) - 1
    close = rng.integers(bias - 6, bias + 7, count).astype(np.uint64) << np.uint64(mantissa)
    sign = np.uint64(1 << (bits - 1))
    raw = np.where(near, (raw & sign) | close | (raw & np.uint64((1 << mantissa) - 1)), raw)
    infinity = ((1 << exponent) - 1) << mantissa
    edges = [0, 1, 2, (1 << mantissa) - 1, 1 << mantissa, infinity - 1, infinity, infinity + 1]
    edges += [bias << mantissa, (1 << (bits - 1)) - 1]
    edges += [edge | int(sign) for edge in edges]
    chosen = rng.choice(count, len(edges) * 3, replace=False)
    raw[chosen] = np.array(edges * 3, np.uint64)
    width = {8: "u1", 16: "u2", 32: "u4", 64: "u8"}[bits]
    return raw.astype(width)
