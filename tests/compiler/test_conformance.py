"""Every instruction that makes a register tile, under one harness: four layouts (one with copies,
two whose extents are no powers of two), ragged operands, later writes to operands and result.

A case names the operands' dtypes and the instruction's text; `{a}`, `{b}`, `{c}` are its operands,
of `SHAPE` and `{layout}`. The interpreter says what is right; the families' own tests compare with
numpy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from execution import agree, assemble

from tileloom.compiler import compile_function
from tileloom.vm import dtype, parse
from tileloom.vm.instruction import REGISTRY, Instruction

SHAPE = (12, 20)
LAYOUTS = {
    "inferred": "",
    "copies": ", replicate(2) * local(3, 1) * spatial(4, 4) * local(1, 5)",
    "threes": ", spatial(3, 5) * local(4, 4)",
    "columns": ", column_spatial(4, 5) * column_local(3, 4)",
}
# A stated layout is cut between whole registers only.
LOCAL_OUTSIDE = {
    **LAYOUTS,
    "threes": ", local(3, 2) * spatial(2, 5) * local(2, 2)",
    "columns": ", column_local(3, 4) * column_spatial(4, 5)",
}
OTHER = ", spatial(6, 5) * local(2, 4)"


class Case(NamedTuple):
    """One instruction on operands of some dtypes; `near`: it is approximate on hardware."""

    operands: tuple[str, ...]
    text: str
    result: str | None = None  # dtype, where not the first operand's
    shape: tuple[int, ...] = SHAPE
    near: float = 0.0
    placed: bool = False  # it means something under a stated layout only
    layouts: dict[str, str] = LAYOUTS
    before: str = ""  # what makes its operand `%u` of `{a}` and `{b}`
    made: tuple[str, tuple[int, ...]] = ("", ())  # dtype and shape of `%u`


def unary(name: str, kind: str = "f32", near: float = 0.0) -> tuple[str, Case]:
    return name, Case((kind,), f"{name} {{a}}", near=near)


def binary(name: str, kind: str = "f32", result: str | None = None) -> tuple[str, Case]:
    return name, Case((kind, kind), f"{name} {{a}}, {{b}}", result)


CASES: dict[str, Case] = dict(
    [
        *(binary(name) for name in ("add", "sub", "mul", "div", "min", "max")),
        *(binary(name, "i32") for name in ("and", "or", "xor", "shl", "shr")),
        *(binary(name, "f16", "bool") for name in ("eq", "ne", "lt", "le", "gt", "ge")),
        *(unary(name) for name in ("neg", "abs", "sqrt", "rcp", "round", "floor", "ceil", "trunc")),
        *(unary(name, near=1e-3) for name in ("exp", "exp2", "log", "log2")),
        *(unary(name, near=1e-3) for name in ("rsqrt", "tanh", "sigmoid")),
        unary("not", "i16"),
        ("mod", Case(("i32",), "mod {a}, 7")),
        ("fma", Case(("f32", "f32", "f32"), "fma {a}, {b}, {c}")),
        ("clip", Case(("f32", "f32"), "clip {a}, 2.0, {b}")),
        ("cast", Case(("f32",), "cast {a} {{dtype = f16}}", "f16")),
        ("transpose", Case(("i32",), "transpose {a}", shape=(20, 12))),
        ("reshape", Case(("u8",), "reshape {a} {{shape = [240]}}", shape=(240,))),
        ("unsqueeze", Case(("f16",), "unsqueeze {a} {{dims = [1]}}", shape=(12, 1, 20))),
        ("reduce", Case(("i32",), "reduce {a} {{dim = 1}}", shape=(12, 1))),
        ("scan", Case(("i32",), "scan {a} {{dim = 1}}")),
        ("convert_layout", Case(("f16",), f"convert_layout {{a}} : reg<f16, [12, 20]{OTHER}>")),
        ("repack", Case(("f16",), "repack {a} : reg<f16, [12, 20]{layout}>")),
        ("view", Case(("f32",), "view {a} : reg<i32, [12, 20]{layout}>", "i32", placed=True)),
        ("shuffle", Case(("i32",), "shuffle {a} {{lane = 0, width = 1}}", placed=True)),
        ("alloc_registers", Case(("f32",), "alloc_registers : reg<f32, [12, 20]{layout}>")),
        ("full", Case(("f32",), "full {{fill = 2.5}} : reg<f32, [12, 20]{layout}>")),
        ("arange", Case(("i32",), "arange {{dim = 1, step = 3}} : reg<i32, [12, 20]{layout}>")),
        ("load", Case(("f32",), "load %ga[1, 2] : reg<f32, [12, 20]{layout}>")),
        ("gather", Case(("i32",), "gather %ga[0, 0], {a} {{dim = 1}} : reg<i32, [12, 20]>")),
        ("atomic", Case(("i32",), "atomic %ga[0, 1], {a}")),
        ("slice", Case(
            ("f16",), "slice {a} {{offsets = [4, 0], shape = [8, 20]}}", shape=(8, 20),
            layouts=LOCAL_OUTSIDE,
        )),
        ("concat", Case(
            ("u8", "u8"), "concat {a}, {b} {{dim = 1}} : reg<u8, [12, 40]>", shape=(12, 40)
        )),
        ("where", Case(
            ("i32", "i32"), "where %u, {a}, {b}",
            before="%u = lt {a}, {b}", made=("bool", SHAPE),
        )),
        ("squeeze", Case(
            ("f16",), "squeeze %u {{dims = [1]}}",
            before="%u = unsqueeze {a} {{dims = [1]}}", made=("f16", (12, 1, 20)),
        )),
        ("broadcast", Case(
            ("i32",), "broadcast %u {{shape = [12, 3, 20]}}", shape=(12, 3, 20),
            before="%u = unsqueeze {a} {{dims = [1]}}", made=("i32", (12, 1, 20)),
        )),
    ]
)  # fmt: skip

# Their operands have other shapes, or they need shared memory or clusters: tested where said.
ELSEWHERE = {
    "decode": "casts/test_emulated", "load_matrix": "test_matrix_moves",
    "load_remote": "test_cluster",
}  # fmt: skip

PROGRAM = """func @f({params}) warps = 1 {{
{loads}
  {before}
  %r = {text}
  {change}
  {shown}
  %go = global_view %out : global<{kind}, {shape}>
  store %go[{zeros}], %s
  %gp = global_view %copy : global<{first}, [12, 20]>
  store %gp[0, 0], %a
}}"""
LOAD = """  %g{n} = global_view %p{n} : global<{kind}, [11, 18]>
  %{n} = load %g{n}[0, 0] : reg<{kind}, [12, 20]{layout}>"""


def program(case: Case, layout: str, changed: str | None) -> str:
    names = "abc"[: len(case.operands)]
    result = case.result or case.operands[0]
    kind = "i32" if result == "bool" else result
    change = ""
    if changed is not None:
        names_and_types = {
            "a": (case.operands[0], SHAPE), "u": case.made, "r": (result, case.shape),
        }  # fmt: skip
        of, shape = names_and_types[changed]
        fill = "true" if of == "bool" else "3"
        change = f"%other = full {{fill = {fill}}} : reg<{of}, {list(shape)}>\n"
        change += f"  assign %{changed}, %other"
    return PROGRAM.format(
        params=", ".join(
            [f"%p{n}: *{k}" for n, k in zip(names, case.operands, strict=True)]
            + [f"%out: *{kind}", f"%copy: *{case.operands[0]}"]
        ),
        loads="\n".join(
            LOAD.format(n=n, kind=k, layout=layout)
            for n, k in zip(names, case.operands, strict=True)
        ),
        before=case.before.format(a="%a", b="%b"),
        text=case.text.format(a="%a", b="%b", c="%c", layout=layout),
        change=change,
        shown=f"%s = cast %r {{dtype = {kind}}}",
        kind=kind,
        shape=list(case.shape),
        zeros=", ".join("0" for _ in case.shape),
        first=case.operands[0],
    )


def numbers(kind: str, seed: int) -> Any:
    """Small positive numbers: every operation is defined on them."""
    return np.random.default_rng(seed).integers(1, 9, (11, 18)).astype(dtype(kind).numpy)


@pytest.mark.parametrize("changed", ["none", "operand", "made", "result"])
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("name", sorted(CASES))
def test_tiles(name: str, layout: str, changed: str) -> None:
    case = CASES[name]
    if case.placed and layout == "inferred":
        pytest.skip("bits and lanes have a meaning under a stated layout only")
    if name == "alloc_registers" and changed != "result":
        pytest.skip("without values there is nothing to store")
    if changed == "made" and not case.before:
        pytest.skip("its operand is loaded")
    target = {"none": None, "operand": "a", "made": "u", "result": "r"}[changed]
    text = program(case, case.layouts[layout], target)
    kind = "i32" if case.result == "bool" else case.result or case.operands[0]
    arrays = [numbers(k, seed) for seed, k in enumerate(case.operands)]
    out = np.zeros(case.shape, dtype(kind).numpy)
    copy = np.zeros(SHAPE, dtype(case.operands[0]).numpy)
    found = agree(text, [*arrays, out, copy], rtol=case.near)
    kept = np.zeros(SHAPE, copy.dtype)
    kept[:11, :18] = arrays[0]
    if name != "atomic":
        np.testing.assert_array_equal(found[-1], 3 if changed == "operand" else kept)
    if changed == "result":
        assert (found[-2] == (1 if case.result == "bool" else 3)).all()


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_code_assembles(name: str, tmp_path: Path) -> None:
    """The assembler is stricter than the emulator in places."""
    text = program(CASES[name], CASES[name].layouts["threes"], None)
    for target in ("sm_80", "sm_90a"):
        assemble(compile_function(parse(text), target).ptx, target, tmp_path)


def test_every_instruction_that_makes_a_tile_is_here_or_said_to_be_elsewhere() -> None:
    def makes_a_tile(cls: type[Instruction]) -> bool:
        scalar = ("var", "item", "load_scalar", "atomic_scalar", "mbarrier_test")
        memory = ("global_view", "alloc_shared", "alloc_mbarrier")
        return cls.has_result is not False and cls.name not in (*scalar, *memory)

    wanted = {name for name, cls in REGISTRY.items() if makes_a_tile(cls)}
    assert wanted == set(CASES) | set(ELSEWHERE)
