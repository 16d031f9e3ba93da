"""`tileloom inspect PROGRAM|FILE.vm`: everything about what a program compiles to."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path

from tileloom.vm.diagnostics import UsageError, VMNameError, did_you_mean
from tileloom.vm.ir import Function

from .. import output
from ..arguments import Parser, program_parser
from ..compiled import CompiledKernel, compile_kernel
from ..programs import program, programs
from .gather import inspect_kernel
from .report import report_html
from .text import SECTIONS, report_text

_HELP = """usage: tileloom inspect PROGRAM|FILE.vm [OPTIONS]

show a program's passes, code beside its source, resources and bank conflicts

programs: {programs}
sections: {sections}
`tileloom inspect PROGRAM --help` lists a program's options"""


def main(arguments: list[str]) -> int:
    """Runs `tileloom inspect ...` and returns the exit status.

    Raises:
        VMError: a mistake in the program, or in the command line.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_HELP.format(programs=", ".join(programs()), sections=", ".join(SECTIONS)))
        return 0 if arguments else 2
    subject, rest = arguments[0], arguments[1:]
    if subject.startswith("-"):
        raise UsageError(f"the program comes first: `tileloom inspect PROGRAM {subject} ...`")
    if subject.endswith(".ptx"):
        raise UsageError(
            f"`{subject}` has no program to look into",
            hint=f"`tileloom compile {subject}` assembles it; `compiled.override` runs it",
        )
    if subject.endswith(".vm"):
        parser = Parser(prog=f"tileloom inspect {subject}")
        _add_arguments(parser)
        args = parser.parse_args(rest)
        kernels: Iterable[CompiledKernel | Function] = output.read_functions(Path(subject))
    else:
        chosen = program(subject)
        parser = program_parser("inspect", subject, chosen)
        _add_arguments(parser)
        args = parser.parse_args(rest)
        kernels = chosen.compile(args)
    sections = _sections(args.show)
    _report(list(kernels), args.target, args.html, sections)
    return 0


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--target", default="sm_90a", help="the GPU architecture (default: sm_90a)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write one page of HTML instead")
    parser.add_argument(
        "--show", default="", metavar="SECTIONS", help=f"only these, of {','.join(SECTIONS)}"
    )


def _sections(listed: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in listed.split(",") if name.strip())
    for name in names:
        if name not in SECTIONS:
            known = ", ".join(f"`{each}`" for each in SECTIONS)
            raise VMNameError(
                f"there is no section `{name}`",
                hint=did_you_mean(name, SECTIONS) or f"the sections: {known}",
            )
    return names


def _report(
    kernels: list[CompiledKernel | Function],
    target: str,
    page: Path | None,
    sections: tuple[str, ...],
) -> None:
    compiled = [compile_kernel(k, target) if isinstance(k, Function) else k for k in kernels]
    inspections = [inspect_kernel(kernel) for kernel in compiled]
    if page is None:
        print("\n\n".join(report_text(inspection, sections) for inspection in inspections))
        return
    try:
        page.write_text(report_html(inspections), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"`{page}` can't be written: {error.strerror}") from None
    print(page)
