"""The instructions that are compared with a GPU, and their operands.

Operands follow from the case's name by a hash, so that fixtures hold results only. Cases without
a bound must agree bit for bit.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

from .operands import FORMATS, Array, operand


@dataclass(frozen=True)
class Bound:
    """How far an approximate result of type `kind` may lie from another: any of the three."""

    kind: str
    ulps: float
    relative: float
    absolute: float


@dataclass(frozen=True)
class Case:
    """`inputs` name kinds of operands (see `operand`), `outputs` numpy types."""

    name: str
    text: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shared: int = 0
    bound: Bound | None = None

    def operands(self) -> list[Array]:
        seed = zlib.crc32(self.name.encode())
        return [operand(kind, seed + 77 * number) for number, kind in enumerate(self.inputs)]


# ---- the cases


def simple(opcode: str, inputs: str, output: str) -> Case:
    """`opcode d, a, b ..;` with operand kinds separated by spaces."""
    kinds = tuple(inputs.split())
    sources = ", ".join(f"{{i{number}}}" for number in range(len(kinds)))
    return Case(opcode, f"{opcode} {{o0}}, {sources};", kinds, (output,))


def _integer_cases() -> list[Case]:
    found = []
    for bits in (16, 32, 64):
        u, out = f"u{bits}", f"u{bits // 8}"
        # Only the 32-bit forms define places and lengths above 255: they use the low byte.
        place = "small:300" if bits == 32 else "small:256"
        for sign in "us":
            kind = f"{sign}{bits}"
            for name in ("add", "sub", "mul.lo", "mul.hi", "min", "max"):
                found.append(simple(f"{name}.{kind}", f"{u} {u}", out))
            found.append(simple(f"mad.lo.{kind}", f"{u} {u} {u}", out))
            found.append(simple(f"shr.{kind}", f"{u} small:80", out))
            if bits > 16:
                found.append(simple(f"bfe.{kind}", f"{u} {place} {place}", out))
                found.append(simple(f"bfind.{kind}", u, "u4"))
            if bits < 64:
                found.append(simple(f"mul.wide.{kind}", f"{u} {u}", f"u{bits // 4}"))
                wide = f"u{2 * bits}"
                found.append(simple(f"mad.wide.{kind}", f"{u} {u} {wide}", f"u{bits // 4}"))
            if bits == 32:
                found.append(simple(f"sad.{kind}", f"{u} {u} {u}", out))
                found.append(simple(f"mul24.lo.{kind}", f"{u} {u}", out))
                found.append(simple(f"mul24.hi.{kind}", f"{u} {u}", out))
        found += [simple(f"neg.s{bits}", u, out), simple(f"abs.s{bits}", u, out)]
        found += [simple(f"shl.b{bits}", f"{u} small:80", out), simple(f"not.b{bits}", u, out)]
    for bits in (32, 64):
        u, out = f"u{bits}", f"u{bits // 8}"
        found += [simple(f"{name}.b{bits}", u, "u4") for name in ("popc", "clz")]
        found.append(simple(f"brev.b{bits}", u, out))
        place = "small:300" if bits == 32 else "small:256"
        found.append(simple(f"bfi.b{bits}", f"{u} {u} {place} {place}", out))
    for direction in "lr":
        for mode in ("wrap", "clamp"):
            found.append(simple(f"shf.{direction}.{mode}.b32", "u32 u32 u32", "u4"))
    for kinds in ("u32.u32", "s32.s32", "u32.s32", "s32.u32"):
        found.append(simple(f"dp4a.{kinds}", "u32 u32 u32", "u4"))
        found.append(simple(f"dp2a.hi.{kinds}", "u32 u32 u32", "u4"))
    found += [simple("add.sat.s32", "u32 u32", "u4"), simple("sub.sat.s32", "u32 u32", "u4")]
    found += [
        simple(f"{n}.{k}", "u32 u32", "u4") for n in ("min", "max") for k in ("s16x2", "u16x2")
    ]
    found.append(simple("add.u16x2", "u32 u32", "u4"))
    found.append(simple("prmt.b32", "u32 u32 u32", "u4"))
    for mode in ("f4e", "b4e", "rc8", "ecl", "ecr", "rc16"):
        found.append(simple(f"prmt.b32.{mode}", "u32 u32 u32", "u4"))
    for mode in ("wrap", "clamp"):
        found.append(simple(f"szext.{mode}.s32", "u32 small:80", "u4"))
        found.append(simple(f"szext.{mode}.u32", "u32 small:80", "u4"))
        found.append(simple(f"bmsk.{mode}.b32", "small:80 small:80", "u4"))
    tables = "".join(
        f"lop3.b32 %r1, {{i0}}, {{i1}}, {{i2}}, {table}; mad.lo.u32 %r2, %r2, 31, %r1;"
        for table in range(256)
    )
    text = f"mov.u32 %r2, 0; {tables} mov.u32 {{o0}}, %r2;"
    found.append(Case("lop3.b32", text, ("u32", "u32", "u32"), ("u4",)))
    return found


def _float_cases() -> list[Case]:
    found = []
    for name in ("add", "sub", "mul"):
        found.append(simple(f"{name}.f64", "f64 f64", "u8"))
        for extra in (".rn", ".rz", ".rm", ".rp", ".ftz", ".sat"):
            found.append(simple(f"{name}{extra}.f32", "f32 f32", "u4"))
        for kind in ("f16", "bf16", "f16x2", "bf16x2"):
            found.append(simple(f"{name}.{kind}", f"{kind} {kind}", "u4" if "x2" in kind else "u2"))
        found.append(simple(f"{name}.ftz.f16x2", "f16x2 f16x2", "u4"))
        found.append(simple(f"{name}.sat.f16x2", "f16x2 f16x2", "u4"))
    found.append(simple("fma.rn.f64", "f64 f64 f64", "u8"))
    for extra in (".rn", ".rz", ".rm", ".rp", ".rn.ftz", ".rn.sat"):
        found.append(simple(f"fma{extra}.f32", "f32 f32 f32", "u4"))
    for kind in ("f16", "bf16", "f16x2", "bf16x2"):
        out = "u4" if "x2" in kind else "u2"
        extras = ("", ".relu") if kind[0] == "b" else ("", ".relu", ".sat", ".ftz")
        found += [simple(f"fma.rn{e}.{kind}", f"{kind} {kind} {kind}", out) for e in extras]
        found += [
            simple(f"{n}{e}.{kind}", f"{kind} {kind}", out)
            for n in ("min", "max")
            for e in ("", ".NaN", ".xorsign.abs")
        ]
        found += [simple(f"{name}.{kind}", kind, out) for name in ("neg", "abs")]
    for extra in ("", ".NaN", ".ftz"):
        found += [simple(f"{name}{extra}.f32", "f32 f32", "u4") for name in ("min", "max")]
    found += [simple(f"{name}.f64", "f64 f64", "u8") for name in ("min", "max")]
    found += [
        simple(f"{name}.{k}", k, f"u{int(k[1:]) // 8}")
        for name in ("neg", "abs")
        for k in ("f32", "f64")
    ]
    found += [simple(f"{name}.ftz.f32", "f32", "u4") for name in ("neg", "abs")]
    found.append(simple("copysign.f32", "f32 f32", "u4"))
    found += [simple("div.rn.f32", "f32 f32", "u4"), simple("div.rn.ftz.f32", "f32 f32", "u4")]
    found += [simple(f"{n}.rn{e}.f32", "f32", "u4") for n in ("sqrt", "rcp") for e in ("", ".ftz")]
    found += [simple("div.rn.f64", "f64 f64", "u8"), simple("sqrt.rn.f64", "f64", "u8")]
    return found


def _approximate_cases() -> list[Case]:
    """Bounds: twice the manual's maximal error, as both sides may have it."""
    found = []
    for name, ulps in {"ex2": 4.0, "rcp": 2.0, "rsqrt": 4.0, "sqrt": 4.0}.items():
        for ftz in ("", ".ftz"):
            found.append(approximate(f"{name}.approx{ftz}.f32", "f32", ulps=ulps))
    found.append(approximate("tanh.approx.f32", "f32", relative=2.0**-9.9))
    found.append(approximate("lg2.approx.f32", "f32", ulps=4.0, absolute=2.0**-21))
    found.append(approximate("lg2.approx.ftz.f32", "near:f32", ulps=4.0, absolute=2.0**-21))
    for name in ("sin", "cos"):
        found.append(approximate(f"{name}.approx.f32", "angle:f32", absolute=2.0**-19.5))
    for name in ("div.full.f32", "div.approx.f32"):
        found.append(approximate(name, "near:f32 near:f32", ulps=4.0))
    for kind in ("f16", "f16x2"):
        found.append(approximate(f"ex2.approx.{kind}", kind, ulps=2.0))
        found.append(approximate(f"tanh.approx.{kind}", kind, ulps=2.0))
    for kind in ("bf16", "bf16x2"):
        found.append(approximate(f"ex2.approx.ftz.{kind}", kind, ulps=2.0))
        found.append(approximate(f"tanh.approx.{kind}", kind, ulps=2.0))
    return found


