"""What one compiled kernel of the quantized matmul is specialised to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from tileloom.vm.dtypes import dtype

from .forms import WeightForm, weight_form
from .geometry import LARGEST_CHUNK, Cut, Layouts

REDUCTION_BYTES = 32 * 1024


@dataclass(frozen=True)
class Config:
    """What one compiled kernel is specialised to: never m, k or n."""

    cut: Cut
    weight: str
    activation: str
    zero_point: str
    out: str
    bias: str = ""  # the dtype of the bias, "" without one
    k_warps: int = 4
    feature_warps: int = 1
    tokens: int = 8
    split: bool = False  # blocks along grid.z split k and meet in a workspace
    cluster: int = 1  # or so many blocks do, and meet in distributed shared memory
    x_vector: int = 8  # elements of x that one load may take
    min_blocks: int = 0
    buffers: int = 1  # of words, read that many turns ahead (0: when they are used)
    ahead: bool = False  # x and scales are read a turn ahead
    stages: int = 0  # or wait in so many slots of shared memory
    stage_words: bool = False  # and words beside them
    span: int = 1  # chunks that a warp takes in a turn

    @cached_property
    def layouts(self) -> Layouts:
        return Layouts(self.cut, self.k_warps, self.feature_warps, self.tokens, self.span)

    @cached_property
    def form(self) -> WeightForm:
        """What weights are turned into; a warp multiplies as much of x as its tokens are."""
        x_cost = self.tokens / (2 * self.cut.block_features)
        # One more factor takes a multiply-add and a register an accumulator; multiply-adds run at
        # twice the rate of the decode's operations.
        factor_cost = 0.75 * self.tokens / LARGEST_CHUNK
        return weight_form(self.weight, self.activation, x_cost, factor_cost, self.cut.tiles)

    @property
    def turn(self) -> int:
        """Chunks that a thread block takes in a turn."""
        return self.k_warps * self.span

    @property
    def features(self) -> int:
        """Features of a thread block."""
        return self.feature_warps * self.cut.block_features

    @property
    def has_zeros(self) -> bool:
        """Whether zero points are read from memory."""
        return self.zero_point in ("int", "float")

    @property
    def complemented(self) -> bool:
        """Whether codes are complemented on the way, which costs nothing: of symmetric weights of
        one bit, code - 1 = -(1 - code), that leaves no zero point behind."""
        return self.weight == "u1" and self.zero_point == "symmetric"

    def constant(self, j: int) -> float:
        """(c + z 2^f) 2^-f as far as it is known at compile time, for pair j of a unit.

        Over the scale of x, as `factor`.
        """
        zero = 0.0
        if self.zero_point == "symmetric" and not self.complemented:
            zero = 2.0 ** (dtype(self.weight).bits - 1)
        return zero / self.form.x_scale + self.form.left.constants[j] * self.factor(j)

    def factor(self, j: int) -> float:
        """2^-f for pair j of a unit, over the scale of x; negative of complemented codes."""
        sign = -1.0 if self.complemented else 1.0
        return sign * 2.0 ** -self.form.left.exponents[j] / self.form.x_scale

    def factors(self, tile: int) -> dict[float, list[int]]:
        """The parts of k by the factor of their codes in a feature tile, the most common first."""
        found: dict[float, list[int]] = {}
        for part in range(self.cut.parts):
            found.setdefault(self.factor(self.pair(part, tile)), []).append(part)
        return dict(sorted(found.items(), key=lambda entry: -len(entry[1])))

    def unit(self, tile: int) -> float:
        """What a feature tile's totals are to be multiplied by: the factor most parts share."""
        return next(iter(self.factors(tile)))

    @property
    def units_last(self) -> bool:
        """Whether totals are multiplied by their unit at the end. bf16 has smaller numbers than f32
        could hold a product of: with these, scales are multiplied."""
        return self.form.x_scale == 1.0

    def pair(self, part: int, tile: int) -> int:
        """The pair of a unit that belongs to a part of k and a feature tile."""
        return part * self.cut.tiles + tile

    @property
    def needs_sums(self) -> bool:
        """Whether the rank-1 term is there at all."""
        return self.has_zeros or any(self.constant(j) for j in range(self.cut.pairs))

    @property
    def needs_parts(self) -> bool:
        """Whether the parts of k differ in their constants, so that each needs a sum of its own."""
        cut = self.cut
        return any(
            self.constant(self.pair(part, tile)) != self.constant(tile)
            for part in range(cut.parts)
            for tile in range(cut.tiles)
        )

    @property
    def tiles_a_pass(self) -> int:
        """Feature tiles whose partial sums fit the reduction's shared memory at once."""
        tile_bytes = 4 * 16 * self.k_warps * self.feature_warps * self.tokens
        fitting = [
            t
            for t in range(1, self.cut.tiles + 1)
            if self.cut.tiles % t == 0 and t * tile_bytes <= REDUCTION_BYTES
        ]
        return max(fitting, default=1)
