"""The packing programs against packing in numpy, and against each other."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tileloom.programs.quantized_matmul.geometry import Geometry
from tileloom.programs.quantized_matmul.pack_program import pack_weights, unpack_weights
from tileloom.programs.quantized_matmul.packing import pack_codes

CASES = [(384, 100, 128), (200, 300, 48), (100, 130, 33), (256, 40, 256)]
# Groups of seven rows take a chunk each.
LAST = {"interpreter": (1000, 333, 7), "emulator": (100, 77, 7)}


def random_codes(geometry: Geometry) -> NDArray[np.uint8]:
    rng = np.random.default_rng(geometry.bits)
    codes: NDArray[np.uint8] = rng.integers(
        0, 1 << geometry.bits, (geometry.k, geometry.n), np.uint8
    )
    return codes


@pytest.mark.parametrize("device", ["interpreter", "emulator"])
@pytest.mark.parametrize("bits", range(1, 9))
def test_programs_pack_and_unpack(bits: int, device: str) -> None:
    for k, n, group in [*CASES, LAST[device]]:
        geometry = Geometry(bits, k, n, group)
        codes = random_codes(geometry)
        expected = pack_codes(codes, geometry)
        words = np.full(geometry.word_shape(), 0xDEADBEEF, np.uint32)
        sizes = (k, n, geometry.num_chunks)
        pack_weights(codes, words, *sizes, device=device, cut=geometry.cut)
        assert (words == expected).all()
        back = np.full((k, n), 0xEE, np.uint8)
        unpack_weights(words, back, *sizes, device=device, cut=geometry.cut)
        assert (back == codes).all()
