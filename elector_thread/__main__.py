"""``python -m elector_thread``: the same as the console script ``elector-thread``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
