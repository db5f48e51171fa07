"""Trains DINO and draws what it attends to; `python main.py --help` tells more."""

import sys

if __name__ == "__main__":
    try:
        from dino_tf.cli import main
    except KeyboardInterrupt:  # before there is anything that could be lost
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(main())
