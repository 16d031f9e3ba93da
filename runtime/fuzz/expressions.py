"""Scalar expressions with bounds of their values."""

from __future__ import annotations

from tileloom.vm.dtypes import Dtype, dtype, f32
from tileloom.vm.expr import Const, Expr, Select, Special, Unary, binary

from .draft import BOOL, I32, Draft, Scalar

_LIMIT = 2**30
_WIDE_LIMIT = 2**61
_OPERATIONS = ("+", "+", "-", "*", "/", "%", "min", "max", "&", "|", "^", "<<", ">>", "select")
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def constant(number: int) -> Scalar:
    """A constant as a scalar."""
    return Scalar(Const(number), number, number, I32)


def leaf(draft: Draft) -> Scalar:
    """A visible integer scalar, a block index or a constant."""
    random = draft.random
    known = [s for s in draft.scalars() if s.dtype.kind in ("int", "uint")]
    choice = random.random()
    if known and choice < 0.6:
        return random.choice(known[-6:] if random.random() < 0.5 else known)
    if draft.grid and choice < 0.8:
        axis, (_, count) = random.choice(list(zip("xyz", draft.grid, strict=False)))
        if random.random() < 0.2:
            return Scalar(Special(f"grid.{axis}"), count, count, I32)
        return Scalar(Special(f"block.{axis}"), 0, count - 1, I32)
    return constant(random.choice((0, 1, 2, 3, 4, 5, 7, 8, 12, 16, 31, 32, -1, -2, -5, -16)))


def draw(draft: Draft, depth: int = 2) -> Scalar:
    """An integer expression."""
    if depth == 0 or draft.random.random() < 0.25:
        return leaf(draft)
    for _ in range(8):
        a, b = draw(draft, depth - 1), draw(draft, depth - 1)
        found = combine(draft, draft.random.choice(_OPERATIONS), a, b)
        if found is not None and not isinstance(found.expr, Const):
            return found
    return leaf(draft)


def combine(draft: Draft, op: str, a: Scalar, b: Scalar) -> Scalar | None:
    """a op b; None where the value may leave the bounds in which executors can't differ."""
    random = draft.random
    if op in ("/", "%", "<<", ">>") and random.random() < 0.6:
        sizes = (1, 2, 3, 5) if op in ("<<", ">>") else (1, 2, 3, 4, 5, 7, 8, 16, 32)
        b = constant(random.choice(sizes))
    if op == "select":
        expr: Expr = Select(condition(draft, 0), a.expr, b.expr)
        bounds = (min(a.low, b.low), max(a.high, b.high))
    else:
        found = _bounds(op, a, b)
        if found is None:
            return None
        expr, bounds = binary(op, a.expr, b.expr), found
    element = _promoted(op, a, b)
    if element.kind == "uint" and bounds[0] < 0:
        return None
    limit = _WIDE_LIMIT if element.bits == 64 else _LIMIT
    if not -limit < bounds[0] <= bounds[1] < limit:
        return None
    return Scalar(expr, *bounds, element)


def _promoted(op: str, a: Scalar, b: Scalar) -> Dtype:
    """The type an operation is computed in: 64 bits if an operand has them, unsigned if all that
    aren't constants are."""
    parts = (a,) if op in ("<<", ">>") else (a, b)
    strong = [p for p in parts if not isinstance(p.expr, Const)]
    unsigned = bool(strong) and all(p.dtype.kind == "uint" for p in strong)
    wide = any(p.dtype.bits == 64 for p in parts)
    return dtype(f"{'u' if unsigned else 'i'}{64 if wide else 32}")


def _bounds(op: str, a: Scalar, b: Scalar) -> tuple[float, float] | None:
    match op:
        case "+":
            return a.low + b.low, a.high + b.high
        case "-":
            return a.low - b.high, a.high - b.low
        case "*":
            corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
            return min(corners), max(corners)
        case "min":
            return min(a.low, b.low), min(a.high, b.high)
        case "max":
            return max(a.low, b.low), max(a.high, b.high)
        case "%" if b.low > 0 or b.high < 0:
            return (0, b.high - 1) if b.low > 0 else (b.low + 1, 0)
        case "/" if b.low > 0 or b.high < 0:
            quotients = [x // y for x in (a.low, a.high) for y in (b.low, b.high)]
            return min(quotients), max(quotients)
        case "&" | "|" | "^" if a.low >= 0 and b.low >= 0:
            top = (1 << int(max(a.high, b.high)).bit_length()) - 1
            return 0, min(a.high, b.high) if op == "&" else top
        case "<<" | ">>" if b.low >= 0 and b.high <= 12:
            ends = [(int(x), int(y)) for x in (a.low, a.high) for y in (b.low, b.high)]
            moved = [x << y if op == "<<" else x >> y for x, y in ends]
            return min(moved), max(moved)
    return None


def within(draft: Draft, low: int, high: int, depth: int = 2) -> Scalar:
    """An expression whose value lies in [low, high]."""
    scalar = draw(draft, depth)
    if low <= scalar.low and scalar.high <= high:
        return scalar
    if scalar.dtype.kind == "uint":
        # Nothing below zero is to be had from unsigned numbers.
        low = max(low, 0)
    if scalar.dtype.kind == "uint" or draft.random.random() < 0.7:
        expr = binary("+", binary("%", scalar.expr, high - low + 1), low)
    else:
        expr = binary("min", binary("max", scalar.expr, low), high)
    return Scalar(expr, low, high, scalar.dtype)


def condition(draft: Draft, depth: int = 1) -> Expr:
    """A condition on scalars."""
    random = draft.random
    flags = [s for s in draft.scalars() if s.dtype == BOOL]
    if flags and random.random() < 0.25:
        return random.choice(flags).expr
    if depth and random.random() < 0.3:
        op = random.choice(("and", "or", "not", "select"))
        if op == "select":
            return Select(condition(draft, 0), condition(draft, depth - 1), condition(draft, 0))
        if op == "not":
            inner = condition(draft, depth - 1)
            return inner if isinstance(inner, Const) else Unary("not", inner)
        return binary(op, condition(draft, depth - 1), condition(draft, depth - 1))
    a = draw(draft, 1)
    b = constant(random.randint(-2, 9)) if random.random() < 0.5 else draw(draft, 1)
    return binary(random.choice(_COMPARISONS), a.expr, b.expr)


def draw_float(draft: Draft, depth: int = 1) -> Scalar:
    """A float expression of modest size, the same in all executors."""
    random = draft.random
    floats = [s for s in draft.scalars() if s.dtype.kind == "float" and s.dtype.bits < 64]
    if depth and floats and random.random() < 0.5:
        a, b = draw_float(draft, depth - 1), draw_float(draft, depth - 1)
        op = random.choice(("+", "-", "*", "min", "max"))
        bounds = _bounds(op, a, b)
        if bounds is not None and max(map(abs, bounds)) < 2**20:
            slack = 1e-6 * max(map(abs, bounds))
            expr = binary(op, a.expr, b.expr)
            return Scalar(expr, bounds[0] - slack, bounds[1] + slack, f32)
    if floats and random.random() < 0.7:
        return random.choice(floats)
    number = random.choice((0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 0.1, -2.75))
    return Scalar(Const(number), number, number, f32)
