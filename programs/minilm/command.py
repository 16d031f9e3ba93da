"""A real sentence encoder with quantized linear layers: how near it stays to the f32 model."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from tileloom.programs.quantized_matmul.quantization import check_zero_point
from tileloom.runtime.devices import choose
from tileloom.vm.diagnostics import UsageError

from .measure import NUM_LINEARS, WEIGHTS, Result, Scheme, measure
from .progress import Progress

HEADER = (
    f"{'weight':<8}{'zero point':<12}{'mean cosine':>12}{'worst':>9}{'pack s':>9}{'embed s':>9}"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `tileloom run minilm`."""
    parser.add_argument(
        "--weight", nargs="+", default=list(WEIGHTS), metavar="DTYPE",
        help=f"the weights' dtypes, one after the other (default: {' '.join(WEIGHTS)})",
    )  # fmt: skip
    parser.add_argument(
        "--group", type=_group, default=32,
        help='rows that share a scale, "channel" or "tensor" (default: 32)',
    )  # fmt: skip
    parser.add_argument(
        "--zero-point", choices=("none", "symmetric", "int", "float"),
        help="for the dtypes that take it (default: int for uN, none for the others)",
    )  # fmt: skip


def _group(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Prints a line for each dtype as it is done, and returns all the numbers."""
    device = choose(args.device)
    schemes = [Scheme(name, args.group, args.zero_point, device) for name in args.weight]
    for scheme in schemes:
        check_zero_point(scheme.dtype, scheme.effective_zero_point)
    results: list[Result] = []
    print(HEADER)
    with Progress(2 * NUM_LINEARS * len(schemes)) as progress:
        for result in measure(schemes, on_step=progress.step):
            results.append(result)
            progress.clear()
            print(_row(result), flush=True)
    return {
        "device": device,
        "sentences": results[0].sentences if results else 0,
        "tokens": results[0].tokens if results else 0,
        "group": args.group,
        "seconds": sum(result.pack_s + result.embed_s for result in results),
        **({"results": [result.as_dict() for result in results]} if args.json else {}),
    }


def _row(result: Result) -> str:
    return (
        f"{result.weight:<8}{result.zero_point:<12}{result.cosine:>12.5f}"
        f"{result.worst_cosine:>9.4f}{result.pack_s:>9.2f}{result.embed_s:>9.2f}"
    )


def compile(args: argparse.Namespace) -> NoReturn:
    """There is nothing of its own to compile."""
    raise UsageError(
        "`minilm` has no kernel of its own",
        hint="its layers are `tileloom compile quantized_matmul --k 384 --n 1536` and the like",
    )
