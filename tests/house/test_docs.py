"""Documentation that can't go stale: its Python runs, its links and its tables hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = [
    pytest.param(page, code, id=f"{page.name}-{number}")
    for page in PAGES
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.S))
]


@pytest.mark.parametrize(("page", "code"), EXAMPLES)
def test_python_examples_run(page: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILELOOM_DEVICE", "interpreter")
    exec(compile(code, str(page), "exec"), {})


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
