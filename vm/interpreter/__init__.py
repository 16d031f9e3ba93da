"""The interpreter: runs a VM program in numpy, tile by tile; its results define the program.

launch.py      arguments, grid: `run`
scheduler.py   which block runs when, deadlocks
control.py     statements, as generators that yield where they wait
group.py       a running thread group: what semantics rules see
scalars.py     scalar expressions, scalars without a value
memory.py      global memory; boxes.py: the part of a tile inside its memory
shared.py      shared memory, races, asynchronous copies; owners.py: threads of elements
"""

from .launch import run

__all__ = ["run"]
