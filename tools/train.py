"""Trains a tracker: the same as ``goturn train``.

python tools/train.py RUN --videos PATH --images PATH --validation PATH --start WEIGHTS
"""

from __future__ import annotations

import sys

from goturn.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