def approximate(
    opcode: str, inputs: str, ulps: float = 0.0, relative: float = 0.0, absolute: float = 0.0
) -> Case:
    form = opcode.rsplit(".", 1)[1]
    width = 4 if form.endswith("x2") or form == "f32" else 2
    exact = simple(opcode, inputs, f"u{width}")
    return replace(exact, bound=Bound(form.removesuffix("x2"), ulps, relative, absolute))


def _conversion_cases() -> list[Case]:
    found = []
    modes = ("rn", "rz", "rm", "rp")
    for source in FORMATS:
        for out in ("s16", "u16", "s32", "u32", "s64", "u64"):
            for mode in ("rni", "rzi", "rmi", "rpi"):
                if source != "bf16":
                    width = f"u{int(out[1:]) // 8}"
                    found.append(simple(f"cvt.{mode}.{out}.{source}", source, width))
    for source in ("f16", "f32", "f64"):
        for out in ("s8", "u8"):
            found += [simple(f"cvt.{mode}.{out}.{source}", source, "u2") for mode in ("rni", "rzi")]
    for out in ("f16", "f32", "f64"):
        for source in ("s16", "u16", "s32", "u32", "s64", "u64"):
            for mode in modes:
                kind = f"u{source[1:]}"
                found.append(simple(f"cvt.{mode}.{out}.{source}", kind, f"u{int(out[1:]) // 8}"))
    for out, source in (("f16", "f32"), ("f16", "f64"), ("f32", "f64")):
        width = f"u{int(out[1:]) // 8}"
        found += [simple(f"cvt.{mode}.{out}.{source}", source, width) for mode in modes]
    for out, source in (("f32", "f16"), ("f64", "f16"), ("f64", "f32"), ("f32", "bf16")):
        found.append(simple(f"cvt.{out}.{source}", source, f"u{int(out[1:]) // 8}"))
    for mode in ("rn", "rz", "rn.relu", "rz.relu"):
        found.append(simple(f"cvt.{mode}.bf16.f32", "f32", "u2"))
        found.append(simple(f"cvt.{mode}.f16x2.f32", "f32 f32", "u4"))
        found.append(simple(f"cvt.{mode}.bf16x2.f32", "f32 f32", "u4"))
    found += [simple(f"cvt.{mode}.tf32.f32", "f32", "u4") for mode in ("rna", "rn", "rz")]
    for kind in ("e4m3x2", "e5m2x2"):
        found.append(simple(f"cvt.rn.satfinite.{kind}.f32", "f32 f32", "u2"))
        found.append(simple(f"cvt.rn.satfinite.{kind}.f16x2", "f16x2", "u2"))
        found.append(simple(f"cvt.rn.satfinite.relu.{kind}.f16x2", "f16x2", "u2"))
        found.append(simple(f"cvt.rn.f16x2.{kind}", "u16", "u4"))
    for mode in ("rni", "rzi", "rmi", "rpi"):
        found.append(simple(f"cvt.{mode}.f32.f32", "f32", "u4"))
        found.append(simple(f"cvt.{mode}.f16.f16", "f16", "u2"))
    found += [simple("cvt.sat.f32.f32", "f32", "u4"), simple("cvt.ftz.f32.f32", "f32", "u4")]
    found += [simple("cvt.rn.ftz.f16.f32", "f32", "u2"), simple("cvt.sat.f32.f16", "f16", "u4")]
    for out in ("s8", "u8", "s16", "u16", "s32", "u32"):
        for source in ("s16", "u16", "s32", "u32", "s64", "u64"):
            width = f"u{max(int(out[1:]), 16) // 8}"
            kind = f"u{source[1:]}"
            found.append(simple(f"cvt.{out}.{source}", kind, width))
            if int(source[1:]) > int(out[1:]):
                found.append(simple(f"cvt.sat.{out}.{source}", kind, width))
    found.append(simple("cvt.pack.sat.s16.s32", "u32 u32", "u4"))
    found.append(simple("cvt.pack.sat.u8.s32.b32", "u32 u32 u32", "u4"))
    return found


