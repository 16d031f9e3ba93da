"""Fixtures of the compiler's tests."""

from __future__ import annotations

import sys
from pathlib import Path

# The helpers beside these tests (`execution`) are plain modules.
sys.path.insert(0, str(Path(__file__).parent))
