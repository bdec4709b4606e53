"""``python -m goturn``: the command line."""

import sys

from goturn.cli import main

if __name__ == "__main__":
    sys.exit(main())
