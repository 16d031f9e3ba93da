"""Small helpers for the wording of messages."""

from __future__ import annotations

from collections.abc import Iterable

_MAX_QUOTED = 80
_MAX_COMPARED = 64


def quote(text: object, limit: int = _MAX_QUOTED) -> str:
    """`text` in backquotes, on one line, printable, cut to about `limit` characters."""
    shown = str(text)
    if len(shown) > limit:
        shown = shown[: limit - 3] + "..."
    return f"`{printable(shown)}`"


def printable(text: str) -> str:
    """`text` with control characters escaped, so that a message can't drive a terminal."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def did_you_mean(name: object, candidates: Iterable[str]) -> str | None:
    """The hint "did you mean `x`?" with the closest of `candidates`, or None if none is near."""
    if not isinstance(name, str) or len(name) > _MAX_COMPARED:
        return None
    import difflib  # here: an import of the VM has nothing to compare yet

    # Sorted, so that ties are broken the same way in every process.
    names = sorted(set(candidates))
    folded = {candidate.casefold(): candidate for candidate in reversed(names)}
    if name.casefold() in folded:
        return f"did you mean {quote(folded[name.casefold()])}?"
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {quote(close[0])}?" if close else None
