"""Register layouts of the operands of tensor-core instructions and of matrix loads and stores.

Each warp-wide instruction spreads its tiles over 32 lanes in words of 32 bits. In the pictures
`5.2` is element 2 of lane 5; g = lane // 4 and p = lane % 4 name a lane's group and its place.

Shapes are a [m, k], b [k, n], c [m, n]. The elements of a word are v = 32 / bits neighbours along
k; the layouts number a lane's elements in the order of its operand registers, low bits first.
"""

from dataclasses import dataclass
from functools import cache

from .atoms import column_local, column_spatial, local, spatial
from .errors import LayoutError
from .register_layout import RegisterLayout
from .tracebacks import user_errors

WORD_BITS = 32

# The accumulator of m16n8, of 32-bit elements, or of f16 with a pair in each word.
# Registers 0, 1 are row g, registers 2, 3 row g + 8; columns 2p, 2p + 1.
#
#           0    1    2    3    4    5    6    7
#      0   0.0  0.1  1.0  1.1  2.0  2.1  3.0  3.1
#      1   4.0  4.1  5.0  5.1  6.0  6.1  7.0  7.1
#      :
#      7  28.0 28.1 29.0 29.1 30.0 30.1 31.0 31.1
#      8   0.2  0.3  1.2  1.3  2.2  2.3  3.2  3.3
#      :
#     15  28.2 28.3 29.2 29.3 30.2 30.3 31.2 31.3
MMA_C = local(2, 1) * spatial(8, 4) * local(1, 2)

# a, four words: words 0 and 1 are rows g and g + 8 of the left half of k, 2 and 3 of the right.
# 16 bits (m16n8k16), v = 2:
#
#           0    1    2    3  ...   6    7     8    9  ...  14   15
#      0   0.0  0.1  1.0  1.1      3.0  3.1   0.4  0.5      3.4  3.5
#      1   4.0  4.1  5.0  5.1      7.0  7.1   4.4  4.5      7.4  7.5
#      :
#      7  28.0 28.1 29.0 29.1     31.0 31.1  28.4 28.5     31.4 31.5
#      8   0.2  0.3  1.2  1.3      3.2  3.3   0.6  0.7      3.6  3.7
#      :
#     15  28.2 28.3 29.2 29.3     31.2 31.3  28.6 28.7     31.6 31.7
#
# 8 bits (m16n8k32), v = 4, and tf32 (m16n8k8), v = 1, row 0:
#
#           0    1    2    3    4    5  ...  15    16   17  ...   31
#      0   0.0  0.1  0.2  0.3  1.0  1.1     3.3   0.8  0.9      3.11
#
#           0    1    2    3    4    5    6    7
#      0   0.0  1.0  2.0  3.0  0.2  1.2  2.2  3.2
#
# a, two words: the left half alone; words 0 and 1 are rows g and g + 8.
# 16 bits (m16n8k8), 8 bits (m16n8k16), tf32 (m16n8k4).

# b, two words: word 0 is rows v*p .. v*p + v - 1 of column g, word 1 as many rows 4v below.
# 16 bits (m16n8k16), v = 2:
#
#           0    1    2  ...   7
#      0   0.0  4.0  8.0     28.0
#      1   0.1  4.1  8.1     28.1
#      2   1.0  5.0  9.0     29.0
#      3   1.1  5.1  9.1     29.1
#      :
#      7   3.1  7.1 11.1     31.1
#      8   0.2  4.2  8.2     28.2
#      9   0.3  4.3  8.3     28.3
#      :
#     15   3.3  7.3 11.3     31.3
#
# 8 bits (m16n8k32), v = 4, and tf32 (m16n8k8), v = 1, column 0 downwards:
#
#      0.0 0.1 0.2 0.3 1.0 1.1 1.2 1.3 2.0 .. 3.3 0.4 0.5 0.6 0.7 1.4 .. 3.7
#      0.0 1.0 2.0 3.0 0.1 1.1 2.1 3.1
#
# b, one word: the upper half alone. 16 bits (m16n8k8), 8 bits (m16n8k16), tf32 (m16n8k4).


@dataclass(frozen=True)
class MmaFragments:
    """One mma.sync shape: its extents and the layouts of a [m, k], b [k, n], c [m, n]."""

    m: int
    n: int
    k: int
    a: RegisterLayout
    b: RegisterLayout
    c: RegisterLayout

    @property
    def shape(self) -> str:
        """As PTX spells it, e.g. `m16n8k16`."""
        return f"m{self.m}n{self.n}k{self.k}"


