"""Products of warp groups that are compared with a GPU: every block is a warp group.

Operands in shared memory are the words that its threads store there, word i of thread t at
512 i + 4 t: what a descriptor makes of them is part of what is compared.
"""

from __future__ import annotations

from dataclasses import dataclass

from .cases import Case

STYLES = ("near", "wide", "rare", "subnormal", "zero")
_PACKED = {"f16": "f16x2", "bf16": "bf16x2", "tf32": "f32", "f32": "f32"}
_MODES = {16: 0, 32: 3, 64: 2, 128: 1}


@dataclass(frozen=True)
class Form:
    """A shared operand: `row`, `stride` and `leading` bytes, and the place of its first row's
    start; `words` a thread fill the memory it may read."""

    name: str
    row: int
    stride: int
    leading: int
    words: int
    start: int = 0
    transposed: bool = False

    @property
    def bits(self) -> int:
        """The descriptor of an operand at shared address 0."""
        fields = (self.start // 16) | self.leading // 16 << 16 | self.stride // 16 << 32
        return fields | _MODES[self.row] << 62


K_MAJOR_16 = (
    Form("none", 16, 256, 128, 1),
    Form("none columns", 16, 128, 256, 1),
    Form("32", 32, 256, 16, 1),
    Form("64", 64, 512, 16, 2),
    Form("64 second", 64, 512, 16, 2, 32),
    Form("128", 128, 1024, 16, 4),
    Form("128 second", 128, 1024, 16, 4, 32),
    Form("128 last", 128, 1024, 16, 4, 96),
)
N_MAJOR_16 = (
    Form("n none", 16, 256, 128, 1, transposed=True),
    Form("n none columns", 16, 128, 256, 1, transposed=True),
    Form("n 32", 32, 256, 16, 1, transposed=True),
)
N_MAJOR_64 = (
    Form("n 64 of two", 64, 512, 1024, 4, transposed=True),
    Form("n 128", 128, 1024, 16, 4, transposed=True),
)
M_FORMS = (
    Form("a 32", 32, 256, 16, 4),
    Form("a 64 second", 64, 512, 16, 8, 32),
    Form("a m 128", 128, 1024, 16, 4, transposed=True),
)


def wgmma_case(types: str, n: int, right: Form, left: Form | None = None, style: str = "") -> Case:
    """One wgmma with its accumulator; the left operand is in registers without a form."""
    d, a, b = types.split(".")
    k = {"f16": 16, "bf16": 16, "tf32": 8}.get(a, 32)
    sums = n // 4 if d == "f16" else n // 2
    kinds = [(a, 4 if left is None else left.words), (b, right.words), (d, sums)]
    inputs: list[str] = []
    for number, (kind, count) in enumerate(kinds):
        # Subnormal factors A meet ordinary ones and sums.
        own = "near" if style == "subnormal" and number else style
        inputs += [f"{own}:{_PACKED[kind]}" if kind in _PACKED else "u32"] * count
    opcode = f"wgmma.mma_async.sync.aligned.m64n{n}k{k}.{types}"
    name = " ".join(filter(None, (opcode, right.name, left.name if left else "", style)))
    starts = [0, kinds[0][1], kinds[0][1] + right.words]
    text = _operands(starts, right, left) + _product(opcode, starts, sums, right, left)
    shared = 1024 + 512 * (right.words + (left.words if left else 0)) + 1024
    return Case(name, text, tuple(inputs), ("u4",) * sums, shared=shared)


def _operands(starts: list[int], right: Form, left: Form | None) -> str:
    """Stores what is shared, b first, and makes the descriptors."""
    text = "mov.u32 %r1, smem; add.u32 %r1, %r1, 1023; and.b32 %r1, %r1, 0xfffffc00;"
    text += "mov.u32 %r3, %tid.x; mad.lo.u32 %r2, %r3, 4, %r1;"
    left_start = -(-512 * right.words // 1024) * 1024
    text += "".join(
        f"st.shared.b32 [%r2+{512 * i}], {{i{starts[1] + i}}};" for i in range(right.words)
    )
    text += "shr.u32 %r4, %r1, 4; cvt.u64.u32 %rd50, %r4;"
    text += f"add.s64 %rd51, %rd50, {right.bits};"
    if left is not None:
        text += "".join(
            f"st.shared.b32 [%r2+{left_start + 512 * i}], {{i{i}}};" for i in range(left.words)
        )
        text += f"add.s64 %rd52, %rd50, {left.bits + left_start // 16};"
    return text + "fence.proxy.async; bar.sync 0; setp.eq.u32 %p1, 0, 0;"


def _product(opcode: str, starts: list[int], sums: int, right: Form, left: Form | None) -> str:
    outputs = ", ".join(f"{{o{i}}}" for i in range(sums))
    source = "%rd52" if left else "{{" + ", ".join(f"{{i{i}}}" for i in range(4)) + "}}"
    majors = [form.transposed for form in (left, right) if form is not None]
    immediates = "" if ".s32" in opcode else ", 1, 1"
    if "k16" in opcode:
        immediates += "".join(f", {int(major)}" for major in majors)
    text = "".join(f"mov.b32 {{o{i}}}, {{i{starts[2] + i}}};" for i in range(sums))
    text += "wgmma.fence.sync.aligned;"
    text += f"{opcode} {{{{{outputs}}}}}, {source}, %rd51, %p1{immediates};"
    return text + "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;"


def wgmma_cases() -> list[Case]:
    """Every type with every style of floats, then every form of shared operands."""
    plain = Form("32", 32, 256, 16, 1)
    found = []
    for types in ("f32.f16.f16", "f16.f16.f16", "f32.bf16.bf16", "f32.tf32.tf32"):
        found += [wgmma_case(types, 16, plain, style=style) for style in STYLES]
    for kinds in ("e4m3.e4m3", "e5m2.e4m3", "e4m3.e5m2", "e5m2.e5m2"):
        for d in ("f32", "f16"):
            found += [wgmma_case(f"{d}.{kinds}", 16, plain, style=s) for s in ("near", "zero")]
    for kinds in ("s8.s8", "u8.s8", "s8.u8", "u8.u8"):
        found.append(wgmma_case(f"s32.{kinds}", 16, plain))
    for form in (*K_MAJOR_16[:2], *K_MAJOR_16[3:]):
        found.append(wgmma_case("f32.f16.f16", 16, form, style="near"))
        found.append(wgmma_case("s32.s8.s8", 16, form))
    found += [wgmma_case("f32.bf16.bf16", 16, form, style="near") for form in N_MAJOR_16]
    found += [wgmma_case("f16.f16.f16", 64, form, style="near") for form in N_MAJOR_64]
    found += [wgmma_case("f32.f16.f16", 16, plain, left, "near") for left in M_FORMS]
    found.append(wgmma_case("s32.u8.u8", 16, plain, M_FORMS[0]))
    assert len({case.name for case in found}) == len(found)
    return found
