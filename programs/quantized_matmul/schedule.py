"""Which kernel serves which problem: a function of the cut, m and the machine, and of nothing else.

Memory time is what counts at small m: enough blocks for every multiprocessor, each with several
warps' loads in flight, and k split in as few parts as that takes. The number of accumulators
(T feature tiles of tokens / 8 fragments) bounds how many tokens a block can take.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tileloom.vm.diagnostics import VMValueError

from .geometry import Geometry

ACCUMULATOR_REGISTERS = 128
MULTIPROCESSORS = 132


@dataclass(frozen=True)
class Schedule:
    """How a product is cut into blocks: warps along k and n, tokens a block, parts of k.

    `prefetch` says what a warp reads a turn ahead: "all", "words" or "none".
    """

    k_warps: int
    feature_warps: int
    tokens: int
    splits: int
    prefetch: str = "all"

    def __str__(self) -> str:
        """In one word, for reports: `k8f1t16s1`, with `w` or `n` for less prefetching."""
        ahead = "" if self.prefetch == "all" else self.prefetch[0]
        return f"k{self.k_warps}f{self.feature_warps}t{self.tokens}s{self.splits}{ahead}"

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """The schedule that `str` writes so.

        Raises:
            VMValueError: it is no such word.
        """
        match = re.fullmatch(r"k(\d+)f(\d+)t(\d+)s(\d+)([wn]?)", text)
        if match is None:
            raise VMValueError(f"`{text}` is no schedule", hint="such as `k8f1t16s1`")
        *numbers, ahead = match.groups()
        prefetch = {"": "all", "w": "words", "n": "none"}[ahead]
        return cls(*map(int, numbers), prefetch)


def largest_tokens(geometry: Geometry) -> int:
    """The most tokens a block may take before its accumulators crowd out everything else."""
    fragments = ACCUMULATOR_REGISTERS // (4 * geometry.cut.tiles)
    return 8 * max(1, min(8, fragments))


def choose(geometry: Geometry, m: int, multiprocessors: int = MULTIPROCESSORS) -> Schedule:
    """The schedule for m tokens. Legal for every geometry and m >= 1."""
    tokens = 8
    while tokens < min(m, largest_tokens(geometry)):
        tokens *= 2
    # Warps can split k only where the chunks of a turn are evenly spaced in x.
    k_warps, feature_warps = (4, 1) if geometry.cut.contiguous else (1, 4)
    if tokens >= 32 and geometry.num_blocks >= 2 * multiprocessors:
        k_warps, feature_warps = 2 if geometry.cut.contiguous else 1, 2
    blocks = -(-m // tokens) * -(-geometry.num_blocks // feature_warps)
    turns = -(-geometry.num_chunks // k_warps)
    return Schedule(k_warps, feature_warps, tokens, _splits(blocks, turns, multiprocessors))


def _splits(blocks: int, turns: int, multiprocessors: int) -> int:
    """Parts of k: enough to give every multiprocessor about four blocks, two turns at least."""
    wanted = max(1, 4 * multiprocessors // max(blocks, 1))
    splits = max(1, min(wanted, turns // 2, 32))
    # The same number of turns in every part, or one less: no part may be empty.
    each = -(-turns // splits) if turns else 1
    return -(-turns // each) if turns else 1
