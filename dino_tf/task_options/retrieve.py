"""Options of `main.py evaluate retrieve`."""

from typing import Literal

OPTIONS = {
    "--size": {
        "type": int,
        "metavar": "N",
        "help": "longer side of the photos in pixels; smaller ones keep theirs; else "
        "that of the run's own evaluation, or 224 (published: 224 for roxford5k, 512 "
        "with --multiscale true for rparis6k)",
    },
    "--multiscale": {
        "type": bool,
        "default": False,
        "help": "whether the mean of three sizes is taken: all, 0.71, 0.5",
    },
    "--queries": {
        "type": Literal["whole", "box"],
        "default": "whole",
        "help": "whole photos, as the program of DINO searches for them; or what is "
        "in their box alone, as revisited Oxford and Paris has it",
    },
    "--distractors": {
        "type": str,
        "metavar": "SPEC",
        "help": "photos that are added to the gallery and answer no query",
    },
}
