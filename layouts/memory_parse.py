"""Read memory layouts from text.

memory  = places ["^" "swizzle" "(" INT "," INT "," INT ")"]
places  = ("row_major" | "column_major") "(" [INT ("," INT)*] ")"
        | "strided" "(" INTS "," INTS ")"                      shape, strides
        | "memory" "(" "shape" "=" INTS "," "digits" "=" NESTED ","
          "strides" "=" NESTED "," "start" "=" INT ")"
INTS    = "[" [INT ("," INT)*] "]"
NESTED  = "[" [INTS ("," INTS)*] "]"
"""

from .errors import LayoutError
from .memory_layout import Digit, MemoryLayout, column_major, row_major, strided
from .parse import Reader
from .swizzle import Swizzle
from .tracebacks import user_errors


@user_errors()
def parse_memory_layout(text: str) -> MemoryLayout:
    """The memory layout that `text` describes; LayoutError with the position of what is wrong."""
    reader = Reader(text)
    layout = _places(reader)
    if reader.accept("^"):
        reader.expect("swizzle", "(")
        bits = reader.integer()
        reader.expect(",")
        base = reader.integer()
        reader.expect(",")
        swizzle = Swizzle(bits, base, reader.integer())
        reader.expect(")")
        layout = MemoryLayout(layout.shape, layout.digits, swizzle, layout.start)
    reader.expect("")
    return layout


def _places(reader: Reader) -> MemoryLayout:
    name = reader.peek()
    if name not in ("row_major", "column_major", "strided", "memory"):
        reader.fail("one of `row_major`, `column_major`, `strided`, `memory`")
    reader.take()
    if name in ("row_major", "column_major"):
        shape = reader.items("(", ")", reader.integer)
        return row_major(shape) if name == "row_major" else column_major(shape)
    reader.expect("(")
    layout = _strided(reader) if name == "strided" else _general(reader)
    reader.expect(")")
    return layout


def _strided(reader: Reader) -> MemoryLayout:
    shape = reader.integers()
    reader.expect(",")
    return strided(shape, reader.integers())


def _general(reader: Reader) -> MemoryLayout:
    reader.expect("shape", "=")
    shape = reader.integers()
    reader.expect(",", "digits", "=")
    extents = reader.items("[", "]", reader.integers)
    reader.expect(",", "strides", "=")
    strides = reader.items("[", "]", reader.integers)
    reader.expect(",", "start", "=")
    start = reader.integer()
    if [len(e) for e in extents] != [len(s) for s in strides]:
        raise LayoutError(f"digits and strides differ in number: `{reader.text}`")
    digits = [
        tuple(Digit(e, s) for e, s in zip(dim_extents, dim_strides, strict=True))
        for dim_extents, dim_strides in zip(extents, strides, strict=True)
    ]
    return MemoryLayout(tuple(shape), tuple(digits), None, start)
