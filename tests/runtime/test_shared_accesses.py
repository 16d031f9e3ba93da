"""Bank conflicts counted from PTX: against the layouts' own count, and on small texts."""

from __future__ import annotations

import pytest

from tileloom import vm
from tileloom.layouts import access_wavefronts, parse_layout, parse_memory_layout
from tileloom.runtime import compile_kernel
from tileloom.runtime.inspect.accesses import SharedAccess, shared_accesses

HEAD = """\
.version 8.0
.target sm_90a
.address_size 64
.extern .shared .align 128 .b8 smem[];
.visible .entry k(.param .u64 param_x, .param .s32 param_n)
{
    .reg .pred %p<9>;
    .reg .b32 %r<99>;
    .reg .b64 %d<9>;
    mov.u32 %r0, %tid.x;
    mov.u32 %r1, smem;
    ld.param.s32 %r2, [param_n];
"""


def accesses(body: str, threads: int = 64) -> list[SharedAccess]:
    return shared_accesses(HEAD + body + "    ret;\n}\n", "k", threads)


def cost(body: str, threads: int = 64) -> list[tuple[int | None, int | None]]:
    return [(a.wavefronts, a.least) for a in accesses(body, threads)]


def at_stride(stride: int, access: str) -> str:
    return f"    mad.lo.s32 %r3, %r0, {stride}, %r1;\n    // the access\n    {access}\n"


@pytest.mark.parametrize(
    ("registers", "memory", "vector"),
    [
        ("spatial(32, 1) * local(1, 32)", "row_major(32, 32)", 4),
        ("spatial(1, 32) * local(32, 1)", "row_major(32, 32)", 1),
        ("spatial(32, 1) * local(1, 32)", "row_major(32, 32) ^ swizzle(3, 4, 3)", 4),
        ("local(4, 1) * spatial(8, 4) * local(1, 8)", "row_major(32, 32)", 4),
        ("local(1, 16) * spatial(32, 2)", "strided([32, 32], [33, 1])", 1),
    ],
)
def test_the_layouts_count_the_same(registers: str, memory: str, vector: int) -> None:
    warps = parse_layout(registers).num_threads // 32
    tile = f"reg<f32, [32, 32], {registers}>"
    text = f"""
func @k(%x: *f32, %y: *f32) warps = {warps} {{
  %gx = global_view %x : global<f32, [32, 32]>
  %gy = global_view %y : global<f32, [32, 32]>
  %tile = alloc_shared : shared<f32, [32, 32], {memory}>
  %in = load %gx[0, 0] : {tile}
  store %tile[0, 0], %in
  barrier
  %out = load %tile[0, 0] : {tile}
  store %gy[0, 0], %out
}}
"""
    kernel = compile_kernel(vm.parse(text))
    expected = access_wavefronts(parse_layout(registers), parse_memory_layout(memory), 32, vector)
    found = shared_accesses(kernel.ptx, "k", kernel.num_threads)
    stores = [a for a in found if a.opcode.startswith("st.")]
    assert sorted(a.wavefronts or 0 for a in stores) == sorted(expected.sum(0))
    assert [a.width for a in stores] == [4 * vector] * len(stores)


@pytest.mark.parametrize(
    ("stride", "access", "expected"),
    [
        (4, "ld.shared.b32 %r9, [%r3];", (2, 2)),
        (8, "ld.shared.b32 %r9, [%r3+64];", (4, 2)),
        (128, "st.shared.b32 [%r3], %r0;", (64, 2)),
        (0, "ld.shared.b32 %r9, [%r3];", (2, 2)),
        (1, "ld.shared.u8 %r9, [%r3];", (2, 2)),
        (8, "st.shared.v2.b32 [%r3], {%r0, %r1};", (4, 4)),
        (16, "ld.shared.v4.f32 {%r5, %r6, %r7, %r8}, [%r3];", (8, 8)),
        (64, "ld.shared.v4.f32 {%r5, %r6, %r7, %r8}, [%r3];", (32, 8)),
        (16, "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r5, %r6, %r7, %r8}, [%r3];", (8, 8)),
        (128, "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r5, %r6}, [%r3];", (32, 4)),
        (128, "stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r3], {%r5};", (16, 2)),
        (16, "cp.async.cg.shared.global [%r3], [%d1], 16;", (8, 8)),
        (128, "red.shared.add.u32 [%r3], %r0;", (64, 2)),
        (2, "ld.shared.b32 %r9, [%r3];", (None, None)),  # misaligned
    ],
)
def test_costs(stride: int, access: str, expected: tuple[int | None, int | None]) -> None:
    (found,) = accesses(at_stride(stride, access))
    assert (found.wavefronts, found.least) == expected
    assert found.comment == "the access"
    assert found.is_conflicting == (expected[0] != expected[1])


def test_banks_of_the_slowest_pass() -> None:
    (found,) = accesses(at_stride(8, "ld.shared.b32 %r9, [%r3];"), threads=32)
    assert found.banks == tuple(2 if bank % 2 == 0 else 0 for bank in range(32))
    assert found.factor == 2


