"""What a kernel of 8-bit activations is specialised to (eight_bit.py)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import gcd, prod

from tileloom.layouts import MemoryLayout, RegisterLayout, fragments, local, replicate, strided
from tileloom.layouts import swizzled as swizzled_layout

from .eight_bit_forms import ByteForm, quads_of_unit, words_of_unit
from .eight_bit_packing import SLAB, ByteCut

WARPS = 4  # of a warp group
GROUPS = 2  # warp groups that multiply
FETCHING, MULTIPLYING = 24, 240  # registers of a thread
PART = 64  # tokens of one product whose sums are scaled while the next runs
PADDING = 4  # features between rows of sums: so rows start in different banks


@dataclass(frozen=True)
class ByteConfig:
    """What one compiled kernel is specialised to: never m, k or n."""

    cut: ByteCut
    form: ByteForm
    activation: str
    out: str
    bias: str = ""  # the dtype of the bias, "" without one
    tokens: int = 64  # N
    slabs: int = 1  # of 64 features, for each warp group
    stages: int = 4
    cluster: int = 1  # blocks that split k
    in_rounds: bool = False  # blocks take every so many-th tile
    split: bool = False  # tiles are cut between blocks, whose sums meet in a workspace
    in_turn: bool = False  # the warp groups multiply in turn
    vector: int = 4  # elements of y that one store may take

    @property
    def block_slabs(self) -> int:
        """Slabs of a thread block."""
        return GROUPS * self.slabs

    @property
    def features(self) -> int:
        """Features of a thread block."""
        return SLAB * self.block_slabs

    @property
    def sum_dtype(self) -> str:
        """What the tensor cores sum in."""
        return "i32" if self.activation == "i8" else "f32"

    @property
    def promotes(self) -> bool:
        """Whether the sums of a chunk are scaled and added in f32: all but integers of one scale,
        which don't wrap. (Sums of 8-bit floats are not f32's.)"""
        return self.activation != "i8" or not self.cut.one_scale

    @property
    def stage_bytes(self) -> int:
        """What the copies of one turn bring."""
        return sum(self.share_bytes(warp) for warp in range(WARPS))

    def share_has_x(self, warp: int) -> bool:
        """Whether a warp of those that fetch fetches x."""
        return warp == 0

    def share_slabs(self, warp: int) -> range:
        """The slabs that it fetches."""
        return range((warp - 1) % WARPS, self.block_slabs, WARPS)

    def share_bytes(self, warp: int) -> int:
        """What its copies of one turn bring."""
        slab = 4 * self.cut.run + (0 if self.cut.one_scale else 2 * SLAB)
        x = self.tokens * self.cut.chunk if self.share_has_x(warp) else 0
        return len(self.share_slabs(warp)) * slab + x

    @property
    def shared_bytes(self) -> int:
        """What a thread block takes, apart from barriers and gaps."""
        return self.stages * self.stage_bytes + 4 * self.sums().size

    def parts(self) -> list[range]:
        """The tokens in parts that are products of their own: multiples of 8, or of 16 where
        integers are more than 24. An even number of them with the slabs, or a single one."""
        if not self.promotes:
            return [range(self.tokens)]
        step = 16 if self.tokens > 24 and self.tokens % 16 == 0 else 8
        count = -(-self.tokens // PART)
        if count > 1 and self.slabs * count % 2:
            count += 1
        steps = self.tokens // step
        ends = [step * (steps * i // count) for i in range(count + 1)]
        return [range(low, high) for low, high in pairwise(ends)]

    def x_slots(self) -> MemoryLayout:
        """[stages, chunk, tokens] of x, rows of tokens along k, swizzled."""
        rows = swizzled_layout([self.stages, self.tokens, self.cut.chunk], 8)
        return rows.permute(0, 2, 1)

    @property
    def leaving(self) -> int:
        """Tokens whose sums go through shared memory at a time."""
        return gcd(PART, *(len(part) for part in self.parts()))

    def sums(self) -> MemoryLayout:
        """[groups, tokens, features of a warp group]: a part of the tokens of one slab each, or
        all that meet in a cluster; then the warp groups are neighbours in a row."""
        if self.cluster == 1:
            row = SLAB + PADDING
            return strided((GROUPS, self.leaving, SLAB), (self.leaving * row, row, 1))
        width = SLAB * self.slabs
        return strided((GROUPS, self.tokens, width), (width, GROUPS * width + PADDING, 1))

    def results(self) -> RegisterLayout:
        """[groups, tokens, features]: what a warp group writes, or a block of a cluster. Lanes
        along features, four each."""
        groups = GROUPS if self.cluster > 1 else 1
        _, tokens, width = self.sums().shape
        tokens //= self.cluster
        threads = 32 * WARPS * groups
        across = gcd(groups * width // 4, threads)
        rest = threads // across
        down = gcd(rest, tokens)
        quads = width // 4
        inner = gcd(across, quads)
        outer = across // inner
        return RegisterLayout.from_modes(
            (groups, tokens, width),
            ((groups // outer, outer), (tokens // down, down), (quads // inner, inner, 4)),
            spatial=[replicate(rest // down), (1, 1), (0, 1), (2, 1)],
            local=[(0, 0), (1, 0), (2, 0), (2, 2)],
        )

    @property
    def halves(self) -> int:
        """Parts of a chunk along k that become bytes one after the other, where sums run on."""
        return 2 if self.cut.chunk >= 64 and not self.promotes else 1

    @property
    def loads(self) -> int:
        """The parts in which words are read: bytes are the operand as they are, and must not be
        read over the ones that are being multiplied."""
        return self.halves if self.cut.bits == 8 else 1

    def word_dims(self) -> tuple[int, ...]:
        """[vector, warp, lane, word] of the words that are read at once, as they lie in memory."""
        return (self.cut.words // self.cut.vector // self.loads, WARPS, 32, self.cut.vector)

    def words(self) -> RegisterLayout:
        """The same in one dimension."""
        dims = self.word_dims()
        return RegisterLayout.from_modes(
            (prod(dims),), (dims,), spatial=[(0, 1), (0, 2)], local=[(0, 0), (0, 3)]
        )

    def unit_dims(self) -> tuple[int, ...]:
        """The same, transposed, as [warp, lane, word of a unit, unit]."""
        return (WARPS, 32, words_of_unit(self.cut.bits), self.cut.units // self.loads)

    @property
    def places(self) -> int:
        """Places of a unit whose quads are a half of the chunk."""
        return quads_of_unit(self.cut.bits) * self.loads // self.halves

    def quads(self, places: int) -> RegisterLayout:
        """[warp, lane, place in a unit, unit]: the quads of some places, as lanes hold them."""
        shape = (WARPS, 32, places, self.cut.units // self.loads)
        modes = tuple((extent,) for extent in shape)
        return RegisterLayout.from_modes(
            shape, modes, spatial=[(0, 0), (1, 0)], local=[(2, 0), (3, 0)]
        )

    @property
    def depth(self) -> int:
        """Of k in a half."""
        return self.cut.chunk // self.halves

    @cached_property
    def operand(self) -> RegisterLayout:
        """[64, depth] of bytes: the left operand."""
        return local(1, self.depth // 32) * fragments.wgmma_a(self.form.operand)

    def row_scales(self) -> RegisterLayout:
        """[64, 1] scales, as rows of sums have them."""
        return RegisterLayout.from_modes(
            (SLAB, 1),
            ((WARPS, 2, 8), (1,)),
            spatial=[(0, 0), (0, 2), replicate(4)],
            local=[(0, 1)],
        )

    def scales(self) -> RegisterLayout:
        """[64] scales of a slab: [warp, g, r0]."""
        return RegisterLayout.from_modes(
            (SLAB,),
            ((WARPS, 8, 2),),
            spatial=[(0, 0), (0, 1), replicate(4)],
            local=[(0, 2)],
        )
