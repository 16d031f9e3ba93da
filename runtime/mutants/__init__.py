"""Planted bugs: what of our checks catches a mistake in the compiler, and how fast.

A bug is a piece of a source file and what replaces it (`tests/mutants/*.toml`). It is planted in a
process of its own, while the module is imported, so that no file changes.

    catalogue.py   the bugs, read and checked against the sources
    planted.py     the script that plants one and then runs a check
    corpus.py      random programs, with the PTX that the sound compiler makes of them
    hunt.py        one bug against the programs, then against the tests that its entry names
    command.py     `tileloom mutants`
"""
