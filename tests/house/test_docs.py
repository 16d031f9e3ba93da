"""Documentation that can't go stale: its examples say what it shows, its links and tables hold.

A block of a page is an example. What it says is what it prints, and then the text of the `VMError`
it ends with; a `text` block that directly follows it holds all of that, and a `diff` block after
this the change that makes the example run.

    python   runs alone, as a file `example.py`
    vm       a program in the text form: `parse` reads it, as a file `program.vm`
"""

from __future__ import annotations

import linecache
import re
import shutil
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

from tileloom.vm import parse
from tileloom.vm.diagnostics import VMError

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Example:
    """A block of a page, what it says (None: nobody tells), and the change that mends it."""

    page: Path
    number: int
    language: str
    code: str
    said: str | None = None
    change: str | None = None

    @property
    def name(self) -> str:
        return f"{self.page.name}-{self.number}"

    def run(self, code: str) -> str:
        """Runs `code` in the example's language, and gives what it prints.

        A `VMError` that ends it is printed too, if the page tells what the example says.
        """
        printed = StringIO()
        try:
            with redirect_stdout(printed):
                self._execute(code)
        except VMError as error:
            if self.said is None or code is not self.code:
                raise
            print(error, file=printed)
        return printed.getvalue()

    def _execute(self, code: str) -> None:
        if self.language == "vm":
            parse(code, "program.vm")
            return
        lines = code.splitlines(keepends=True)
        linecache.cache["example.py"] = (len(code), None, lines, "example.py")
        exec(compile(code, "example.py", "exec"), {"__name__": "__main__"})

    def mended(self) -> str:
        """The code with the change: ` ` marks lines that stay, `-` and `+` old and new ones."""
        assert self.change is not None
        lines = self.change.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        new = "".join(line[1:] for line in lines if line[0] in " +")
        assert self.code.count(old) == 1, "the change doesn't fit the example"
        return self.code.replace(old, new)

    def tell(self, said: str) -> None:
        """Writes what the example says into its page."""
        old = f"{self.code}```\n```text\n{self.said}```"
        text = self.page.read_text()
        assert text.count(old) == 1, "the text must stand directly under the example"
        self.page.write_text(text.replace(old, f"{self.code}```\n```text\n{said}```"))


def examples_of(page: Path) -> Iterator[Example]:
    """The examples of a page, in its order."""
    text = page.read_text()
    blocks = list(_BLOCK.finditer(text))
    for number, block in enumerate(blocks):
        if block[1] not in ("python", "vm"):
            continue
        following: list[str | None] = [None, None]
        end = block.end()
        for place, language in enumerate(("text", "diff"), start=1):
            after = blocks[number + place] if number + place < len(blocks) else None
            if after is None or after[1] != language or text[end : after.start()].strip():
                break
            following[place - 1], end = after[2], after.end()
        yield Example(page, number, block[1], block[2], *following)


EXAMPLES = [example for page in PAGES for example in examples_of(page)]
MENDED = [example for example in EXAMPLES if example.change is not None]
TAUGHT = [e for e in EXAMPLES if e.page.name == "tutorial.md" and e.change is None]


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder with the files that pages read, and no GPU."""
    monkeypatch.setenv("TILELOOM_DEVICE", "interpreter")
    monkeypatch.chdir(tmp_path)
    for file in (ROOT / "docs" / "examples").glob("*"):
        shutil.copy(file, tmp_path)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_run(example: Example, request: pytest.FixtureRequest) -> None:
    said = example.run(example.code)
    if example.said is None:
        return
    if said != example.said and request.config.getoption("--update-golden"):
        example.tell(said)
        return
    assert said == example.said, "if it should differ, run with --update-golden"


@pytest.mark.parametrize("example", TAUGHT, ids=lambda example: example.name)
def test_the_tutorial_runs_on_the_emulator(
    example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILELOOM_DEVICE", "emulator")
    example.run(example.code)


@pytest.mark.parametrize("example", MENDED, ids=lambda example: example.name)
def test_changes_mend_examples(example: Example) -> None:
    example.run(example.mended())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_variable_is_documented() -> None:
    from tileloom.runtime.options import VARIABLES

    text = (ROOT / "docs" / "environment.md").read_text()
    rows = dict(re.findall(r"^\| `(TILELOOM_\w+)` \| (.*) \|$", text, re.M))
    assert rows == VARIABLES


def test_readme_has_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"^python3 -m venv .*", text, re.M)
    assert len(commands) == 2
    assert commands[0].endswith(
        "tileloom run quantized_matmul --weight u3 --m 16 --k 4096 --n 4096"
    )
    assert "pytest" in commands[1]


def test_changelog_fragments_are_named_by_their_kind() -> None:
    for fragment in (ROOT / "changelog.d").iterdir():
        assert re.fullmatch(r"[a-z_]+\.(added|changed|fixed|removed)\.md", fragment.name), fragment
        assert fragment.read_text().strip()