def test_what_is_no_access_of_ones_own_shared_memory() -> None:
    for access in (
        "ld.global.b32 %r9, [%d1];",
        "ld.shared::cluster.b32 %r9, [%r3];",
        "cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%r3], [%d1], 16, [%r4];",
        "cp.async.commit_group;",
        "bar.sync 0;",
    ):
        assert accesses(at_stride(4, access)) == []


def test_lanes_that_are_switched_off() -> None:
    body = "    setp.lt.u32 %p1, %r0, 8;\n" + at_stride(128, "@%p1 st.shared.b32 [%r3], %r0;")
    assert cost(body) == [(8, 1)]
    assert cost(body.replace("@%p1", "@!%p1")) == [(24 + 32, 2)]
    # A condition over a parameter isn't known: every lane may take part.
    unknown = "    setp.lt.s32 %p1, %r0, %r2;\n" + at_stride(128, "@%p1 st.shared.b32 [%r3], %r0;")
    assert cost(unknown) == [(64, 2)]


def test_branches() -> None:
    access = at_stride(128, "st.shared.b32 [%r3], %r0;")
    skip = f"    setp.ge.u32 %p1, %r0, 32;\n    @%p1 bra $L1;\n{access}$L1:\n{access}"
    assert cost(skip) == [(32, 1), (64, 2)]
    both = (
        f"    setp.ge.u32 %p1, %r0, 32;\n    @%p1 bra $L1;\n{access}    bra.uni $L2;\n"
        f"$L1:\n{access}{access}$L2:\n{access}"
    )
    assert cost(both) == [(32, 1), (32, 1), (32, 1), (64, 2)]
    unknown = both.replace("setp.ge.u32 %p1, %r0, 32", "setp.ge.s32 %p1, %r2, 32")
    assert cost(unknown) == [(64, 2)] * 4
    assert cost(f"    setp.ge.u32 %p1, %r0, 32;\n    @%p1 exit;\n{access}") == [(32, 1)]


def test_what_addresses_are_made_of() -> None:
    swizzle = (
        "    shl.b32 %r4, %r0, 7;\n    shr.u32 %r5, %r4, 3;\n"
        "    lop3.b32 %r6, %r4, %r5, 112, 0x78;\n    add.s32 %r3, %r6, %r1;\n"
    )
    read = "    ld.shared.v4.b32 {%r5, %r6, %r7, %r8}, [%r3];\n"
    assert cost(swizzle + read, 32) == [(4, 4)]  # a column of chunks, swizzled
    assert cost(swizzle.replace("0x78", "0xF0") + read, 32) == [(32, 4)]  # and not
    wide = "    cvt.u64.u32 %d1, %r0;\n    shl.b64 %d1, %d1, 7;\n    cvt.u32.u64 %r3, %d1;\n"
    assert cost(wide + "    ld.shared.b32 %r5, [%r3];\n", 32) == [(32, 1)]
    chosen = (
        "    setp.hs.u32 %p1, %r0, 16;\n    selp.b32 %r4, 128, 4, %p1;\n"
        "    mul.lo.s32 %r3, %r0, %r4;\n    ld.shared.b32 %r5, [%r3];\n"
    )
    assert cost(chosen, 32) == [(17, 1)]


def test_loops_are_in_their_first_turn() -> None:
    body = (
        "    mov.b32 %r4, 0;\n$L1:\n    add.s32 %r5, %r4, 1024;\n"
        "    mad.lo.s32 %r3, %r0, 4, %r5;\n    st.shared.b32 [%r3], %r0;\n"
        "    setp.lt.u32 %p2, %r4, 1;\n    @%p2 st.shared.b32 [%r3], %r0;\n"
        "    add.s32 %r4, %r4, 1;\n    setp.lt.s32 %p1, %r4, %r2;\n    @%p1 bra $L1;\n"
    )
    assert cost(body) == [(2, 2), (2, 2)]
    # In a loop `%r4 < 1` holds in the first turn only: nothing is concluded from it.
    never = body.replace("setp.lt.u32 %p2, %r4, 1", "setp.gt.u32 %p2, %r4, 1")
    assert cost(never) == [(2, 2), (2, 2)]


def test_addresses_out_of_memory_are_unknown() -> None:
    body = "    ld.shared.b32 %r4, [%r1];\n    ld.shared.b32 %r5, [%r4];\n"
    assert cost(body) == [(2, 2), (None, None)]
    kept = "    mov.b32 %r4, %r1;\n    setp.lt.s32 %p1, %r2, 3;\n    @%p1 mov.b32 %r4, %r9;\n"
    assert cost(kept + "    ld.shared.b32 %r5, [%r4];\n") == [(None, None)]


def test_unreadable_texts_have_no_accesses() -> None:
    assert shared_accesses("nonsense", "k", 32) == []
    assert shared_accesses(HEAD + "    ret;\n}\n", "other", 32) == []
    assert cost("    frobnicate.b32 %r5, %r1;\n    ld.shared.b32 %r6, [%r5];\n") == [(None, None)]