def _comparison_cases() -> list[Case]:
    found = []
    ordered = ("eq", "ne", "lt", "le", "gt", "ge")
    unordered = ("equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan")
    for kind in ("f32", "f16", "f64", "bf16"):
        for name in (*ordered, *unordered):
            opcode = f"setp.{name}.{kind}"
            found.append(Case(opcode, f"{opcode} {{o0}}, {{i0}}, {{i1}};", (kind, kind), ("bool",)))
    for name in ("lt", "gtu"):
        for kind in ("f16x2", "bf16x2"):
            opcode = f"setp.{name}.{kind}"
            text = f"{opcode} {{o0}}|{{o1}}, {{i0}}, {{i1}};"
            found.append(Case(opcode, text, (kind, kind), ("bool", "bool")))
    for join in ("and", "or", "xor"):
        opcode = f"setp.lt.{join}.s32"
        text = f"{opcode} {{o0}}|{{o1}}, {{i0}}, {{i1}}, !{{i2}};"
        found.append(Case(opcode, text, ("u32", "u32", "pred"), ("bool", "bool")))
    found.append(simple("set.lt.f32.f32", "f32 f32", "u4"))
    found.append(simple("set.gtu.u32.f32", "f32 f32", "u4"))
    found.append(simple("set.lt.f16x2.f16x2", "f16x2 f16x2", "u4"))
    found.append(simple("slct.u32.f32", "u32 u32 f32", "u4"))
    for name in ("finite", "infinite", "number", "notanumber", "normal", "subnormal"):
        opcode = f"testp.{name}.f32"
        found.append(Case(opcode, f"{opcode} {{o0}}, {{i0}};", ("f32",), ("bool",)))
    return found


