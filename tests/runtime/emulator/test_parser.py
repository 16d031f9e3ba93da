"""The parser: what it makes of the text, and the errors that name its lines."""

from __future__ import annotations

import pytest

from tileloom.runtime.emulator import EmulatorError, parse_module
from tileloom.runtime.emulator.parser import parse
from tileloom.runtime.emulator.syntax import (
    FloatBits,
    Int,
    Mem,
    Not,
    Pair,
    Reg,
    Sink,
    Symbol,
    Vector,
)

HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"

SAMPLE = (
    HEAD
    + """.extern .shared .align 128 .b8 smem[];
.file 1 "gemm.py"
.global .align 8 .b32 table[4] = {1, 0x2, -3, 4};
.visible .entry first(
  .param .u64 .ptr .global .align 16 first_a, // a pointer
  .param .u32 first_n,
  .param .align 64 .b8 first_map[128]
)
.maxntid 128, 1, 1
.minnctapersm 2
{
  .reg .b32 %r<10>, %special; .reg .pred %p<3>;
  .reg .b64 %rd<4>;
  .shared .align 16 .b8 pool[64];
  .loc 1 5 3
  // %a = load %x : reg<f16, [16, 16]>
  ld.param.u64 %rd1, [first_a];
  /* a comment
     of two lines */ mov.u32 %r1, %tid.x;
  setp.lt.and.u32 %p1|%p2, %r1, 0x10, !%p0;
AGAIN:
  @!%p1 ld.global.nc.L2::128B.v2.b32 {%r2, _}, [%rd1+-16];
  @%p2 bra.uni AGAIN;
  mov.u32 %r4, smem+16; mov.b32 %special, 0f3F800000;
  {
    .reg .b32 %r1;
    mov.u32 %r1, 7;
  }
  ret;
}
.entry second() { ret; }
"""
)


def test_module() -> None:
    module = parse(SAMPLE)
    assert (module.version, module.target) == ("8.0", "sm_80")
    assert set(module.functions) == {"first", "second"}
    assert module.variables["smem"].external
    assert module.variables["table"].data == b"\1\0\0\0\2\0\0\0\xfd\xff\xff\xff\4\0\0\0"
    body = module.functions["first"]
    assert [(p.name, p.offset, p.size) for p in body.params] == [
        ("first_a", 0, 8),
        ("first_n", 8, 4),
        ("first_map", 64, 128),
    ]
    assert body.variables["pool"].size == 64
    assert body.labels == {"AGAIN": 3}


def test_operands() -> None:
    body = parse(SAMPLE).functions["first"]
    load, move, compare, again, branch, address, one, inner, _ = body.instructions
    assert [i.opcode for i in (load, move, compare)] == [
        "ld.param.u64",
        "mov.u32",
        "setp.lt.and.u32",
    ]
    assert load.operands[1] == Mem(Symbol("first_a"), 0)
    assert isinstance(compare.operands[0], Pair)
    assert compare.operands[2] == Int(16)
    assert isinstance(compare.operands[3], Not)
    assert again.negated and again.guard is not None and again.guard.name == "%p1"
    vector = again.operands[0]
    assert isinstance(vector, Vector) and vector.items[1] == Sink()
    assert isinstance(again.operands[1], Mem) and again.operands[1].offset == -16
    assert branch.operands == (Symbol("AGAIN"),)
    assert address.operands[1] == Symbol("smem", 16)
    assert one.operands[1] == FloatBits(32, 0x3F800000)
    outer = move.operands[0]
    shadow = inner.operands[0]
    assert isinstance(outer, Reg) and isinstance(shadow, Reg)
    assert outer.name == shadow.name and outer.slot != shadow.slot


def test_lines() -> None:
    module = parse(SAMPLE)
    load, move = module.functions["first"].instructions[:2]
    lines = SAMPLE.split("\n")
    assert "first_a]" in lines[load.line - 1]
    assert "mov.u32 %r1, %tid.x" in lines[move.line - 1]
    assert module.source.comment(load.line) == "%a = load %x : reg<f16, [16, 16]>"
    assert module.source.location(load.line) == ("gemm.py", 5)


