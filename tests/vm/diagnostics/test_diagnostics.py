"""The text of errors, places in Python sources and the tracebacks a user sees."""

from __future__ import annotations

import pickle
import traceback

import pytest

from tileloom.vm import diagnostics
from tileloom.vm.diagnostics import (
    Location,
    VMError,
    VMNameError,
    VMTypeError,
    at_location,
    caller_location,
    did_you_mean,
    quote,
    user_errors,
)

SOURCE = "    mma %acc, %a, %q"


def test_render_is_the_documented_form() -> None:
    error = VMTypeError(
        "`mma`: a is `f16` but b is `u4`",
        Location("gemm.vm", 15, 5, 21, SOURCE),
        notes=[("`%q` is `reg<u4, [16, 8]>`", Location("gemm.vm", 13, 5, 30, ""))],
        hint="cast the narrower one: `cast %q {dtype = f16}`",
    )
    assert str(error) == (
        "type error: `mma`: a is `f16` but b is `u4`\n"
        "  --> gemm.vm:15:5\n"
        "   |\n"
        "15 |     mma %acc, %a, %q\n"
        "   |     ^^^^^^^^^^^^^^^^\n"
        "note: `%q` is `reg<u4, [16, 8]>`\n"
        "  --> gemm.vm:13:5\n"
        "hint: cast the narrower one: `cast %q {dtype = f16}`"
    )


def test_render_without_a_place_or_source() -> None:
    assert str(VMError("no device")) == "error: no device"
    error = VMError("x", Location("nowhere.vm", 7, 2, 3))
    assert str(error) == "error: x\n --> nowhere.vm:7:2"


@pytest.mark.parametrize(
    ("text", "column", "end", "source", "caret"),
    [
        ("\tload", 2, 6, "1 |     load", "  |     ^^^^"),
        ("é = load", 5, 9, "1 | é = load", "  |     ^^^^"),
        ("漢 = load", 5, 9, "1 | 漢 = load", "  |      ^^^^"),
        ("ab", 3, 3, "1 | ab", "  |   ^"),
        ("ab", 9, 99, "1 | ab", "  |   ^"),
        ("a\x1b[31m b", 1, 2, "1 | a\\x1b[31m b", "  | ^"),
    ],
)
def test_caret_is_under_the_span(text: str, column: int, end: int, source: str, caret: str) -> None:
    lines = str(VMError("x", Location("a.vm", 1, column, end, text))).split("\n")
    assert lines[3:] == [source, caret]


def test_long_lines_are_cut_around_the_span() -> None:
    text = "x" * 10_000 + "HERE" + "y" * 10_000
    rendered = str(VMError("x", Location("a.vm", 1, 10_001, 10_005, text)))
    source, caret = rendered.split("\n")[-2:]
    assert len(source) < 200
    assert source[caret.index("^") : caret.rindex("^") + 1] == "HERE"


def test_caller_location_has_exact_columns() -> None:
    place = [1, caller_location(), 2][1]
    assert isinstance(place, Location)
    line = place.source_line()
    assert line is not None
    assert line[place.column - 1 : place.end_column - 1] == "caller_location()"


def test_caller_location_counts_characters_not_bytes() -> None:
    namespace: dict[str, object] = {"caller_location": caller_location}
    exec(compile("é = 'ü'; place = caller_location()", "<text>", "exec"), namespace)
    place = namespace["place"]
    assert isinstance(place, Location)
    # The text of this source is unknown, so columns stay as Python counts them.
    assert (place.line, place.column) == (1, 20)


def test_caller_location_skips_the_machinery() -> None:
    namespace: dict[str, object] = {
        "__name__": "tileloom.vm.dsl.anything",
        "caller_location": caller_location,
    }
    exec("def load(): return caller_location()", namespace)
    load = namespace["load"]
    assert callable(load)
    place = load()
    assert place.file == __file__
    line = place.source_line()
    assert line is not None and line[place.column - 1 : place.end_column - 1] == "load()"


def test_caller_location_of_a_call_over_several_lines_shows_the_first() -> None:
    # fmt: off
    place = caller_location(
        0,
    )
    # fmt: on
    line = place.source_line()
    assert line is not None
    assert line[place.column - 1 : place.end_column - 1] == "caller_location("


def test_did_you_mean() -> None:
    assert did_you_mean("laod", ["load", "store"]) == "did you mean `load`?"
    assert did_you_mean("%ACC", ["%acc", "%a"]) == "did you mean `%acc`?"
    assert did_you_mean("zzz", ["load", "store"]) is None
    assert did_you_mean("x" * 10_000, ["x" * 9_999]) is None
    ties = ["ab", "ac", "ad"]
    assert did_you_mean("aa", ties) == did_you_mean("aa", reversed(ties))


def test_quote_is_short_and_printable() -> None:
    assert quote("a\nb") == "`a\\nb`"
    assert len(quote("x" * 1000)) < 100


def test_errors_survive_pickling() -> None:
    error = VMNameError("x", Location("a.vm", 1, 2, 3, "abc"), notes=["n"], hint="h")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is VMNameError and str(copy) == str(error)


def test_every_kind_is_exported_and_distinct() -> None:
    ours = [cls for cls in VMError.__subclasses__() if cls.__module__ == diagnostics.__name__]
    kinds = [cls.kind for cls in ours]
    assert len(kinds) == len(set(kinds)) >= 12
    assert all(getattr(diagnostics, cls.__name__) is cls for cls in ours)


def test_at_location_gives_a_place_once() -> None:
    inner, outer = Location("a.vm", 1, 1, 2, "x"), Location("a.vm", 2, 1, 2, "y")
    with pytest.raises(VMError) as caught, at_location(outer), at_location(inner):
        raise VMError("x")
    assert caught.value.location == inner


def make_entry(style: str) -> object:
    """A public entry point living in a module of ours, which calls back the user's function."""
    source = f"""
def inner(call):
    try:
        raise KeyError("ours")
    except KeyError:
        call()

if {style!r} == "decorator":
    @user_errors()
    def entry(call):
        inner(call)
else:
    def entry(call):
        with user_errors():
            inner(call)
"""
    namespace: dict[str, object] = {
        "__name__": "tileloom.vm.anything",
        "user_errors": user_errors,
    }
    exec(compile(source, "ours.py", "exec"), namespace)
    return namespace["entry"]


def users_body() -> None:
    raise VMError("mistake")


@pytest.mark.parametrize("style", ["decorator", "with"])
def test_tracebacks_show_only_user_frames(style: str) -> None:
    entry = make_entry(style)
    assert callable(entry)
    with pytest.raises(VMError) as caught:
        entry(users_body)
    shown = "".join(traceback.format_exception(caught.value))
    assert "ours.py" not in shown and "tracebacks.py" not in shown and "KeyError" not in shown
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names == ["test_tracebacks_show_only_user_frames", "users_body"]


def test_full_tracebacks_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILELOOM_FULL_TRACEBACK", "1")
    entry = make_entry("with")
    assert callable(entry)
    with pytest.raises(VMError) as caught:
        entry(users_body)
    assert "ours.py" in "".join(traceback.format_exception(caught.value))


def test_other_exceptions_pass_untouched() -> None:
    def fail() -> None:
        raise RuntimeError("not a user's mistake")

    entry = make_entry("decorator")
    assert callable(entry)
    with pytest.raises(RuntimeError) as caught:
        entry(fail)
    assert "ours.py" in "".join(traceback.format_exception(caught.value))