def _lane_cases() -> list[Case]:
    found = []
    full = "0xffffffff"
    for mode in ("up", "down", "bfly", "idx"):
        opcode = f"shfl.sync.{mode}.b32"
        text = f"{opcode} {{o0}}|{{o1}}, {{i0}}, {{i1}}, {{i2}}, {full};"
        found.append(Case(opcode, text, ("u32", "u32", "small:8192"), ("u4", "bool")))
    for name, kind in (
        ("add", "u32"),
        ("min", "s32"),
        ("max", "u32"),
        ("and", "b32"),
        ("xor", "b32"),
    ):
        opcode = f"redux.sync.{name}.{kind}"
        found.append(Case(opcode, f"{opcode} {{o0}}, {{i0}}, {full};", ("u32",), ("u4",)))
    text = f"match.any.sync.b32 {{o0}}, {{i0}}, {full};"
    text += f"match.all.sync.b32 {{o1}}|{{o2}}, {{i1}}, {full};"
    found.append(Case("match.sync", text, ("small:5", "small:1"), ("u4", "u4", "bool")))
    text = (
        f"vote.sync.ballot.b32 {{o0}}, {{i0}}, {full}; vote.sync.any.pred {{o1}}, {{i0}}, {full};"
    )
    found.append(Case("vote.sync", text, ("pred",), ("u4", "bool")))
    found.append(simple("movmatrix.sync.aligned.m8n8.trans.b16", "u32", "u4"))
    for trans in ("", ".trans"):
        load = f"ldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16"
        store = f"stmatrix.sync.aligned.m8n8.x4{trans}.shared.b16"
        inputs, outputs = (
            ", ".join(f"{{i{i}}}" for i in range(4)),
            ", ".join(f"{{o{i}}}" for i in range(4)),
        )
        place = "mov.u32 %r1, smem; mov.u32 %r3, %tid.x; mad.lo.u32 %r2, %r3, 16, %r1;"
        text = f"{place} st.shared.v4.b32 [%r2], {{{{{inputs}}}}}; bar.warp.sync {full};"
        text += f"{load} {{{{{outputs}}}}}, [%r2];"
        found.append(Case(load, text, ("u32",) * 4, ("u4",) * 4, shared=2048))
        text = f"{place} {store} [%r2], {{{{{inputs}}}}}; bar.warp.sync {full};"
        text += f"ld.shared.v4.b32 {{{{{outputs}}}}}, [%r2];"
        found.append(Case(store, text, ("u32",) * 4, ("u4",) * 4, shared=2048))
    return found