def _mma(bits: int, words_of_b: int) -> MmaFragments:
    per_word = WORD_BITS // bits
    rows_and_halves = column_local(2, words_of_b)
    a = rows_and_halves * spatial(8, 4) * local(1, per_word)
    b = local(words_of_b, 1) * column_spatial(4, 8) * local(per_word, 1)
    return MmaFragments(16, 8, a.shape[1], a, b, MMA_C)


# Operand dtypes of mma.sync and their shapes by k, the largest k first.
_MMA: dict[str, tuple[MmaFragments, ...]] = {
    dtype: (_mma(bits, 2), _mma(bits, 1))
    for dtype, bits in {"f16": 16, "bf16": 16, "tf32": 32, "i8": 8, "u8": 8}.items()
}


@user_errors()
def mma(dtype: str, k: int | None = None) -> MmaFragments:
    """The fragments of mma.sync for operands of `dtype`; `k` defaults to the largest.

    f16 and bf16 have k = 16, 8; tf32 has 8, 4; i8 and u8 have 32, 16. LayoutError for others.
    """
    shapes = _MMA.get(dtype, ())
    for fragments in shapes:
        if k is None or fragments.k == k:
            return fragments
    known = ", ".join(f"{name} {[f.k for f in each]}" for name, each in _MMA.items())
    wanted = dtype if k is None else f"{dtype} with k = {k}"
    raise LayoutError(f"no mma fragments for {wanted}; there are {known}")


@user_errors()
def mma_a(dtype: str, k: int | None = None) -> RegisterLayout:
    """The left operand, [16, k]."""
    return mma(dtype, k).a


@user_errors()
def mma_b(dtype: str, k: int | None = None) -> RegisterLayout:
    """The right operand, [k, 8]."""
    return mma(dtype, k).b


@user_errors()
def mma_c(dtype: str, k: int | None = None) -> RegisterLayout:
    """The accumulator, [16, 8]: the same for all operands."""
    return mma(dtype, k).c


# ldmatrix and stmatrix move 8 x 16-byte matrices. Lane L's word of a matrix is the word L % 4 of
# row L // 4, whatever the elements are. With 16-bit elements, and 8-bit ones beside:
#
#           0    1    2    3    4    5    6    7           0    1    2    3    4  ...  15
#      0   0.0  0.1  1.0  1.1  2.0  2.1  3.0  3.1         0.0  0.1  0.2  0.3  1.0      3.3
#      1   4.0  4.1  5.0  5.1  6.0  6.1  7.0  7.1         4.0  4.1  4.2  4.3  5.0      7.3
#      :
#      7  28.0 28.1 29.0 29.1 30.0 30.1 31.0 31.1        28.0 28.1 28.2 28.3 29.0     31.3
#
# With .trans (16-bit elements only) the lane holds, of the matrix as it lies in memory, elements
# 2p, 2p + 1 of column g:
#
#           0    1    2  ...   7
#      0   0.0  4.0  8.0     28.0
#      1   0.1  4.1  8.1     28.1
#      2   1.0  5.0  9.0     29.0
#      :
#      7   3.1  7.1 11.1     31.1
MATRIX_ROWS = 8
MATRIX_ROW_BITS = 128


@user_errors()
def matrix(element_bits: int = 16, transposed: bool = False) -> RegisterLayout:
    """One matrix of ldmatrix or stmatrix, [8, 128 / element_bits], as its rows lie in memory.

    A tile can be moved by ldmatrix where its layout divides by this one; the quotient's local
    numbers count the matrices, `matrices` of which go in one instruction.
    """
    if element_bits not in (8, 16, 32) or (transposed and element_bits != 16):
        how = "transposed " if transposed else ""
        raise LayoutError(f"no {how}matrix loads of {element_bits}-bit elements")
    per_word = WORD_BITS // element_bits
    if transposed:
        return column_spatial(4, 8) * local(per_word, 1)
    return spatial(8, 4) * local(1, per_word)


@user_errors()
def matrices(count: int, element_bits: int = 16, transposed: bool = False) -> RegisterLayout:
    """The tile of ldmatrix.x1, .x2 or .x4, its matrices stacked: [8 * count, ...].

    Word i of a lane belongs to matrix i, rows 8i .. 8i + 7.
    """
    if count not in (1, 2, 4):
        raise LayoutError(f"ldmatrix and stmatrix move 1, 2 or 4 matrices, not {count}")
    return local(count, 1) * matrix(element_bits, transposed)


