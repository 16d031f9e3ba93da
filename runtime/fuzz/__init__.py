"""Random programs, run by every executor and compared; and planted bugs, to see what they catch.

known.py          what a generator knows of a tile's values: bounds, grain, error
shapes.py         shapes and layouts
draft.py          a program that is being written: statements, what is visible, parameters
expressions.py    scalar expressions with known bounds
inputs.py memory.py staging.py ...      productions: each adds a few statements to a draft
generate.py       from a seed to a case: a program with its arguments
case.py           cases, and the `.vm` files that hold them
check.py          one case on interpreter and emulator; assembly.py: its PTX, in batches
shrink.py         the smallest case that still fails the same way
campaign.py       many seeds; command.py: `tileloom fuzz`
"""
