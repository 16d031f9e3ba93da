"""From names to dtypes: the table of all of them, code books, and advice for a misspelt one."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

from ..diagnostics import user_errors
from .dtype import Dtype, DtypeError, Specials

# The 16 levels of the 4-bit NormalFloat: quantiles of a standard normal scaled to [-1, 1].
NF4_VALUES: Final = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _float(name: str, exponent: int, mantissa: int, specials: Specials, bits: int = 0) -> Dtype:
    bias = (1 << exponent - 1) - 1
    return Dtype(name, bits or 1 + exponent + mantissa, "float", exponent, mantissa, bias, specials)


def _small_float(exponent: int, mantissa: int) -> Dtype:
    name = f"e{exponent}m{mantissa}"
    specials: dict[str, Specials] = {"e4m3": "fn", "e5m2": "ieee"}
    return _float(name, exponent, mantissa, specials.get(name, "none"))


def _predefined() -> dict[str, Dtype]:
    found = [Dtype(f"u{bits}", bits, "uint") for bits in range(1, 65)]
    found += [Dtype(f"i{bits}", bits, "int") for bits in range(2, 65)]
    found += [Dtype(f"b{bits}", bits, "bipolar") for bits in range(1, 9)]
    found += [
        _float("f16", 5, 10, "ieee"),
        _float("bf16", 8, 7, "ieee"),
        _float("tf32", 8, 10, "ieee", bits=32),
        _float("f32", 8, 23, "ieee"),
        _float("f64", 11, 52, "ieee"),
        _float("e8m0", 8, 0, "scale", bits=8),
    ]
    found += [_small_float(x, y) for x in range(1, 8) for y in range(7) if 3 <= 1 + x + y <= 8]
    found += [Dtype("bool", 1, "bool"), Dtype("nf4", 4, "codebook", values=NF4_VALUES)]
    return {each.name: each for each in found}


_DTYPES: Final = _predefined()
_PREDEFINED: Final = frozenset(_DTYPES)


@user_errors()
def dtype(name: str) -> Dtype:
    """Return the dtype of that name, always the same object.

    Raises `DtypeError`, with the nearest names, for one that does not exist.
    """
    found = _DTYPES.get(name) if isinstance(name, str) else None
    if found is None:
        raise DtypeError(_unknown(name))
    return found


@user_errors()
def codebook(name: str, values: Sequence[float]) -> Dtype:
    """Define (or find) the dtype whose code c means `values[c]`, of 2, 4, ... or 256 values.

    Raises `DtypeError` for another number of values, for one that isn't finite, and for a name
    that is no identifier or means another dtype.
    """
    levels = tuple(float(value) for value in values)
    bits = len(levels).bit_length() - 1
    if not 1 <= bits <= 8 or len(levels) != 1 << bits:
        raise DtypeError(f"code book `{name}` has {len(levels)} values, not 2, 4, 8, ... or 256")
    if not all(math.isfinite(level) for level in levels):
        raise DtypeError(f"code book `{name}` has a value that is not finite")
    if not _NAME.fullmatch(name):
        raise DtypeError(f"`{name}` can't name a code book: it is no identifier")
    known = _DTYPES.setdefault(name, Dtype(name, bits, "codebook", values=levels))
    if known.kind != "codebook" or known.values != levels:
        raise DtypeError(f"`{name}` already names another dtype")
    return known


def predefined() -> list[Dtype]:
    """Return every dtype that exists without a call of `codebook`, in a fixed order."""
    return [_DTYPES[name] for name in sorted(_PREDEFINED)]


def suggestions(name: str) -> list[str]:
    """Return the names closest to an unknown one, the best first."""
    import difflib  # here: an import of the VM has nothing to compare yet

    close = difflib.get_close_matches(name.lower(), sorted(_DTYPES), n=3, cutoff=0.5)
    aliases = {"float": "f32", "half": "f16", "double": "f64", "int": "i32", "uint": "u32"}
    plain = re.sub(r"^(float|uint|int|bfloat)(\d+)$", _abbreviate, name.lower())
    first = [each for each in (plain, aliases.get(name.lower())) if each in _DTYPES]
    return list(dict.fromkeys([each for each in first if each] + close))[:3]


def _abbreviate(match: re.Match[str]) -> str:
    short = {"float": "f", "uint": "u", "int": "i", "bfloat": "bf"}
    return short[match[1]] + match[2]


def _unknown(name: object) -> str:
    if not isinstance(name, str):
        return f"a dtype's name is a string, not `{type(name).__name__}`"
    message = f"unknown dtype `{name}`"
    near = suggestions(name)
    return f"{message}; did you mean `{near[0]}`?" if near else message
