"""Matches the layouts of a matrix product's operands with the fragments of `mma.sync`.

An instruction m16n8kK is indifferent to what its rows, columns and k mean, as long as the operands
agree. Lane 4g + q of a warp holds, in words of v = 32 / bits elements:

    a   4 words: rows (g) of two row sets r0, r1; k (q) of two k sets k0, k1, in the order
        r0 k0, r1 k0, r0 k1, r1 k1
    b   2 words: k (q) of k0, k1; column (g)
    acc 4 elements: rows (g) of r0, r1; columns (q) 2q and 2q + 1 of b's columns (g)

A layout is `thread's share + local's share`, so all words of an operand have one and the same
thread share. It remains to check that the shares of the three operands agree as functions of the
thread, and then words are matched by the local shares alone. Batch dimensions are part of every
share.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import numpy as np
import numpy.typing as npt

from tileloom.layouts import LayoutError, RegisterLayout, local, replicate, spatial
from tileloom.layouts.fragments import MMA_C
from tileloom.layouts.modes import REPLICATED, Mode

IntTable = npt.NDArray[np.int64]
Index = tuple[int, ...]


@dataclass(frozen=True)
class Step:
    """One instruction: word numbers of a (4 or 2) and b (2 or 1), element numbers of acc (4)."""

    a: tuple[int, ...]
    b: tuple[int, ...]
    acc: tuple[int, ...]


@dataclass(frozen=True)
class ProductPlan:
    """The instructions of one warp, in order; every warp runs the same. `reason` if impossible."""

    steps: tuple[Step, ...] = ()
    reason: str = ""


@lru_cache(maxsize=1024)
def plan_product(
    acc: RegisterLayout, a: RegisterLayout, b: RegisterLayout, per_word: int, paired: bool = False
) -> ProductPlan:
    """How tensor cores form acc[.., m, n] += a[.., m, k] @ b[.., k, n] under these layouts.

    `per_word` elements of a and b share a word; `paired`: two of acc do.
    """
    rank = b.rank
    b = b.permute(*range(rank - 2), rank - 1, rank - 2)  # [.., n, k]: lines of k, as a has
    reason = _check_threads(acc, a, b)
    if reason:
        return ProductPlan(reason=reason)
    a_words, b_words = _words(a, per_word), _words(b, per_word)
    if a_words is None or b_words is None:
        side = "a" if a_words is None else "b"
        return ProductPlan(reason=f"a word of {side} does not hold {per_word} elements along k")
    columns = b.spatial_table[:, rank - 2]
    plan = _match(acc, a_words, b_words, int(columns[4]))
    if paired and any(n % 2 or n + 1 != o for s in plan.steps for n, o in (s.acc[:2], s.acc[2:])):
        return ProductPlan(reason="columns 2q and 2q + 1 of acc do not share a word")
    return plan


def _check_threads(acc: RegisterLayout, a: RegisterLayout, b: RegisterLayout) -> str:
    """Why the thread shares don't make fragments; "" if they do. b is [.., n, k]."""
    threads = acc.num_threads
    if threads % 32 or a.num_threads != threads or b.num_threads != threads:
        counts = f"{threads}, {a.num_threads} and {b.num_threads}"
        return f"acc, a and b need the same whole number of warps, not {counts} threads"
    lanes = np.arange(threads)
    q = lanes % 4
    warp, row, column = lanes - lanes % 32, lanes - q, lanes - lanes % 32 + q
    sa, sb, sc = a.spatial_table, b.spatial_table, acc.spatial_table
    batch, line, last = slice(0, acc.rank - 2), acc.rank - 2, acc.rank - 1
    first, second = sb[warp + 8 * q, line], sb[warp + 8 * q + 4, line]
    step = sb[warp + 4, line] - sb[warp, line]
    checks: tuple[tuple[IntTable, IntTable, str], ...] = (
        (sa[:, batch], sc[:, batch], "batches of a and acc lie in different threads"),
        (sb[:, batch], sc[:, batch], "batches of b and acc lie in different threads"),
        (sc[:, batch], sc[warp][:, batch], "a warp holds several batches"),
        (sa[:, line], sc[:, line], "rows of a and of acc lie in different threads"),
        (sa[:, line], sa[row, line], "rows depend on lane % 4"),
        (sa[:, last], sb[:, last], "k of a and of b lies in different threads"),
        (sa[:, last], sa[q, last], "k depends on the warp or on lane / 4"),
        (sb[:, line], sb[row, line], "columns of b depend on lane % 4"),
        (sc[:, last], sc[column, last], "columns of acc depend on lane / 4"),
        (sc[:, last], first, "columns of acc are not columns 2q, 2q + 1 of b"),
        (second - first, step, "columns 2q and 2q + 1 of b are at changing distances"),
        (step, np.full_like(step, step[0]), "columns of b differ between warps"),
    )
    return next((text for x, y, text in checks if not np.array_equal(x, y)), "")


@dataclass
class _Words:
    """An operand's words by (batch, line, k set) in local shares, and what occurs in order."""

    table: dict[tuple[Index, int, Index], int]
    lines: dict[Index, list[int]]  # rows or columns by batch
    k_sets: list[Index]


