"""Options of `main.py evaluate discover`."""

from typing import Literal

OPTIONS = {
    "--methods": {
        "type": str,
        "nargs": "+",
        "default": ["lost", "tokencut", "attention"],
        "metavar": "METHOD",
        "help": "of lost, tokencut and attention (DINO-seg, the baseline)",
    },
    "--k": {
        "type": int,
        "default": 100,
        "help": "patches that may join the seed of LOST",
    },
    "--tau": {
        "type": float,
        "default": 0.2,
        "help": "cosine above which TokenCut joins two patches",
    },
    "--head": {
        "type": int | Literal["best", "mean"],
        "default": "best",
        "help": "attention head of the baseline, from 0; mean of all; or best, "
        "the one that hits most objects (published for ViT-S/16: 4)",
    },
    "--bilateral": {
        "type": bool,
        "default": False,
        "help": "whether TokenCut's masks are refined at the photo's edges too",
    },
    "--split": {
        "type": str,
        "metavar": "NAME",
        "help": "photos to look at; else train, and trainval of voc2012, on "
        "which CorLoc is published",
    },
}
