"""`tileloom cache ls | verify | prune | export | import`: the cache of compiled kernels."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tileloom.vm.diagnostics import UsageError, VMNameError, did_you_mean, quote

from . import options
from .arguments import Parser
from .bundles import Bundle, write_bundle
from .cache import DiskCache, decode_entry
from .errors import CacheError

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))
_DAY_S = 86400.0


def main(arguments: list[str]) -> int:
    """Runs `tileloom cache ...` and returns the exit status.

    Raises:
        VMError: a mistake of the user, or entries that are damaged.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help())
        return 0 if arguments else 2
    name, rest = arguments[0], arguments[1:]
    if name not in _ACTIONS:
        listed = ", ".join(f"`{each}`" for each in _ACTIONS)
        raise VMNameError(
            f"there is no `tileloom cache {name}`",
            hint=did_you_mean(name, _ACTIONS) or f"there are {listed}",
        )
    action = _ACTIONS[name]
    parser = Parser(prog=f"tileloom cache {name}", description=action.text)
    action.arguments(parser)
    action.run(parser.parse_args(rest))
    return 0


@dataclass(frozen=True)
class Stored:
    """An entry of the cache, without its code. `damage` says what is wrong with it, if anything;
    `used` is when it was used last, in seconds since 1970."""

    key: str
    size: int
    used: float
    metadata: dict[str, Any]
    damage: str = ""

    @property
    def kernel(self) -> str | None:
        """The kernel's name; None for what isn't a kernel: notes about assemblers and sources."""
        generated = self.metadata.get("generated")
        return str(generated.get("name")) if isinstance(generated, dict) else None

    def described(self) -> dict[str, Any]:
        """What there is to say of a kernel, as JSON has it."""
        assembled = self.metadata.get("assembled")
        assembled = assembled if isinstance(assembled, dict) else {}
        kernels = assembled.get("kernels") or [{}]
        return {
            "kernel": self.kernel,
            "target": assembled.get("target"),
            "registers": kernels[0].get("registers"),
            "assembler": assembled.get("assembler"),
            "bytes": self.size,
            "used": round(self.used),
            "key": self.key,
        }


def stored(disk: DiskCache) -> Iterator[Stored]:
    """Everything in the cache's directory."""
    for key, status in disk.entries().items():
        data = disk.read(key)
        entry = None if data is None else decode_entry(data)
        damage = ""
        if data is None:
            damage = "belongs to others, or they may write to it"
        elif entry is None:
            damage = f"is damaged ({len(data)} bytes)"
        metadata = {} if entry is None else entry.metadata
        yield Stored(key, status.st_size, status.st_mtime, metadata, damage)


def open_cache() -> DiskCache:
    """The cache that the options name, even if they say that compiling doesn't use it.

    Raises:
        CacheError: it can't be used.
    """
    settings = options.current()
    disk = DiskCache(settings.cache_dir, settings.cache_bytes, settings.cache_layers)
    reason = disk.why_unusable()
    if reason is not None:
        raise CacheError(f"the cache `{disk.directory}` can't be used: {reason}")
    return disk


