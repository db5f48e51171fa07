"""Options of `main.py evaluate segment`."""

from typing import Literal

OPTIONS = {
    "--parts": {
        "type": Literal["attention", "saliency", "linear"],
        "nargs": "+",
        "metavar": "PART",
        "help": "attention (Jaccard of the heads with objects), saliency "
        "(TokenCut's mask against binary masks), linear (classes by a linear "
        "map of frozen patches); else all that network and data allow",
    },
    "--size": {
        "type": int,
        "metavar": "N",
        "help": "attention: side of the square that photos are resized to, in "
        "pixels; 0 keeps their own size; else 480 for networks evaluated at 224 "
        "pixels, in proportion for others",
    },
    "--keep-mass": {
        "type": float,
        "default": 0.6,
        "help": "attention: share of a head's attention that its mask keeps",
    },
    "--objects": {
        "type": Literal["instance", "class"],
        "metavar": "KIND",
        "help": "attention: instance or class, what one object is; else "
        "instances where the data tell them",
    },
    "--tau": {
        "type": float,
        "default": 0.2,
        "help": "saliency: likeness above which TokenCut joins two patches",
    },
    "--bilateral": {
        "type": bool,
        "default": False,
        "help": "saliency: whether masks refined by the bilateral solver are "
        "judged as well",
    },
    "--split": {
        "type": str,
        "metavar": "NAME",
        "help": "attention, saliency: photos that are judged, such as "
        "segmentation/val of VOC; "
        "else test where it has masks, else train",
    },
    "--linear-size": {
        "type": int,
        "metavar": "N",
        "help": "linear: side of the square that photos are resized to, in "
        "pixels; else that of the run's own evaluation, or 224",
    },
    "--epochs": {
        "type": int,
        "default": 10,
        "help": "linear: passes over the training photos",
    },
}
