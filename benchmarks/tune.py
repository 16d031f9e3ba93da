"""Tunes the quantized matmul and appends to the record that ships with it.

    python benchmarks/tune.py --weights u4 --shapes 8192x8192 --m 1,16 -o FILE

The same as `tileloom tune quantized_matmul`, without an install.
"""

from __future__ import annotations

import argparse

from tileloom.programs.quantized_matmul.command import add_tune_arguments, tune

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    add_tune_arguments(parser)
    print(tune(parser.parse_args()))
