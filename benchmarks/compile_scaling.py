"""How long compiling takes by the number of instructions, up to 20,000: data and a plot.

    python benchmarks/compile_scaling.py [--out rows.jsonl] [--svg plot.svg] [--cpu]

Three kinds of programs of n instructions each: a chain of arithmetic on one tile, loads and stores
(of addresses that differ), and a body of loops with products. `read` is parsing the text, `compile`
making the PTX of it, in milliseconds; no assembler takes part.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tileloom.compiler import compile_function
from tileloom.vm import parse

SIZES = (250, 500, 1000, 2000, 5000, 10000, 20000)
COLOURS = {"chain": "#2563eb", "memory": "#d97706", "loops": "#059669"}

HEAD = """func @f(%x: *f32, %y: *f32, %h: *f16, %n: i32) warps = 4 {
  %gx = global_view %x : global<f32, [%n, 128]>
  %gy = global_view %y : global<f32, [%n, 128]>
"""


def chain(count: int) -> str:
    """Each instruction uses the one before."""
    names = ("add", "mul", "sub", "max")
    lines = ["  %t0 = load %gx[0, 0] : reg<f32, [1, 128]>"]
    lines += [f"  %t{i} = {names[i % 4]} %t{i - 1}, {i % 7}.5" for i in range(1, count)]
    return HEAD + "\n".join(lines) + f"\n  store %gy[0, 0], %t{count - 1}\n}}\n"


def memory(count: int) -> str:
    """Loads and stores in turn, of rows one after another."""
    lines = []
    for i in range(count // 2):
        lines.append(f"  %t{i} = load %gx[{i}, 0] : reg<f32, [1, 128]>")
        lines.append(f"  store %gy[{i} + block.x, 0], %t{i}")
    return HEAD + "\n".join(lines) + "\n}\n"


def loops(count: int) -> str:
    """Loops of five instructions: two loads of halves, a product, a sum, an assignment."""
    lines = [
        "  %gh = global_view %h : global<f16, [%n, 128]>",
        "  %acc = full : reg<f32, [64, 32]>",
    ]
    for i in range(count // 5):
        lines += [
            f"  for %i{i} in 0 to %n {{",
            f"    %a{i} = load %gh[%i{i}, 0] : reg<f16, [64, 16]>",
            f"    %b{i} = load %gh[%i{i}, {i % 8}] : reg<f16, [16, 32]>",
            f"    mma %acc, %a{i}, %b{i}",
            f"    %c{i} = mul %acc, 0.5",
            f"    assign %acc, %c{i}",
            "  }",
        ]
    return HEAD + "\n".join(lines) + "\n  store %gy[0, 0], %acc\n}\n"


KINDS: dict[str, Callable[[int], str]] = {"chain": chain, "memory": memory, "loops": loops}


def measured(kind: str, count: int, clock: Callable[[], float]) -> dict[str, object]:
    """One row; the shorter of two runs."""
    text = KINDS[kind](count)
    reads, compiles = [], []
    for _ in range(2):
        gc.collect()
        began = clock()
        function = parse(text)
        read = clock()
        lowered = compile_function(function)
        reads.append(read - began)
        compiles.append(clock() - read)
    return {
        "kind": kind,
        "instructions": count,
        "read_ms": round(1e3 * min(reads), 1),
        "compile_ms": round(1e3 * min(compiles), 1),
        "ptx_lines": lowered.ptx.count("\n"),
    }


def plot(rows: list[dict[str, object]]) -> str:
    """Milliseconds (reading and compiling) over instructions, as one SVG."""
    width, height, left, bottom = 640, 400, 70, 50
    totals = [float(r["read_ms"]) + float(r["compile_ms"]) for r in rows]  # type: ignore[arg-type]
    top, widest = max(totals), max(SIZES)

    def point(row: dict[str, object], total: float) -> str:
        x = left + (width - left - 20) * int(row["instructions"]) / widest  # type: ignore[call-overload]
        return f"{x:.1f},{height - bottom - (height - bottom - 30) * total / top:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<path d="M{left} 20V{height - bottom}H{width - 20}" fill="none" stroke="#444"/>',
        f'<text x="{width / 2}" y="{height - 12}" text-anchor="middle">instructions</text>',
        f'<text x="16" y="{height / 2}" text-anchor="middle" '
        f'transform="rotate(-90 16 {height / 2})">reading and compiling, ms</text>',
    ]
    for size in SIZES[2:]:
        x = left + (width - left - 20) * size / widest
        parts.append(f'<text x="{x:.0f}" y="{height - 34}" text-anchor="middle">{size}</text>')
    for i in range(5):
        y = height - bottom - (height - bottom - 30) * i / 4
        parts.append(
            f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{top * i / 4:.0f}</text>'
        )
        parts.append(f'<path d="M{left} {y:.0f}H{width - 20}" stroke="#ddd"/>')
    for number, kind in enumerate(KINDS):
        points = [point(r, t) for r, t in zip(rows, totals, strict=True) if r["kind"] == kind]
        colour = COLOURS[kind]
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}"/>')
        for each in points:
            x, y = each.split(",")
            parts.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
        parts.append(f'<text x="{left + 20}" y="{40 + 16 * number}" fill="{colour}">{kind}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="a file that rows are written to")
    parser.add_argument("--svg", type=Path, help="a file for the plot")
    parser.add_argument("--cpu", action="store_true", help="processor time: for busy machines")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    args = parser.parse_args()
    clock = time.process_time if args.cpu else time.perf_counter
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    rows = []
    for kind in KINDS:
        for count in map(int, args.sizes.split(",")):
            row = measured(kind, count, clock)
            rows.append(row | {"clock": "processor" if args.cpu else "wall"})
            print(json.dumps(row), flush=True)
    if args.out:
        commit = found.stdout.strip()[:12]
        args.out.write_text("".join(json.dumps(r | {"commit": commit}) + "\n" for r in rows))
    if args.svg:
        args.svg.write_text(plot(rows))


if __name__ == "__main__":
    main()
