"""PTX for tests of what comes after the compiler."""

SAXPY = """\
.version 8.0
.target sm_90a
.address_size 64
.file 1 "prog.vm"
.visible .entry saxpy(.param .u64 p0, .param .u32 p1, .param .f32 p2)
.maxntid 128, 1, 1
{
  .reg .b64 %rd<4>; .reg .b32 %r<5>; .reg .f32 %f<4>; .reg .pred %p<2>;
  .loc 1 3 5
  ld.param.u64 %rd0, [p0];
  ld.param.u32 %r0, [p1];
  ld.param.f32 %f0, [p2];
  mov.u32 %r1, %tid.x;
  setp.ge.s32 %p0, %r1, %r0;
  @%p0 ret;
  .loc 1 4 7
  mul.wide.s32 %rd1, %r1, 4;
  add.s64 %rd2, %rd0, %rd1;
  ld.global.f32 %f1, [%rd2];
  fma.rn.f32 %f1, %f1, %f0, %f1;
  st.global.f32 [%rd2], %f1;
  ret;
}
"""

# Static shared memory of 256 bytes.
SHARED = """\
.version 8.0
.target TARGET
.address_size 64
.visible .entry shared(.param .u64 p0)
{
  .reg .b64 %rd<6>; .reg .b32 %r<4>;
  .shared .align 16 .b8 buf[256];
  ld.param.u64 %rd0, [p0];
  mov.u32 %r0, %tid.x;
  st.shared.b32 [buf+4], %r0;
  bar.sync 0;
  ld.shared.b32 %r1, [buf+8];
  st.global.b32 [%rd0], %r1;
  ret;
}
"""

# An accumulator is read while wgmma is in flight: the assembler must put waits in between.
SERIALISED = """\
.version 8.0
.target sm_90a
.address_size 64
.visible .entry serial(.param .u64 p0)
{
  .reg .b64 %rd<6>; .reg .f32 %f<8>; .reg .b32 %r<4>;
  ld.param.u64 %rd0, [p0];
  mov.b64 %rd1, 0;
  mov.f32 %f0, 0f00000000; mov.f32 %f1, %f0; mov.f32 %f2, %f0; mov.f32 %f3, %f0;
  wgmma.fence.sync.aligned;
  wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0,%f1,%f2,%f3}, %rd1, %rd1, 1, 1, 1, 0, 0;
  add.f32 %f0, %f0, %f1;
  wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0,%f1,%f2,%f3}, %rd1, %rd1, 1, 1, 1, 0, 0;
  wgmma.commit_group.sync.aligned;
  wgmma.wait_group.sync.aligned 0;
  st.global.f32 [%rd0], %f0;
  st.global.f32 [%rd0+4], %f1;
  ret;
}
"""


def spilling(count: int = 64) -> str:
    """A kernel that keeps `count` values alive in fewer registers than that."""
    loads = "\n".join(f"  ld.volatile.global.f32 %f{i}, [%rd0+{4 * i}];" for i in range(count))
    stores = "\n".join(f"  st.volatile.global.f32 [%rd0+{4 * i}], %f{i};" for i in range(count))
    return f"""\
.version 8.0
.target sm_90a
.address_size 64
.visible .entry spilling(.param .u64 p0)
.maxnreg 32
{{
  .reg .b64 %rd<2>; .reg .f32 %f<{count}>;
  ld.param.u64 %rd0, [p0];
{loads}
  bar.sync 0;
{stores}
  ret;
}}
"""


def given_back(count: int) -> str:
    """A kernel of which one warp group gives registers back down to `count`, while the sums of a
    product live on, and the other multiplies meanwhile."""
    product = "  wgmma.fence.sync.aligned;\n  wgmma.mma_async.sync.aligned.m64n{}k16.f32.f16.f16"
    wait = "  wgmma.commit_group.sync.aligned;\n  wgmma.wait_group.sync.aligned 0;"
    operands = "%rd1, %rd1, 1, 1, 1, 0, 0;"
    kept, sums = ([f"%f{i}" for i in numbers] for numbers in (range(16), range(16, 80)))

    def zeros(names: list[str]) -> str:
        return "\n".join(f"  mov.f32 {name}, 0f00000000;" for name in names)

    def stores(names: list[str]) -> str:
        return "\n".join(f"  st.global.f32 [%rd0+{4 * i}], {n};" for i, n in enumerate(names))

    return f"""\
.version 8.0
.target sm_90a
.address_size 64
.visible .entry given_back(.param .u64 p0)
.maxntid 256, 1, 1
.minnctapersm 1
{{
  .reg .b64 %rd<2>; .reg .f32 %f<80>; .reg .b32 %r<1>; .reg .pred %p<1>;
  ld.param.u64 %rd0, [p0];
  mov.b64 %rd1, 0;
  mov.u32 %r0, %tid.x;
{zeros(kept)}
{product.format(32)} {{{", ".join(kept)}}}, {operands}
{wait}
  setp.lt.u32 %p0, %r0, 128;
  @%p0 bra $more;
  setmaxnreg.dec.sync.aligned.u32 {count};
  bra $end;
$more:
  setmaxnreg.inc.sync.aligned.u32 160;
{zeros(sums)}
{product.format(128)} {{{", ".join(sums)}}}, {operands}
{wait}
{stores(sums)}
$end:
  bar.sync 0;
{stores(kept)}
  ret;
}}
"""
