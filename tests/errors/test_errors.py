"""The whole text of the errors a first user meets: one program and one expected text each.

`text/` holds programs in the text form that can't be read, `compiled/` those that can't be
compiled (a first line `// for TARGET` says for what), `python/` scripts; what each says stands
beside it in a `.txt` file. `pytest tests/errors --update-golden` writes those files, and
`docs/generate.py` makes a page of them.
"""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tileloom.runtime import bindings, compile_kernel
from tileloom.runtime.cuda import context
from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError

HERE = Path(__file__).parent
TEXTS = sorted((HERE / "text").glob("*.vm"))
COMPILED = sorted((HERE / "compiled").glob("*.vm"))
SCRIPTS = sorted((HERE / "python").glob("*.py"))
# What a script's environment lacks, or has.
VARIABLES = {"no_assembler": {"TILELOOM_ASSEMBLER": "/nowhere/ptxas"}}

Golden = Callable[[Path, str], None]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_error_in_a_text(path: Path, golden: Golden) -> None:
    with pytest.raises(VMError) as caught:
        parse(path.read_text(), path.name)
    check_frames(caught.value, __file__)
    assert caught.value.location is not None
    golden(path.with_suffix(".txt"), f"{caught.value}\n")


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_error_of_the_compiler(path: Path, golden: Golden) -> None:
    text = path.read_text()
    target = re.match(r"// for (\S+)\n", text)
    function = parse(text, path.name)
    with pytest.raises(VMError) as caught:
        compile_kernel(function, target[1] if target else "sm_90a")
    check_frames(caught.value, __file__)
    assert caught.value.location is not None
    golden(path.with_suffix(".txt"), f"{caught.value}\n")


@pytest.fixture
def surroundings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither a GPU nor a cache, whatever the machine has."""

    def driver() -> None:
        raise ImportError("libcuda.so.1: cannot open shared object file")

    name = request.node.callspec.params["path"].stem
    monkeypatch.setattr(bindings, "driver", driver)
    for variable, value in {"TILELOOM_CACHE": "0", **VARIABLES.get(name, {})}.items():
        monkeypatch.setenv(variable, value)
    for variable in ("TILELOOM_DEVICE", "TILELOOM_FULL_TRACEBACK"):
        monkeypatch.delenv(variable, raising=False)
    context.api.cache_clear()
    yield
    context.api.cache_clear()


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_error_in_a_script(path: Path, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    linecache.checkcache(path.name)
    code = compile(path.read_text(), path.name, "exec")
    with pytest.raises(VMError) as caught:
        exec(code, {"__name__": "__main__"})
    check_frames(caught.value, path.name)
    assert caught.value.location is not None
    golden(path.with_suffix(".txt"), f"{caught.value}\n")


def check_frames(error: VMError, file: str) -> None:
    """The traceback has frames of this test and of the user, none of ours."""
    frames = traceback.extract_tb(error.__traceback__)
    assert {frame.filename for frame in frames} <= {__file__, file}
    assert frames[-1].filename == file
    assert error.__cause__ is None and error.__suppress_context__


@pytest.mark.parametrize("path", [*TEXTS, *COMPILED, *SCRIPTS], ids=lambda path: path.stem)
def test_the_wording_keeps_the_rules(path: Path) -> None:
    """Lower case, one line, no full stop; a caret under the place."""
    heading, *rest = path.with_suffix(".txt").read_text().splitlines()
    kind, _, message = heading.partition(": ")
    assert kind.islower() and kind.endswith("error")
    assert message and not message.endswith(".") and not message[0].isupper()
    assert sum(set(line) <= {" ", "|", "^"} and "^" in line for line in rest) == 1
    for line in rest:
        if line.startswith(("note: ", "hint: ")):
            text = line.partition(": ")[2]
            assert text and not text.endswith(".") and not text[0].isupper()
