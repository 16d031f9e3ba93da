"""One case, checked: text, interpreter, compiler, emulator.

text          the printed program reads back as the same text, and verifies (`parsed`)
interpreter   it runs: what it refuses is a mistake of the generator's (or its own)
compiler      it compiles for every target; a statement that the compiler refuses is dropped
emulator      the PTX gives what the interpreter did
passes        the program after layout inference means the same
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Any

import numpy as np

from tileloom.compiler import Lowered, compile_function
from tileloom.vm import interpreter
from tileloom.vm.diagnostics import VMError
from tileloom.vm.expr import Binary, Const, Expr, Ref, Unary, apply_binary
from tileloom.vm.instructions.mbarrier import MbarrierExpect
from tileloom.vm.ir import Function, walk
from tileloom.vm.types import ScalarType

from ..emulator import EmulatorError, parse_module
from ..tensor_maps import resolve
from .case import Case, Outcome, disagreement, used_only
from .generate import Drawn
from .parsing import CheckError, Finding, parsed
from .prune import without_filled

_INSTRUCTIONS = 500_000  # of one emulated launch
_MOST_REFUSALS = 12


@dataclass
class Compiled:
    """A case as it was compiled: without what the compiler refused, which `refusals` say."""

    case: Case
    lowered: dict[str, Lowered] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)


def compiled(drawn: Drawn, targets: Sequence[str] = ()) -> Compiled:
    """Compiles a case for targets (default: all it can have), without productions that the
    compiler refuses.

    Raises:
        CheckError: the compiler crashes, or the program doesn't read back.
    """
    case, productions = drawn.case, drawn.productions
    found = Compiled(case)
    for _ in range(_MOST_REFUSALS):
        error = _lower_all(found, targets or case.targets)
        if error is None:
            return found
        found.refusals.append(f"{type(error).__name__}: {error.message}")
        case, productions = _dropped(found.case, productions, error)
        found = Compiled(case, refusals=found.refusals)
    raise CheckError(Finding("generator", f"refused too often: {found.refusals}", found.case))


def compiled_as_it_is(case: Case) -> Compiled:
    """Compiles a case for the target that is emulated.

    Raises:
        CheckError: the compiler crashes, or refuses the program.
    """
    found = Compiled(case)
    error = _lower_all(found, (case.target,))
    if error is not None:
        raise CheckError(Finding("refusal", error.message, case))
    return found


def _lower_all(found: Compiled, targets: Sequence[str]) -> VMError | None:
    """Fills `lowered`; the error with which the compiler refuses the program, if it does."""
    for target in targets:
        try:
            found.lowered[target] = compile_function(
                found.case.function, target, check_passes=target == found.case.target
            )
        except VMError as error:
            return error
        except Exception as error:
            message = f"{target}: {type(error).__name__}: {error}"
            raise CheckError(Finding("compiler crash", message, found.case)) from error
    return None


def _dropped(
    case: Case, productions: tuple[int, ...], error: VMError
) -> tuple[Case, tuple[int, ...]]:
    """The case without the production that the error points to."""
    line = error.location.line if error.location is not None else -1
    statements = list(walk(case.function.body))
    guilty = {p for s, p in zip(statements, productions, strict=True) if _line(s) == line}
    if not guilty:
        raise CheckError(Finding("compiler error without a place", error.render(), case))
    announcing = {
        p for s, p in zip(statements, productions, strict=True) if isinstance(s, MbarrierExpect)
    }
    while True:
        doomed = [number for number, p in enumerate(productions) if p in guilty]
        function, kept = without_filled(case.function, doomed)
        lost = {productions[number] for number in set(range(len(productions))) - set(kept)}
        # Who waits for bytes that a lost copy was to bring would wait forever.
        if not (waiting := lost & announcing - guilty):
            break
        guilty |= waiting
    return used_only(case, parsed(case, function)), tuple(productions[n] for n in kept)


def _line(statement: Any) -> int:
    return statement.location.line if statement.location is not None else -2


def check(found: Compiled) -> None:
    """Checks a compiled case on interpreter and emulator.

    Raises:
        CheckError: something is wrong.
    """
    case = found.case
    meant = interpret(case, case.function)
    results = emulate(case, found.lowered[case.target])
    wrong = disagreement(case, meant, results)
    if wrong:
        raise CheckError(Finding("mismatch", wrong, case))
    if case.seed % 4 == 0:
        again = interpret(case, found.lowered[case.target].function, "passes")
        wrong = disagreement(case, meant, again)
        if wrong:
            raise CheckError(Finding("passes", wrong, case))


def interpret(case: Case, function: Function, kind: str = "interpreter") -> Outcome:
    """What the interpreter makes of it.

    Raises:
        CheckError: it doesn't run.
    """
    arguments = case.fresh_arguments()
    said = StringIO()
    try:
        with redirect_stdout(said):
            interpreter.run(function, arguments, seed=case.seed)
    except VMError as error:
        raise CheckError(Finding(kind, error.render(), case)) from error
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        raise CheckError(Finding(f"{kind} crash", message, case)) from error
    return Outcome(arguments, lines_of(said.getvalue()))


def lines_of(text: str) -> tuple[str, ...]:
    """What was printed, in alphabetical order."""
    return tuple(sorted(text.splitlines()))


def emulate(case: Case, lowered: Lowered) -> Outcome:
    """What the emulator makes of its PTX.

    Raises:
        CheckError: it breaks a rule.
    """
    arguments = case.fresh_arguments()
    numbers = {p.name: a for p, a in zip(case.function.params, arguments, strict=True)}
    grid = [evaluate(extent, numbers) for extent in case.function.grid]
    typed = [
        a if isinstance(a, np.ndarray) else _typed(p.type, a)
        for p, a in zip(case.function.params, arguments, strict=True)
    ]
    said = StringIO()
    try:
        values = dict(zip(case.function.params, arguments, strict=True))
        maps = [m.emulated() for m in resolve(case.function, lowered.tensor_maps, values)]
        kernel = parse_module(lowered.ptx).kernels[lowered.kernel_name]
        with redirect_stdout(said):
            kernel.launch(
                grid=grid, block=lowered.num_threads, args=[*typed, *maps],
                shared_bytes=lowered.shared_bytes, seed=case.seed, limit=_INSTRUCTIONS,
                asynchronous="early" if case.seed % 3 == 0 else "late",
            )  # fmt: skip
    except EmulatorError as error:
        message = f"line {error.line}: {error.message}: {(error.text or '').strip()}"
        raise CheckError(Finding("emulator", message, case)) from error
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        raise CheckError(Finding("emulator crash", message, case)) from error
    return Outcome(arguments, lines_of(said.getvalue()))


def _typed(type_: Any, number: Any) -> Any:
    """A number as the runtime passes it."""
    assert isinstance(type_, ScalarType)
    element = type_.dtype
    if element.numpy is not None:
        return element.numpy.type(number)
    return element.encode(number)[()]


def evaluate(expr: Expr, numbers: dict[str, Any]) -> int:
    """A grid extent from the scalar arguments."""
    match expr:
        case Const(value):
            return int(value)
        case Ref(value):
            return int(numbers[value.name])
        case Unary("-", operand):
            return -evaluate(operand, numbers)
        case Binary(op, lhs, rhs):
            return int(apply_binary(op, evaluate(lhs, numbers), evaluate(rhs, numbers)))
    raise AssertionError(f"no grid extent: {expr}")