def size_text(count: int) -> str:
    """A number of bytes, such as `21.5 KiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


# ---- the actions


def _list(args: Namespace) -> None:
    disk = open_cache()
    everything = list(stored(disk))
    kernels = sorted((s for s in everything if s.kernel), key=lambda s: -s.used)
    if args.json:
        print(json.dumps([s.described() for s in kernels]))
        return
    total = sum(s.size for s in everything)
    print(
        f"{disk.directory}: {_count(len(kernels), 'kernel')}, "
        f"{size_text(total)} of {size_text(disk.max_bytes)}"
    )
    if kernels:
        print("\n".join(_table(kernels)))
    for path in disk.layers:
        print(f"layer {path}: {_layer_text(path)}")


def _table(kernels: list[Stored]) -> list[str]:
    rows = [["kernel", "target", "registers", "assembler", "size", "last used", "key"]]
    for each in kernels:
        facts = each.described()
        shown = [str(facts[name] or "-") for name in rows[0][:4]]
        rows.append([*shown, size_text(each.size), _age(each.used), each.key[:12]])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = (2, 4)
    return [
        "  ".join(
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _layer_text(path: Path) -> str:
    try:
        return _count(len(Bundle(path).keys), "kernel")
    except CacheError as error:
        return error.message


def _age(used: float) -> str:
    seconds = max(0.0, time.time() - used)
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return "just now"


def _verify(args: Namespace) -> None:
    disk = open_cache()
    everything = list(stored(disk))
    bad = [s for s in everything if s.damage]
    for path in disk.layers:
        bundle = Bundle(path)
        if any(bundle.get(key) is None for key in bundle.keys):
            raise CacheError(f"the layer `{path}` is damaged", hint="export it again")
    if bad and args.remove:
        for each in bad:
            disk.remove(each.key)
        print(f"{_count(len(bad), 'damaged entry', 'damaged entries')} removed")
    elif bad:
        raise CacheError(
            f"{len(bad)} of {_count(len(everything), 'entry', 'entries')} can't be used",
            notes=[f"`{s.key}` {s.damage}" for s in bad],
            hint="`tileloom cache verify --remove` throws them away; they are made again if needed",
        )
    print(f"{_count(len(everything) - len(bad), 'entry is', 'entries are')} whole")


def _prune(args: Namespace) -> None:
    if args.all and args.bytes is not None:
        raise UsageError("`--all` and `--bytes` exclude each other")
    if args.bytes is not None and args.bytes < 0:
        raise UsageError(f"`--bytes` is {args.bytes}, less than 0")
    disk = open_cache()
    before = list(stored(disk))
    if args.unused_days is not None:
        for each in before:
            if time.time() - each.used > args.unused_days * _DAY_S:
                disk.remove(each.key)
    disk.max_bytes = 0 if args.all else disk.max_bytes if args.bytes is None else args.bytes
    disk.prune()
    after = list(stored(disk))
    freed = sum(s.size for s in before) - sum(s.size for s in after)
    removed = len(before) - len(after)
    print(f"{_count(removed, 'entry', 'entries')} removed, {size_text(max(freed, 0))} freed")


def _export(args: Namespace) -> None:
    disk = open_cache()
    kernels = [s for s in stored(disk) if s.kernel]
    known = {str(s.kernel) for s in kernels}
    for name in args.kernel or ():
        if name not in known:
            listed = ", ".join(map(quote, sorted(known))) or "none"
            raise VMNameError(
                f"the cache has no kernel `{name}`",
                hint=did_you_mean(name, known) or f"its kernels: {listed}",
            )
    wanted = [s.key for s in kernels if not args.kernel or s.kernel in args.kernel]
    chosen = {key: data for key in wanted if (data := disk.read(key)) is not None}
    write_bundle(args.file, chosen)
    print(f"{args.file}: {_count(len(chosen), 'kernel')}")


def _import(args: Namespace) -> None:
    bundle, disk = Bundle(args.file), open_cache()
    entries = {key: bundle.get(key) for key in bundle.keys}
    whole = {key: entry for key, entry in entries.items() if entry is not None}
    if len(whole) < len(entries):
        raise CacheError(
            f"{len(entries) - len(whole)} of the {len(entries)} entries of `{args.file}` "
            "are damaged",
            hint="nothing was imported; export the bundle again",
        )
    there = disk.entries()
    new = {key: entry for key, entry in whole.items() if key not in there}
    for key, entry in new.items():
        disk.put(key, entry)
    print(f"{disk.directory}: {_count(len(new), 'kernel')} imported, {len(whole) - len(new)} there")


def _count(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


# ---- their options


def _no_options(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="as one line of JSON")


def _verify_options(parser: Parser) -> None:
    parser.add_argument("--remove", action="store_true", help="throw away what is damaged")


def _prune_options(parser: Parser) -> None:
    parser.add_argument("--bytes", type=int, help="the size to keep (default: the cache's bound)")
    parser.add_argument("--all", action="store_true", help="keep nothing")
    parser.add_argument("--unused-days", type=float, help="also drop what was unused for so long")


def _export_options(parser: Parser) -> None:
    parser.add_argument("file", type=Path, help="the bundle to write")
    parser.add_argument("--kernel", action="append", help="only kernels of this name (repeatable)")


def _import_options(parser: Parser) -> None:
    parser.add_argument("file", type=Path, help="the bundle to read")


@dataclass(frozen=True)
class _Action:
    text: str
    run: Callable[[Namespace], None]
    arguments: Callable[[Parser], None]


_ACTIONS = {
    "ls": _Action("list the compiled kernels", _list, _no_options),
    "verify": _Action("read every entry and say which are damaged", _verify, _verify_options),
    "prune": _Action("throw away what was used longest ago", _prune, _prune_options),
    "export": _Action("write kernels to a bundle, one file", _export, _export_options),
    "import": _Action("copy a bundle's kernels into the cache", _import, _import_options),
}


def _help() -> str:
    lines = ["usage: tileloom cache ACTION ...", "", "actions:"]
    lines += [f"  {name:<8}{action.text}" for name, action in _ACTIONS.items()]
    lines += ["", "`tileloom cache ACTION --help` lists an action's options"]
    return "\n".join(lines)
