"""`tileloom tune PROGRAM ...`: measures a program's schedules on this machine's GPU."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tileloom.vm.diagnostics import DeviceError, UsageError

from .arguments import Parser
from .cuda import context
from .programs import program


def main(arguments: Sequence[str]) -> int:
    """Runs the command and gives the exit status.

    Raises:
        UsageError: the program has no schedules to choose from.
        DeviceError: there is no GPU to measure on.
    """
    given = list(arguments)
    if not given or given[0].startswith("-"):
        print("usage: tileloom tune PROGRAM ...\n\nmeasure a program's schedules on this GPU")
        return 0 if given and given[0] in ("-h", "--help") else 2
    chosen = program(given[0])
    tune = getattr(chosen, "tune", None)
    add_arguments = getattr(chosen, "add_tune_arguments", None)
    if tune is None or add_arguments is None:
        raise UsageError(f"`{given[0]}` has no schedules to choose from")
    parser = Parser(prog=f"tileloom tune {given[0]}")
    add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    args = parser.parse_args(given[1:])
    if not context.available():
        raise DeviceError("there is no GPU to measure on")
    report = tune(args)
    if args.json:
        print(json.dumps(report))
    return 0