@user_errors()
def matrix_row_addresses(count: int) -> RegisterLayout:
    """Which lane supplies the address of which row of `matrices(count)`: [8 * count].

    Lane 8i + r points to row r of matrix i; the addresses of further lanes are ignored.

        x4:  matrix 0 rows 0 .. 7    matrix 1         matrix 2          matrix 3
             lanes  0 .. 7           lanes 8 .. 15    lanes 16 .. 23    lanes 24 .. 31
    """
    if count not in (1, 2, 4):
        raise LayoutError(f"ldmatrix and stmatrix move 1, 2 or 4 matrices, not {count}")
    return spatial(MATRIX_ROWS * count)


# wgmma: 128 threads, the four warps of a warp group, each with 16 rows of the 64.
#
# The accumulator d [64, n], whatever its elements are (f16: a pair in each word). Warp w has rows
# 16w .. 16w + 15 as m16n8's accumulator has them, and n / 8 such tiles one after another. Warp 0,
# n = 16:
#
#           0    1    2    3  ...   6    7     8    9  ...  14   15
#      0   0.0  0.1  1.0  1.1      3.0  3.1   0.4  0.5      3.4  3.5
#      1   4.0  4.1  5.0  5.1      7.0  7.1   4.4  4.5      7.4  7.5
#      :
#      8   0.2  0.3  1.2  1.3      3.2  3.3   0.6  0.7      3.6  3.7
#      :
#     15  28.2 28.3 29.2 29.3     31.2 31.3  28.6 28.7     31.6 31.7
#
# a in registers, [64, k]: warp w has rows 16w .. 16w + 15 as mma's a of the same k has them; with
# elements of 16 bits (k = 16), 8 bits (k = 32) and tf32 (k = 8), four words a thread. Row 0:
#
#           0    1    2    3  ...   7     8    9  ...  15            16 bits
#      0   0.0  0.1  1.0  1.1      3.1   0.4  0.5      3.5
#           0    1    2    3    4  ...  15   16  ...  31             8 bits
#      0   0.0  0.1  0.2  0.3  1.0      3.3  0.8      3.11
#           0    1    2    3    4    5    6    7                     tf32
#      0   0.0  1.0  2.0  3.0  0.2  1.2  2.2  3.2
WARP_GROUP = 128
WGMMA_ROWS = 64
WGMMA_BITS = {"f16": 16, "bf16": 16, "tf32": 32, "e4m3": 8, "e5m2": 8, "i8": 8, "u8": 8}
_STEP_BITS = 256  # one instruction takes 32 bytes along k


@user_errors()
def wgmma_depth(dtype: str) -> int:
    """The k of one wgmma for operands of `dtype`."""
    if dtype not in WGMMA_BITS:
        raise LayoutError(f"no wgmma for {dtype}; there are {', '.join(WGMMA_BITS)}")
    return _STEP_BITS // WGMMA_BITS[dtype]


@user_errors()
def wgmma_widths(dtype: str) -> tuple[int, ...]:
    """The n that one wgmma can have for operands of `dtype`: multiples of 8 up to 256, of 16 from
    32 on for integers."""
    wgmma_depth(dtype)
    integer = dtype in ("i8", "u8")
    return tuple(n for n in range(8, 257, 8) if not integer or n < 32 or n % 16 == 0)


@user_errors()
def wgmma_d(n: int) -> RegisterLayout:
    """The accumulator of wgmma, [64, n], over the 128 threads of a warp group."""
    if n % 8 or not 8 <= n <= 256:
        raise LayoutError(f"wgmma has 8, 16, ..., 256 columns, not {n}")
    return _wgmma_d(n)


@cache
def _wgmma_d(n: int) -> RegisterLayout:
    return spatial(4, 1) * local(1, n // 8) * MMA_C


@user_errors()
def wgmma_a(dtype: str) -> RegisterLayout:
    """The left operand of wgmma in registers, [64, k], over the 128 threads of a warp group."""
    wgmma_depth(dtype)
    return _wgmma_a(dtype)


@cache
def _wgmma_a(dtype: str) -> RegisterLayout:
    return spatial(4, 1) * _mma(WGMMA_BITS[dtype], 2).a
