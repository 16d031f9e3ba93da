"""Plants a bug, then runs a check: `python planted.py FILE MODULE OLD NEW CHECK ARGUMENTS...`.

This is a script, not a module: nothing of the package may be imported before the bug is in. OLD
and NEW are files that hold the two texts; CHECK is the module whose `main` is called.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType


class _Loader(SourceFileLoader):
    """Loads a module from its changed source."""

    def __init__(self, fullname: str, path: str, old: str, new: str) -> None:
        super().__init__(fullname, path)
        self.old, self.new = old, new

    def get_code(self, fullname: str) -> CodeType:
        source = Path(self.path).read_text(encoding="utf-8")
        assert source.count(self.old) == 1, f"the bug doesn't fit {self.path}"
        return compile(source.replace(self.old, self.new), self.path, "exec")


class _Finder(MetaPathFinder):
    """Finds one module with a loader of ours."""

    def __init__(self, module: str, old: str, new: str) -> None:
        self.module, self.old, self.new = module, old, new

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None and spec.origin is not None
        spec.loader = _Loader(fullname, spec.origin, self.old, self.new)
        return spec


def plant(module: str, old: str, new: str) -> None:
    """From now on the module is imported with `new` in place of `old`."""
    assert module not in sys.modules, f"{module} is already imported"
    sys.meta_path.insert(0, _Finder(module, old, new))


def _main(arguments: list[str]) -> int:
    module, old, new, check, *rest = arguments
    plant(module, Path(old).read_text("utf-8"), Path(new).read_text("utf-8"))
    status: int = importlib.import_module(check).main(rest)
    return status


if __name__ == "__main__":
    sys.path.pop(0)  # the script's own folder, whose modules have other names
    sys.exit(_main(sys.argv[1:]))
