"""The command line: `tileloom COMMAND ...`.

The commands are a registry, `COMMANDS`; those but `run` and `compile` live in modules of their own,
imported when they are called. A user's mistake is printed as the error it is, and the exit status
is 2.
"""

from __future__ import annotations

import json
import math
import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tileloom.layouts import LayoutError
from tileloom.vm.diagnostics import Location, UsageError, VMError, VMNameError, did_you_mean
from tileloom.vm.dtypes import DtypeError

from . import options, output, profile
from .arguments import Parser, program_parser
from .programs import program, programs


@dataclass(frozen=True)
class Command:
    """One command: what it takes and does, in words, and the module whose `main(arguments)` runs
    it and gives the exit status ("": this one's own)."""

    takes: str
    text: str
    module: str = ""


COMMANDS = {
    "run": Command("PROGRAM", "run a program and report what it found"),
    "compile": Command(
        "PROGRAM|FILE.vm|FILE.ptx",
        "write a program's VM text, PTX, machine code and resources to a directory",
    ),
    "inspect": Command(
        "PROGRAM|FILE.vm",
        "show a program's passes, code beside its source, resources and bank conflicts",
        "inspect.command",
    ),
    "tune": Command("PROGRAM", "measure a program's schedules on this GPU", "tune_command"),
    "layout": Command('"LAYOUT"', "draw a layout: who holds which element", "layout_command"),
    "cache": Command("ACTION", "look into the cache of compiled kernels", "cache_commands"),
    "doctor": Command("", "say what is installed and what works here", "doctor"),
    "mutants": Command("", "plant bugs in the compiler, say what finds them", "mutants.command"),
    "fuzz": Command("", "run random programs on all executors and compare", "fuzz.command"),
}
USER_ERROR = 2
_INTERRUPTED = 130
_FILE_SUFFIXES = (".vm", ".ptx")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    caller = sys._getframe(1).f_code.co_filename
    try:
        status = _dispatch(given)
        sys.stdout.flush()
        return status
    except VMError as error:
        place = error.location
        if place is not None and (place.file == caller or _is_ours(place)):
            error.location = None  # the mistake is in the command line
        print(error.render(), file=sys.stderr)
    except BrokenPipeError:
        # Nobody reads on; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (LayoutError, DtypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return USER_ERROR


def _is_ours(place: Location) -> bool:
    """True for a place in tileloom's own Python, its programs included."""
    ours = [Path(__file__).parents[1] / name for name in ("runtime", "programs", "vm")]
    file = Path(place.file).resolve()
    return file.suffix == ".py" and any(file.is_relative_to(folder.resolve()) for folder in ours)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0 if arguments else USER_ERROR
    if arguments[0] == "--version":
        print(f"tileloom {_version()}")
        return 0
    command, rest = arguments[0], arguments[1:]
    if command not in COMMANDS:
        listed = ", ".join(f"`{name}`" for name in COMMANDS)
        raise VMNameError(
            f"there is no command `{command}`",
            hint=did_you_mean(command, COMMANDS) or f"the commands: {listed}",
        )
    if module := COMMANDS[command].module:
        status: int = import_module(f".{module}", __package__).main(rest)
        return status
    if not rest or rest[0] in ("-h", "--help"):
        print(_command_help(command))
        return 0 if rest else USER_ERROR
    subject, rest = rest[0], rest[1:]
    if subject.startswith("-"):
        raise UsageError(f"the program comes first: `tileloom {command} PROGRAM {subject} ...`")
    action: Callable[[str, list[str]], int] = {"run": _run, "compile": _compile}[command]
    return action(subject, rest)


def _run(name: str, arguments: list[str]) -> int:
    chosen = program(name)
    parser = program_parser("run", name, chosen)
    parser.add_argument("--device", help="cuda, interpreter or emulator (default: what is there)")
    parser.add_argument(
        "--profile", action="store_true", help="with the emulator: what each instruction did"
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    args = parser.parse_args(arguments)
    if args.profile and args.device != "emulator":
        raise UsageError("`--profile` counts on the emulator", hint="add `--device emulator`")
    if args.profile:
        with profile.profiling() as launches:
            report = chosen.run(args)
        print("\n\n".join(launch.table() for launch in launches))
    else:
        report = chosen.run(args)
    if args.json:
        print(json.dumps(_plain(report)))
    else:
        width = max(map(len, report), default=0)
        for key, value in report.items():
            print(f"{key:<{width}}  {_shown(value)}")
    return 0


def _compile(subject: str, arguments: list[str]) -> int:
    if subject.endswith(_FILE_SUFFIXES):
        parser = Parser(prog=f"tileloom compile {subject}")
        _add_compile_arguments(parser)
        args = parser.parse_args(arguments)
        written = output.compile_file(Path(subject), args.target, args.output, args.opt_level)
    else:
        chosen = program(subject)
        parser = program_parser("compile", subject, chosen)
        _add_compile_arguments(parser)
        args = parser.parse_args(arguments)
        kernels = chosen.compile(args)
        written = output.write_kernels(kernels, args.target, args.output, args.opt_level)
    if args.json:
        print(json.dumps(_plain(written.report)))
    else:
        for path in written.paths:
            print(path)
        for note in written.notes:
            print(f"note: {note}", file=sys.stderr)
    return 0


def _add_compile_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--target", default="sm_90a", help="the GPU architecture (default: sm_90a)")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(), help="the directory to write to"
    )
    parser.add_argument("--opt-level", type=int, default=3, help="the assembler's (default: 3)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")


def _help() -> str:
    lines = ["usage: tileloom COMMAND ...", "", "commands:"]
    lines += [f"  {name:<9}{command.text}" for name, command in COMMANDS.items()]
    lines += ["", "programs:", f"  {', '.join(programs())}", "", "environment:"]
    width = max(map(len, options.VARIABLES))
    lines += [f"  {name:<{width}}  {text}" for name, text in options.VARIABLES.items()]
    return "\n".join(lines)


def _command_help(command: str) -> str:
    known = COMMANDS[command]
    return (
        f"usage: tileloom {command} {known.takes} ...\n\n{known.text}\n\n"
        f"programs: {', '.join(programs())}\n"
        f"`tileloom {command} PROGRAM --help` lists a program's options"
    )


def _version() -> str:
    try:
        return version("tileloom")
    except PackageNotFoundError:  # run from the source tree
        return "(source tree)"


def _plain(value: Any) -> Any:
    """A value as JSON has it: numpy's scalars unwrapped, and no number that JSON lacks."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _shown(value: Any) -> str:
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{k}={_shown(v)}" for k, v in value.items())
    return str(value)
