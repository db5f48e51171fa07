"""Options of `main.py evaluate copy`."""

OPTIONS = {
    "--size": {
        "type": int,
        "metavar": "N",
        "help": "side of the square that photos are resized to, in pixels; else 320 "
        "for networks evaluated at 224 pixels, in proportion for others",
    },
    "--whiten": {
        "type": str,
        "metavar": "SPEC",
        "help": "photos by which features are whitened (published: 20,000 of "
        "YFCC100M); else they are not",
    },
    "--distractors": {
        "type": str,
        "metavar": "SPEC",
        "help": "photos that are added to the originals (published: 10,000 others of "
        "YFCC100M)",
    },
}
