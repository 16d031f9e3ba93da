"""Layouts as functions on integers: tiles in registers, tiles in memory, hardware fragments.

No dtypes and no IR here. Start with `RegisterLayout` (register_layout.py).
"""

from .atoms import auto, column_local, column_spatial, local, replicate, spatial
from .errors import LayoutError
from .parse import parse_layout
from .register_layout import RegisterLayout

__all__ = [
    "LayoutError",
    "RegisterLayout",
    "auto",
    "column_local",
    "column_spatial",
    "local",
    "parse_layout",
    "replicate",
    "spatial",
]
