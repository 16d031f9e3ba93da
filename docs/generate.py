"""Writes the generated parts of the documentation: `python docs/generate.py`.

    instructions.md   from the classes of the instructions, and the PTX that the programs in
                      docs/instructions/ become
    reference.md      from signatures and docstrings of the public functions and classes
    error_cases.md    from the programs in tests/errors
    text.md           its grammar, from the parser's
    casts.md          the slots of casts and decodes

A test fails while a page is not what this writes.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS), str(DOCS.parent / ".src")]

import generate_casts  # noqa: E402
import generate_errors  # noqa: E402
import generate_instructions  # noqa: E402
import generate_reference  # noqa: E402

from tileloom.vm.text.grammar import RULES  # noqa: E402
from tileloom.vm.text.words import KEYWORDS, PUNCTUATION  # noqa: E402


def pages() -> dict[str, str]:
    """The text of every generated page, by its file's name."""
    return {
        "instructions.md": generate_instructions.page(DOCS / "instructions"),
        "reference.md": generate_reference.page(),
        "error_cases.md": generate_errors.page(DOCS.parent / "tests" / "errors"),
        "casts.md": with_part((DOCS / "casts.md").read_text(), "slots", generate_casts.table()),
        "text.md": with_part((DOCS / "text.md").read_text(), "grammar", f"```\n{grammar()}```\n"),
    }


def with_part(page: str, name: str, part: str) -> str:
    """A page with the part between its marks replaced."""
    start, end = f"<!-- {name}: start -->\n", f"<!-- {name}: end -->"
    before, _, rest = page.partition(start)
    _, _, after = rest.partition(end)
    assert rest and after, f"no marks for {name}"
    return before + start + part + end + after


def grammar() -> str:
    """The rules of the text form, without what only the parser's generator needs."""
    shown = {keyword.upper(): f'"{keyword}"' for keyword in KEYWORDS}
    shown |= {name: f'"{text}"' for text, name in PUNCTUATION.items()}
    shown |= {"_NEWLINE": "newline", "_END": "end"}
    rules = re.sub(r" -> \w+$", "", RULES.strip(), flags=re.M)
    rules = re.sub(r"^\?", "", rules, flags=re.M)
    return re.sub(r"\b_?[A-Z]+(_[A-Z]+)*\b", lambda m: shown.get(m[0], m[0]), rules) + "\n"


def main() -> None:
    for name, text in pages().items():
        (DOCS / name).write_text(text)


if __name__ == "__main__":
    main()
