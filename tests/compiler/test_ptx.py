"""PTX as data: registers, value numbering, hoisting, dead code, printing."""

from __future__ import annotations

from pathlib import Path

import pytest
from execution import TARGETS, assemble

from tileloom.compiler.passes.complements import absorb_complements
from tileloom.compiler.passes.peephole import clean, renumber
from tileloom.compiler.ptx import (
    Address,
    Builder,
    Float32,
    Instruction,
    Item,
    Kernel,
    Module,
    Parameter,
    Register,
    RegisterKind,
    Symbol,
    Vector,
    print_instruction,
    print_module,
    special,
)
from tileloom.compiler.targets import TARGETS as KNOWN
from tileloom.compiler.targets import lowest_version, target_named
from tileloom.vm.diagnostics import Location, VMError

B32, B64, PRED = RegisterKind.B32, RegisterKind.B64, RegisterKind.PRED


def texts(items: list[Item]) -> list[str]:
    return [print_instruction(item) for item in items if isinstance(item, Instruction)]


def test_operands_print_as_ptx() -> None:
    a, b, p = Register(B32, 0), Register(B64, 1), Register(PRED, 2)
    load = Instruction("ld.global.v2.b32", (Vector((a, a)),), (Address(b, -8),), p, True)
    assert print_instruction(load) == "@!%p2 ld.global.v2.b32 {%r0, %r0}, [%d1+-8];"
    add = Instruction("add.rn.f32", (a,), (a, Float32.of(-0.0)))
    assert print_instruction(add) == "add.rn.f32 %r0, %r0, 0f80000000;"
    move = Instruction("mov.u32", (a,), (special("tid.x"),))
    assert print_instruction(move) == "mov.u32 %r0, %tid.x;"
    param = Instruction("ld.param.u64", (b,), (Address(Symbol("x")),))
    assert print_instruction(param) == "ld.param.u64 %d1, [x];"


def test_a_value_made_of_a_vector_stays_where_its_parts_are() -> None:
    builder = Builder()
    high = builder.pure("mov.b32", B32, 7)
    with builder.region():
        low = builder.pure("mov.u32", B32, special("tid.x"))
        inner = builder.storage(B32)
        builder.emit("mov.b32", (inner,), (low,))
        builder.pure("mov.b64", B64, Vector((low, high)))
        builder.pure("mov.b64", B64, Vector((inner, high)))
        inside = texts(builder.recent())
    assert [text.split()[0] for text in inside] == ["mov.b32", "mov.b64"]
    assert "mov.b64" in " ".join(texts(builder.recent()))


def test_immediates_beyond_f32_are_infinite() -> None:
    assert Float32.of(1e300).bits == 0x7F800000 and Float32.of(-1e300).bits == 0xFF800000


def test_equal_values_are_computed_once() -> None:
    builder = Builder()
    x, y = builder.once(), builder.once()
    first = builder.pure("add.s32", B32, x, y)
    assert builder.pure("add.s32", B32, x, y) is first
    assert builder.pure("add.s32", B32, y, x) is not first
    assert builder.compute("add.s32", B32, x, y) is not first


def test_mutable_registers_are_read_again() -> None:
    builder = Builder()
    x = builder.storage()
    assert builder.pure("neg.s32", B32, x) is not builder.pure("neg.s32", B32, x)


def test_invariants_leave_loops_and_nothing_leaves_too_far() -> None:
    builder = Builder()
    x = builder.pure("mov.u32", B32, special("tid.x"))
    with builder.region():
        i = builder.once()
        builder.emit("mov.b32", (i,), (0,))
        builder.place("$loop")
        with builder.region():
            inner = builder.pure("mul.lo.s32", B32, i, 4)
            outer = builder.pure("mul.lo.s32", B32, x, 4)
            builder.emit("st.global.b32", (), (Address(Symbol("a")), inner))
            builder.emit("st.global.b32", (), (Address(Symbol("a")), outer))
        builder.branch("$loop")
    assert inner.region == 1 and outer.region == 0
    assert [t.split()[0] for t in texts(builder.finish())] == [
        "mov.u32",
        "mul.lo.s32",  # of tid: before the loop
        "mov.b32",
        "mul.lo.s32",  # of i: in the loop
        "st.global.b32",
        "st.global.b32",
        "bra",
    ]


def test_a_region_forgets_its_values() -> None:
    builder = Builder()
    with builder.region():
        i = builder.once()
        first = builder.pure("neg.s32", B32, i)
    with builder.region():
        j = builder.once()
        assert builder.pure("neg.s32", B32, j) is not first


def masked_complement(source: Register, builder: Builder, shift: int, mask: int) -> list[str]:
    """What becomes of (~source >> shift) & mask, and of the complement itself, which is stored."""
    value = builder.pure("not.b32", B32, source)
    if shift:
        value = builder.pure("shr.u32", B32, value, shift)
    masked = builder.pure("and.b32", B32, value, mask)
    builder.emit("st.global.b32", (), (Address(Symbol("a")), masked))
    items = absorb_complements(clean(builder.finish()))
    renumber(items)
    return texts(items)