def wrong(statement: str, message: str) -> None:
    text = HEAD + ".entry k() {\n  .reg .b32 %r<4>; .reg .pred %p; .reg .b64 %d; .reg .f32 %f;\n"
    text += f"  // what the program says\n  {statement}\n  ret;\n}}\n"
    with pytest.raises(EmulatorError) as caught:
        parse_module(text)
    error = caught.value
    assert error.message == message
    assert error.line == 7
    assert error.text == statement
    assert error.comment == "what the program says"
    assert str(error) == (f"{message}\n  --> ptx line 7: {statement}\n  vm: what the program says")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("frobnicate.b32 %r1, %r2;", "unknown opcode `frobnicate.b32`"),
        ("add.fast.u32 %r1, %r2, %r3;", "unknown modifier `.fast` of `add.fast.u32`"),
        ("add %r1, %r2, %r3;", "`add` needs a type"),
        ("add.u32 %r1, %r2;", "`add.u32` takes 3 operands, not 2"),
        ("add.u32 %r1, %r2, %d;", "`%d` has 64 bits where `.u32` is expected"),
        ("add.u32 %r1, %r2, %r9;", "register `%r9` is not declared"),
        ("add.u32 5, %r2, %r3;", "a destination register is expected, not `5`"),
        ("add.u32 %r1,, %r3;", "an operand is missing beside a comma"),
        ("add.u32 %tid.x, %r1, %r2;", "`%tid.x` can't be written"),
        ("lop3.b32 %r1, %r2, %r3, %r0, 256;", "lop3 table 256 is not in 0 .. 255"),
        ("@%r1 add.u32 %r1, %r2, %r3;", "the guard `%r1` is no predicate"),
        ("bra NOWHERE;", "a branch needs a label of this function"),
        ("mov.u32 %r1, nothing;", "`nothing` is not declared"),
        ("ld.param.u32 %r1, [nothing];", "`nothing` is no parameter"),
        ("ld.global.v2.u32 %r1, [%d];", "a vector of 2 is expected, not `%r1`"),
        ("cvt.f16.f32 %r1, %f;", "`cvt.f16.f32` needs a rounding mode"),
        ("cvt.s32.f32 %r1, %f;",
         "`cvt.s32.f32` needs a rounding to integer (.rni .rzi .rmi .rpi)"),
        ("shfl.down.b32 %r1, %r2, 1, 31;", "`shfl.down.b32` needs .sync"),
        ("setp.lt.b32 %p, %r1, %r2;", "`setp.lt.b32`: no such comparison of `.b32`"),
        ("mma.sync.aligned.m16n8k16.row.col.f32.f16.bf16.f32 {%r1}, {%r1}, {%r1}, {%r1};",
         "`mma.sync.aligned.m16n8k16.row.col.f32.f16.bf16.f32`: no such combination of types"),
        ("cp.async.cg.shared.global [%r1], [%d], 8;",
         "`cp.async.cg.shared.global` can't copy 8 bytes"),
        ("call printf;", "there is no function `printf` to call"),
        ("?;", "this is no instruction"),
        (".unknown 3;", "unknown directive `.unknown`"),
    ],
)  # fmt: skip
def test_errors(statement: str, message: str) -> None:
    wrong(statement, message)


def test_unclosed_function() -> None:
    with pytest.raises(EmulatorError, match="is missing at the end of the function"):
        parse_module(HEAD + ".entry k() {\n  ret;\n")


def test_unknown_module_directive() -> None:
    with pytest.raises(EmulatorError) as caught:
        parse_module(HEAD + ".what is this;\n")
    assert (caught.value.message, caught.value.line) == ("unknown directive `.what`", 4)


def test_label_twice() -> None:
    with pytest.raises(EmulatorError, match="label `L` is defined twice"):
        parse_module(HEAD + ".entry k() {\nL:\nL:\n  ret;\n}")
