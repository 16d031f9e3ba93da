"""`python -m tileloom.runtime` is the command `tileloom`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