def test_masks_read_what_a_complement_is_of() -> None:
    builder = Builder()
    x = builder.pure("mov.u32", B32, special("tid.x"))
    assert masked_complement(x, builder, 0, 0x80010001) == [
        "mov.u32 %r0, %tid.x;",
        "lop3.b32 %r1, %r0, 2147549185, 0, 12;",
        "st.global.b32 [a], %r1;",
    ]
    builder = Builder()
    x = builder.pure("mov.u32", B32, special("tid.x"))
    assert masked_complement(x, builder, 8, 0x00800080) == [
        "mov.u32 %r0, %tid.x;",
        "shr.u32 %r1, %r0, 8;",
        "lop3.b32 %r2, %r1, 8388736, 0, 12;",
        "st.global.b32 [a], %r2;",
    ]


def test_masks_of_shifted_in_zeros_are_left() -> None:
    builder = Builder()
    x = builder.pure("mov.u32", B32, special("tid.x"))
    assert "and.b32 %r3, %r2, 16777216;" in masked_complement(x, builder, 8, 0x01000000)


def test_complements_of_what_changes_are_left() -> None:
    builder = Builder()
    changing = builder.storage()
    builder.emit("mov.u32", (changing,), (special("tid.x"),))
    builder.emit("add.s32", (changing,), (changing, 1))
    assert "and.b32 %r2, %r1, 1;" in masked_complement(changing, builder, 0, 1)


def test_dead_code_and_copies_vanish() -> None:
    builder = Builder()
    x = builder.pure("mov.u32", B32, special("tid.x"))
    unused = builder.pure("add.s32", B32, x, 1)
    builder.pure("add.s32", B32, unused, 1)
    copy = builder.once()
    builder.emit("mov.b32", (copy,), (x,))
    kept = builder.storage()
    builder.emit("mov.b32", (kept,), (x,))
    builder.emit("add.s32", (kept,), (kept, 1))
    builder.emit("ld.global.b32", (builder.once(),), (Address(Symbol("a")),))
    builder.emit("st.global.b32", (), (Address(Symbol("a")), copy))
    builder.emit("st.global.b32", (), (Address(Symbol("a")), kept))
    items = clean(builder.finish())
    counts = renumber(items)
    assert texts(items) == [
        "mov.u32 %r0, %tid.x;",
        "mov.b32 %r1, %r0;",
        "add.s32 %r1, %r1, 1;",
        "st.global.b32 [a], %r0;",
        "st.global.b32 [a], %r1;",
    ]
    assert counts[B32] == 2


def module(target: str) -> Module:
    builder = Builder()
    pointer = builder.once(B64)
    builder.emit("ld.param.u64", (pointer,), (Address(Symbol("param_x")),))
    builder.comment("a statement\nof two lines", Location("prog.vm", 3, 5, 9))
    value = builder.once()
    builder.emit("ld.global.b32", (value,), (Address(pointer, 4),))
    builder.emit("st.global.b32", (), (Address(pointer), value))
    builder.emit("ret")
    items = builder.finish()
    counts = renumber(items)
    kernel = Kernel("k", (Parameter("param_x", "u64"),), 64, items, counts, min_blocks=2)
    return Module(target, KNOWN[target].ptx_version, [kernel], "smem")


EXPECTED = """.version 8.0
.target sm_90a
.address_size 64

.extern .shared .align 128 .b8 smem[];

.visible .entry k(
    .param .u64 param_x
)
.maxntid 64, 1, 1
.minnctapersm 2
{
    .reg .b32 %r<1>;
    .reg .b64 %d<1>;
    ld.param.u64 %d0, [param_x];
    // a statement
    // of two lines
    ld.global.b32 %r0, [%d0+4];
    st.global.b32 [%d0], %r0;
    ret;
}
"""


def test_a_module_prints_and_knows_its_lines() -> None:
    printed = print_module(module("sm_90a"))
    assert printed.text == EXPECTED
    lines = printed.text.split("\n")
    assert {lines[number - 1].split()[0] for number in printed.lines} == {
        "ld.global.b32",
        "st.global.b32",
        "ret;",
    }
    assert {place.line for place in printed.lines.values()} == {3}


@pytest.mark.parametrize("target", TARGETS)
def test_modules_assemble(target: str, tmp_path: Path) -> None:
    text = print_module(module(target), with_locations=True).text
    assert '.file 1 "prog.vm"' in text and ".loc 1 3 5" in text
    assemble(text, target, tmp_path)


def test_the_version_is_the_lowest_that_serves() -> None:
    assert lowest_version(target_named("sm_80"), ["add.s32"]) == (7, 0)
    assert lowest_version(target_named("sm_80"), ["createpolicy.fractional"]) == (7, 4)
    assert lowest_version(target_named("sm_90a"), ["createpolicy.fractional"]) == (8, 0)
    assert lowest_version(target_named("sm_80"), ["ld.global.L1::no_allocate.b32"]) == (7, 4)
    assert lowest_version(target_named("sm_89"), ["cvt.rn.f16x2.e4m3x2"]) == (8, 1)
    assert lowest_version(target_named("sm_90a"), ["cvt.rn.f16x2.e4m3x2"]) == (8, 0)


def test_unknown_targets() -> None:
    with pytest.raises(VMError) as caught:
        target_named("sm_91")
    assert caught.value.message == "unknown target `sm_91`"
    assert caught.value.hint == "known targets: `sm_80`, `sm_86`, `sm_89`, `sm_90a`"
