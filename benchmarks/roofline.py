"""The roofline of measured products as a picture, from the rows in `benchmarks/results`.

    python benchmarks/roofline.py            prints it
    python benchmarks/roofline.py --write    writes benchmarks/results/roofline.svg

Across: multiply-adds a byte that must move (weights, scales, x and y once). Up: the rate that was
reached. The roof is what the memory and the tensor cores give: 3.05 TB/s and 986 TFLOP/s.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log10
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
ROWS = (RESULTS / "decode_h100.jsonl", RESULTS / "many_tokens_h100.jsonl")
PICTURE = RESULTS / "roofline.svg"

BANDWIDTH = 3.05e12  # bytes a second
PEAK = 986e12  # operations a second, two a multiply-add
WIDTH, HEIGHT, MARGIN = 760, 480, 60
X_RANGE, Y_RANGE = (1.0, 1000.0), (1e12, 2e15)
COLOURS = {"tileloom": "#0b62a4", "tileloom, dependent launches": "#4aa84a", "cublas": "#b5651d"}
OTHERS = ("#7a3b9a", "#a11d33", "#5f6a6a")


@dataclass(frozen=True)
class Point:
    """A measured product: operations a byte, and operations a second."""

    name: str
    intensity: float
    rate: float
    title: str


def points(rows: Sequence[dict[str, Any]]) -> Iterator[Point]:
    """The rows as points; cuBLAS moves f16 weights, whatever the others read."""
    for row in rows:
        name = row["impl"]
        if row["pdl"]:
            name += ", dependent launches"
        k, n, m = row["k"], row["n"], row["m"]
        operations = 2.0 * m * k * n
        moved = 2.0 * (k * n + m * (k + n)) if row["impl"] == "cublas" else bytes_of(row)
        what = f"{name}: {row['weight']} {k} x {n}, m = {m}: {row['us']:.1f} us"
        yield Point(name, operations / moved, operations / (row["us"] * 1e-6), what)


def bytes_of(row: dict[str, Any]) -> float:
    """The bytes of a product with quantized weights that must move once."""
    k, n, m = row["k"], row["n"], row["m"]
    bits = int("".join(c for c in row["weight"] if c.isdigit())[:1] or 8)
    if row["weight"].startswith("e"):
        exponent, mantissa = row["weight"][1:].split("m")
        bits = 1 + int(exponent) + int(mantissa)
    scales = 2.0 * n * (-(-k // row["group"]) if row["group"] else 1)
    return k * n * bits / 8 + scales + 2.0 * m * (k + n)


def picture(rows: Sequence[dict[str, Any]]) -> str:
    """The whole SVG document."""
    found = list(points(rows))
    names = list(dict.fromkeys(p.name for p in found))
    colours = {n: COLOURS.get(n) or OTHERS[i % len(OTHERS)] for i, n in enumerate(names)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n',
        *_axes(),
        _roof(),
    ]
    for point in found:
        x, y = _place(point.intensity, point.rate)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colours[point.name]}" '
            f'fill-opacity="0.75"><title>{escape(point.title)}</title></circle>\n'
        )
    for index, name in enumerate(names):
        y = MARGIN + 18 * index
        parts.append(
            f'<circle cx="{MARGIN + 16}" cy="{y}" r="4" fill="{colours[name]}"/>'
            f'<text x="{MARGIN + 28}" y="{y + 4}">{escape(name)}</text>\n'
        )
    return "".join([*parts, "</svg>\n"])


def _place(intensity: float, rate: float) -> tuple[float, float]:
    across = (log10(intensity) - log10(X_RANGE[0])) / (log10(X_RANGE[1]) - log10(X_RANGE[0]))
    up = (log10(rate) - log10(Y_RANGE[0])) / (log10(Y_RANGE[1]) - log10(Y_RANGE[0]))
    return MARGIN + across * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - up * (HEIGHT - 2 * MARGIN)


def _roof() -> str:
    corner = PEAK / BANDWIDTH
    corners = [(X_RANGE[0], BANDWIDTH * X_RANGE[0]), (corner, PEAK), (X_RANGE[1], PEAK)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_place(*each) for each in corners))
    return f'<polyline points="{line}" fill="none" stroke="black" stroke-width="1.5"/>\n'


def _axes() -> Iterator[str]:
    (left, bottom), (right, top) = (_place(*ends) for ends in zip(X_RANGE, Y_RANGE, strict=True))
    for value in (1, 10, 100, 1000):
        x, _ = _place(value, Y_RANGE[0])
        yield f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{top}" stroke="#ddd"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{value}</text>\n'
    for value in (1, 10, 100, 1000):
        _, y = _place(X_RANGE[0], value * 1e12)
        yield f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>'
        yield f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{value}</text>\n'
    yield (
        f'<text x="{(left + right) / 2}" y="{HEIGHT - 18}" text-anchor="middle">'
        "operations a byte that must move</text>\n"
        f'<text x="18" y="{HEIGHT / 2}" text-anchor="middle" '
        f'transform="rotate(-90 18 {HEIGHT / 2})">TFLOP/s</text>\n'
    )


def measured() -> list[dict[str, Any]]:
    """The committed rows."""
    return [json.loads(line) for path in ROWS for line in path.read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the picture")
    svg = picture(measured())
    if parser.parse_args().write:
        PICTURE.write_text(svg)
    else:
        print(svg, end="")


if __name__ == "__main__":
    main()