def _words(layout: RegisterLayout, per_word: int) -> _Words | None:
    """Groups the locals of an operand [.., line, k] into words; None if a word mixes lines."""
    words = _Words({}, {}, [])
    rows = layout.local_table.tolist()
    if len(rows) % per_word:
        return None
    for number in range(len(rows) // per_word):
        part = rows[number * per_word : (number + 1) * per_word]
        batch, line = tuple(part[0][:-2]), part[0][-2]
        if any(row[:-1] != part[0][:-1] for row in part):
            return None
        k_set = tuple(row[-1] for row in part)
        words.table[batch, line, k_set] = number
        lines = words.lines.setdefault(batch, [])
        if line not in lines:
            lines.append(line)
        if k_set not in words.k_sets:
            words.k_sets.append(k_set)
    return words


def _match(acc: RegisterLayout, a: _Words, b: _Words, second: int) -> ProductPlan:
    """`second`: how far column 2q + 1 lies from column 2q."""
    if sorted(a.k_sets) != sorted(b.k_sets):
        return ProductPlan(reason="words of a and of b hold different sets of k")
    table = {tuple(index): number for number, index in enumerate(acc.local_table.tolist())}
    steps: list[Step] = []
    for batch, rows in a.lines.items():
        if len(rows) % 2:
            return ProductPlan(reason="a thread needs an even number of rows")
        for at in range(0, len(a.k_sets), 2):
            k_sets = a.k_sets[at : at + 2]
            for pair in zip(rows[::2], rows[1::2], strict=True):
                a_words = tuple(a.table[batch, row, k] for k in k_sets for row in pair)
                for column in b.lines.get(batch, ()):
                    places = [(*batch, row, c) for row in pair for c in (column, column + second)]
                    if any(place not in table for place in places):
                        return ProductPlan(reason="columns of acc and of b are different ones")
                    b_words = tuple(b.table[batch, column, k] for k in k_sets)
                    numbers = tuple(table[place] for place in places)
                    steps.append(Step(a_words, b_words, numbers))
    return ProductPlan(tuple(steps))


def default_accumulator(shape: tuple[int, ...], num_threads: int) -> RegisterLayout | None:
    """Fragments of m16n8 over all warps: warps take batches, then rows, then columns."""
    *batch, m, n = shape
    if m % 16 or n % 8:
        return None
    tiles = [*batch, m // 16, n // 8]
    warps, taken = num_threads // 32, []
    for extent in tiles:
        taken.append(gcd(warps, extent))
        warps //= taken[-1]
    rest = [extent // part for extent, part in zip(tiles, taken, strict=True)]
    fragment = MMA_C.unsqueeze(range(len(batch)))
    return replicate(warps) * spatial(taken) * local(rest) * fragment


def left_operand(acc: RegisterLayout, depth: int, per_word: int) -> RegisterLayout | None:
    """The layout of a[.., m, k] that serves an accumulator, k in fragment order; None if acc's
    lanes are not those of a fragment."""
    n = acc.rank - 1
    if depth % (4 * per_word) or not _has_fragment_lanes(acc):
        return None
    rows = [mode for mode in acc.local if mode.dim != n]
    k_sets = Mode(n, depth // (4 * per_word), 4 * per_word)
    return _layout(
        (*acc.shape[:-1], depth),
        [*(_copies(mode, n) for mode in acc.spatial[:-1]), Mode(n, 4, per_word)],
        [*rows[:-1], k_sets, *rows[-1:], Mode(n, per_word, 1)],
    )


def right_operand(acc: RegisterLayout, depth: int, per_word: int) -> RegisterLayout | None:
    """The layout of b[.., k, n] that serves an accumulator, k in fragment order; None if acc's
    lanes are not those of a fragment."""
    m, n = acc.rank - 2, acc.rank - 1
    if depth % (4 * per_word) or not _has_fragment_lanes(acc):
        return None
    columns = [mode for mode in acc.local[:-1] if mode.dim != m]
    k_sets = Mode(m, depth // (4 * per_word), 4 * per_word)
    return _layout(
        (*acc.shape[:-2], depth, acc.shape[-1]),
        [*(_copies(mode, m) for mode in acc.spatial[:-2]), Mode(n, 8, 1), Mode(m, 4, per_word)],
        [*columns, k_sets, Mode(m, per_word, 1)],
    )


def _has_fragment_lanes(acc: RegisterLayout) -> bool:
    """Rows in lane / 4, columns 2q and 2q + 1 in lane % 4."""
    m, n = acc.rank - 2, acc.rank - 1
    if len(acc.spatial) < 2 or not acc.local:
        return False
    rows, place = acc.spatial[-2:]
    lanes = (rows.dim, rows.extent) == (m, 8) and place == Mode(n, 4, 2)
    return lanes and acc.local[-1] == Mode(n, 2, 1)


def _copies(mode: Mode, dim: int) -> Mode:
    """The mode, or copies where it moves `dim`."""
    return Mode(REPLICATED, mode.extent, 0) if mode.dim == dim else mode


def _layout(
    shape: tuple[int, ...], spatial_modes: list[Mode], local_modes: list[Mode]
) -> RegisterLayout | None:
    try:
        return RegisterLayout(shape, tuple(spatial_modes), tuple(local_modes))
    except LayoutError:
        return None


def dot_operand(acc: RegisterLayout, depth: int, left: bool) -> RegisterLayout:
    """The layout of a (`left`) or b in which each thread holds all of k for its part of acc."""
    dim = acc.rank - 1 if left else acc.rank - 2
    shape = tuple(depth if d == dim else extent for d, extent in enumerate(acc.shape))
    lines = [mode for mode in acc.local if mode.dim != dim]
    copies = tuple(_copies(mode, dim) for mode in acc.spatial)
    return RegisterLayout(shape, copies, (*lines, Mode(dim, depth, 1)))
