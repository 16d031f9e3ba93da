"""Programs checked in a process of their own, since an error on a GPU ends what its process can do
there, and a kernel that never ends can only be ended with its process.

The process says what it is about to do and what came of it, program by program. When it dies, or
says nothing for too long, the program that it was at is to blame, and another process goes on
behind it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from .case import Case
from .chunk import Chunk, Settings
from .generate import generate
from .parsing import Finding

Program = int | Case  # a seed, or the case itself


@dataclass(frozen=True)
class Stage:
    """The process begins with something, of program number `at` of those it was given."""

    name: str
    at: int
    seconds: float  # how long that may take
    case: Case | None = None


@dataclass(frozen=True)
class Result:
    """Program number `at` is done. Behind a `fatal` one the process can't go on."""

    at: int
    finding: Finding | None = None
    refusals: tuple[str, ...] = ()
    milliseconds: float = 0.0
    newest: bool = False
    fatal: bool = False


Message = Stage | Result
Work = Callable[[Sequence[Program], Settings], Iterator[Message]]

_SECONDS_TO_START = 120.0


def run_apart(programs: Sequence[Program], settings: Settings, work: Work) -> Chunk:
    """Checks programs by `work` (a function of a module) in as many processes as that needs."""
    start = time.perf_counter()
    chunk = Chunk([p if isinstance(p, int) else p.seed for p in programs])
    left = list(programs)
    while left:
        left = _Watch(left, settings, chunk).run(work)
    chunk.seconds = time.perf_counter() - start
    return chunk


class _Watch:
    """One process, seen from outside."""

    def __init__(self, programs: list[Program], settings: Settings, chunk: Chunk) -> None:
        self.programs, self.settings, self.chunk = programs, settings, chunk
        self.open = dict.fromkeys(range(len(programs)))
        self.stage = Stage("the start of the process", 0, _SECONDS_TO_START)

    def run(self, work: Work) -> list[Program]:
        """Runs it; the programs that are left."""
        context = get_context("spawn")  # a driver that is initialised does not survive a fork
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=_serve, args=(sender, work, self.programs, self.settings), daemon=True
        )
        process.start()
        sender.close()
        try:
            while self._hear(receiver, process):
                pass
        finally:
            receiver.close()
            process.kill()
            process.join()
        return [self.programs[at] for at in self.open]

    def _hear(self, receiver: Connection, process: BaseProcess) -> bool:
        """Takes one message; whether more may come."""
        if not receiver.poll(self.stage.seconds):
            process.kill()
            self._blame("hang", f"nothing for {self.stage.seconds:g} seconds")
            return False
        try:
            message: Message = receiver.recv()
        except EOFError:
            process.join()
            if self.open:
                self._blame("death", f"the process ended with status {process.exitcode}")
            return False
        if isinstance(message, Stage):
            self.stage = message
            return True
        self._note(message)
        return not message.fatal

    def _blame(self, kind: str, message: str) -> None:
        """What went wrong is the program's at which the process was, or its first one's."""
        at = self.stage.at if self.stage.at in self.open else next(iter(self.open))
        case, program = self.stage.case, self.programs[at]
        if case is None or at != self.stage.at:
            case = program if isinstance(program, Case) else generate(program).case
        said = f"{message}, at {self.stage.name}"
        self._note(Result(at, Finding(f"{kind} on {self.settings.device}", said, case)))

    def _note(self, result: Result) -> None:
        del self.open[result.at]
        self.chunk.refusals.update(result.refusals)
        self.chunk.milliseconds.append(result.milliseconds)
        self.chunk.newest += result.newest
        if result.finding is not None:
            self.chunk.findings.append(result.finding)


def _serve(sender: Connection, work: Work, programs: Sequence[Program], settings: Settings) -> None:
    """What the process does. It ends without cleaning up, which could hang in the driver."""
    status = 1
    try:
        for message in work(programs, settings):
            sender.send(message)
        status = 0
    except BaseException as error:
        _complain(error)
    finally:
        sender.close()
        sys.stderr.flush()
        os._exit(status)


def _complain(error: Any) -> None:
    sys.excepthook(type(error), error, error.__traceback__)
