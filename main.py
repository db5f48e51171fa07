"""Trains DINO and draws what it attends to; `python main.py --help` tells more."""

import sys

from dino_tf.cli import main

if __name__ == "__main__":
    sys.exit(main())