def _atomic_cases() -> list[Case]:
    """Each thread on a cell of its own; the cell is where the second result will be stored."""
    found = []
    kinds = {"add": ("u32", "u64", "f32", "f64", "f16", "bf16", "f16x2", "bf16x2"),
             "min": ("s32", "u64"), "max": ("u32", "s64"), "and": ("b32",), "xor": ("b64",),
             "exch": ("b32",), "inc": ("u32",), "dec": ("u32",)}  # fmt: skip
    for name, types in kinds.items():
        for kind in types:
            noftz = ".noftz" if "16" in kind else ""
            bits = 32 if "x2" in kind else int(kind.lstrip("usbf"))
            source = kind if kind.lstrip("b")[0] == "f" else f"u{bits}"
            # What becomes of a NaN in f64 depends on the memory: left out.
            source = "near:f64" if kind == "f64" else source
            out = f"u{bits // 8}"
            for space in ("global", "shared"):
                opcode = f"atom.{space}.{name}{noftz}.{kind}"
                place = "[%rd3]"
                text = ""
                if space == "shared":
                    text = "mov.u32 %r1, smem; mov.u32 %r3, %tid.x; mad.lo.u32 %r2, %r3, 8, %r1;"
                    place = "[%r2]"
                text += f"st.{space}.b{bits} {place}, {{i0}}; {opcode} {{o0}}, {place}, {{i1}};"
                text += f"ld.volatile.{space}.b{bits} {{o1}}, {place};"
                found.append(Case(opcode, text, (source, source), (out, out), shared=1024))
    return found


def mma_case(shape: str, types: str, style: str = "") -> Case:
    """One mma a warp; `style` is how its floats are drawn."""
    _, a, b, c = types.split(".")
    k = int(shape[6:])
    width = {"tf32": 32, "f16": 16, "bf16": 16}.get(a, 8)
    counts = 16 * k * width // 1024, 8 * k * width // 1024, 2 if c == "f16" else 4
    packed = {"f16": "f16x2", "bf16": "bf16x2", "tf32": "f32", "f32": "f32"}
    inputs: list[str] = []
    for type_, count in zip((a, b, c), counts, strict=True):
        # Subnormal factors A meet ordinary ones and sums.
        own = "near" if style == "subnormal" and len(inputs) >= counts[0] else style
        inputs += [f"{own}:{packed[type_]}" if type_ in packed else "u32"] * count
    groups, start = [], 0
    for count in counts:
        groups.append(", ".join(f"{{i{start + i}}}" for i in range(count)))
        start += count
    outputs = ", ".join(f"{{o{i}}}" for i in range(counts[2]))
    opcode = f"mma.sync.aligned.{shape}.row.col.{types}"
    text = f"{opcode} {{{{{outputs}}}}}, " + ", ".join(f"{{{{{group}}}}}" for group in groups) + ";"
    return Case(f"{opcode} {style}".strip(), text, tuple(inputs), ("u4",) * counts[2])


def _mma_cases() -> list[Case]:
    found = []
    for style in ("near", "wide", "rare", "subnormal", "zero"):
        for shape in ("m16n8k16", "m16n8k8"):
            for types in ("f32.f16.f16.f32", "f16.f16.f16.f16", "f32.bf16.bf16.f32"):
                found.append(mma_case(shape, types, style))
        for shape in ("m16n8k8", "m16n8k4"):
            found.append(mma_case(shape, "f32.tf32.tf32.f32", style))
    for shape in ("m16n8k16", "m16n8k32"):
        for types in ("s8.s8", "u8.s8", "s8.u8", "u8.u8"):
            found.append(mma_case(shape, f"s32.{types}.s32"))
    for types in ("e4m3.e4m3", "e5m2.e4m3", "e5m2.e5m2"):
        found += [mma_case("m16n8k32", f"f32.{types}.f32", style) for style in ("near", "zero")]
    return found


def all_cases() -> list[Case]:
    found = _integer_cases() + _float_cases() + _approximate_cases() + _conversion_cases()
    found += _comparison_cases() + _lane_cases() + _atomic_cases() + _mma_cases()
    assert len({case.name for case in found}) == len(found)
    return found
