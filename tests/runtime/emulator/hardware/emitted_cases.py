"""What the compiler emits beside `cases`: other spellings, quotients, comparisons and updates."""

from __future__ import annotations

from .cases import Case, simple


def emitted_cases() -> list[Case]:
    found = _arithmetic() + _quotients() + _comparisons() + _updates()
    assert len({case.name for case in found}) == len(found)
    return found


def _arithmetic() -> list[Case]:
    found = [simple(f"{name}.f32", "f32 f32", "u4") for name in ("add", "sub", "mul")]
    for name in ("add", "sub", "mul"):
        for kind, out in (("f64", "u8"), ("f16x2", "u4"), ("bf16x2", "u4")):
            found.append(simple(f"{name}.rn.{kind}", f"{kind} {kind}", out))
    found.append(simple("cvt.rn.satfinite.f16x2.f32", "f32 f32", "u4"))
    found += [simple(f"cvt.{to}.u32", "u32", "u8") for to in ("s64", "u64")]
    return found


def _quotients() -> list[Case]:
    """What a number divided by zero gives is nobody's business: by one instead."""
    found = []
    for name in ("div", "rem"):
        for kind in ("s32", "u32", "s64", "u64"):
            bits = kind[1:]
            register = "%r1" if bits == "32" else "%rd8"
            text = f"setp.eq.b{bits} %p1, {{i1}}, 0; selp.b{bits} {register}, 1, {{i1}}, %p1; "
            text += f"{name}.{kind} {{o0}}, {{i0}}, {register};"
            operands = (f"u{bits}", f"u{bits}")
            found.append(Case(f"{name}.{kind}", text, operands, (f"u{int(bits) // 8}",)))
    return found


def _comparisons() -> list[Case]:
    """Of numbers that often are equal but for their lower half."""
    found = []
    for kind in ("s32", "u32", "s64", "u64"):
        bits = kind[1:]
        for name in ("eq", "ne", "lt", "le", "gt", "ge"):
            found.append(_comparison(f"setp.{name}.{kind}", bits))
    return [*found, _comparison("setp.ne.b32", "32")]


def _comparison(opcode: str, bits: str) -> Case:
    half = int(bits) // 2
    register = "%r1" if bits == "32" else "%rd8"
    text = (
        f"bfi.b{bits} {register}, {{i1}}, {{i0}}, 0, {half}; {opcode} {{o0}}, {{i0}}, {register};"
    )
    text += f" {opcode} {{o1}}, {{i0}}, {{i1}};"
    return Case(opcode, text, (f"u{bits}", f"u{bits}"), ("bool", "bool"))


_ATOM = {
    "global.and": ("b64",), "global.or": ("b32", "b64"), "global.xor": ("b32",),
    "global.exch": ("b64",), "global.max": ("s32", "u64"), "global.min": ("u32", "s64"),
    "acq_rel.gpu.global.add": ("u32",), "acq_rel.gpu.global.exch": ("b32",),
}  # fmt: skip
_RED = {
    "global.add": ("u32", "u64", "f32", "f16", "f16x2"), "shared.add": ("u32", "f16x2"),
    "global.and": ("b32", "b64"), "global.or": ("b32", "b64"), "global.xor": ("b32", "b64"),
    "global.min": ("s32", "u32", "s64", "u64"), "global.max": ("s32", "u32", "s64", "u64"),
}  # fmt: skip


def _updates() -> list[Case]:
    """Each thread on a cell of its own; the cell is where the last result will be stored."""
    found = [_update(f"atom.{n}", kind, True) for n, kinds in _ATOM.items() for kind in kinds]
    found += [_update(f"red.{n}", kind, False) for n, kinds in _RED.items() for kind in kinds]
    for scope, kind in (("", "b32"), ("", "b64"), ("acq_rel.gpu.", "b32")):
        found.append(_exchange(f"atom.{scope}global.cas.{kind}", kind[1:]))
    return found


def _update(name: str, kind: str, gives: bool) -> Case:
    noftz = ".noftz" if "16" in kind else ""
    bits = 32 if "x2" in kind else int(kind.lstrip("usbf"))
    source = kind if kind[0] == "f" else f"u{bits}"
    out = f"u{bits // 8}"
    place, space, text = ("[%rd3]" if gives else "[%rd2]"), "global", ""
    if "shared" in name:
        text = "mov.u32 %r1, smem; mov.u32 %r3, %tid.x; mad.lo.u32 %r2, %r3, 8, %r1; "
        place, space = "[%r2]", "shared"
    opcode = f"{name}{noftz}.{kind}"
    old = "{o0}, " if gives else ""
    text += f"st.{space}.b{bits} {place}, {{i0}}; {opcode} {old}{place}, {{i1}}; "
    text += f"ld.volatile.{space}.b{bits} {{o{int(gives)}}}, {place};"
    return Case(opcode, text, (source, source), (out,) * (1 + gives), shared=1024)


def _exchange(opcode: str, bits: str) -> Case:
    """Half of the comparisons hold."""
    register = "%r1" if bits == "32" else "%rd8"
    text = f"selp.b{bits} {register}, {{i0}}, {{i1}}, {{i2}}; st.global.b{bits} [%rd4], {{i0}}; "
    text += f"{opcode} {{o0}}, [%rd4], {register}, {{i1}}; "
    text += f"ld.volatile.global.b{bits} {{o1}}, [%rd4];"
    kinds = (f"u{bits}", f"u{bits}", "pred")
    return Case(opcode, text, kinds, (f"u{int(bits) // 8}",) * 2)
