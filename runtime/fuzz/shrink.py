"""The smallest case that still fails the same way.

A candidate is the program without some of its statements (and what needs them), with a loop or
branch replaced by its body, fewer warps, a smaller grid, or no layouts; it is taken if checking it
gives a finding of the same kind. What is left is small enough to read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from tileloom.vm.diagnostics import VMError
from tileloom.vm.expr import Expr
from tileloom.vm.instructions.scalars import Var
from tileloom.vm.ir import (
    Block,
    Break,
    For,
    Function,
    If,
    Statement,
    Value,
    While,
    blocks_of,
    map_values,
    rewrite,
    walk,
)
from tileloom.vm.text import parse

from .case import Case, used_only
from .check import check, compiled_as_it_is
from .parsing import CheckError, Finding
from .prune import without, without_unused_views
from .simplify import simpler_expressions, simpler_settings, without_a_layout

Fails = Callable[[Case], Finding | None]

_MOST_CHECKS = 600
_MOST_SECONDS = 60.0


def finding_of(case: Case) -> Finding | None:
    """What is wrong with a case, without dropping what the compiler refuses."""
    try:
        check(compiled_as_it_is(case))
    except CheckError as error:
        return error.finding
    return None


def shrink(finding: Finding, fails: Fails = finding_of, checks: int = _MOST_CHECKS) -> Finding:
    """A finding of the same kind on a smaller case; the finding itself if there is none."""
    search = _Search(finding, fails, checks)
    search.run()
    return search.best


class _Search:
    def __init__(self, finding: Finding, fails: Fails, checks: int) -> None:
        self.best = finding
        self.signature = signature(finding)
        self.fails = fails
        self.left = checks
        self.end = time.monotonic() + _MOST_SECONDS

    def run(self) -> None:
        """Tries ever smaller parts, until no candidate fails any more."""
        before = -1
        while before != (before := _size(self.best.case)) and self.left > 0:
            self._delete()
            for variants in (_unwrapped, simpler_settings, without_a_layout, simpler_expressions):
                self._take_any(variants)

    def _delete(self) -> None:
        """Runs of statements, long ones first."""
        count = len(list(walk(self.best.case.function.body)))
        length = max(1, count // 2)
        while length:
            at = len(list(walk(self.best.case.function.body))) - length
            while at >= 0 and self.left > 0:
                case = self.best.case
                present = len(list(walk(case.function.body)))
                doomed = range(at, min(at + length, present))
                if doomed:
                    self._try(without(case.function, doomed)[0])
                at -= length
            length //= 2

    def _take_any(self, variants: Callable[[Function], Iterator[Function]]) -> None:
        changed = True
        while changed and self.left > 0:
            changed = any(self._try(f) for f in variants(self.best.case.function))

    def _try(self, function: Function) -> bool:
        if time.monotonic() > self.end:
            self.left = 0
        if self.left <= 0:
            return False
        self.left -= 1
        try:
            function = parse(without_unused_views(function).text())
        except VMError:
            return False
        found = self.fails(used_only(self.best.case, function))
        if found is None or signature(found) != self.signature:
            return False
        self.best = found
        return True


def signature(finding: Finding) -> tuple[str, str]:
    """What must stay the same: the kind, and the message but for names and numbers."""
    if finding.kind in ("mismatch", "passes"):
        return finding.kind, ""
    first = finding.message.splitlines()[0] if finding.message else ""
    return finding.kind, re.sub(r"sm_\w+|`[^`]*`|0x[0-9a-f]+|%\w+|[-\d.\[\], ]+", " ", first)[:60]


def _size(case: Case) -> int:
    return len(case.function.text())


def _unwrapped(function: Function) -> Iterator[Function]:
    """A loop or branch replaced by what is in it (a loop's index by its first value)."""
    count = sum(bool(blocks_of(s)) for s in walk(function.body))
    for number in range(count):
        for side in (0, 1):
            body = _unwrap(function.body, number, side)
            if body is not None:
                yield replace(function, body=body)


def _unwrap(block: Block, number: int, side: int) -> Block | None:
    seen = -1
    found = False

    def rule(statement: Statement) -> tuple[Statement, ...]:
        nonlocal seen, found
        if not blocks_of(statement):
            return (statement,)
        seen += 1
        if seen != number:
            return (statement,)
        found = True
        match statement:
            case For(index=index, lower=lower, body=body) if side == 0:
                return _with_constant(body, index, lower)
            case While(body=body) if side == 0:
                return _without_breaks(body)
            case If():
                return statement.then if side == 0 else statement.orelse
        return (statement,)

    body = rewrite(block, rule)
    return body if found else None


def _with_constant(body: Block, index: Value, first: Expr) -> Block:
    variable = Value(index.name, index.type)
    body = map_values(_without_breaks(body), lambda v: variable if v is index else v)
    return (Var(first, result=variable), *body)


def _without_breaks(body: Block) -> Block:
    return rewrite(body, lambda s: () if isinstance(s, Break) else (s,))
