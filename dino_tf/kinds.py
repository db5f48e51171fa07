"""The pictures of `main.py picture KIND`, as one list.

A new one is one function in `pictures/` and one entry here. Nothing in this file
imports the functions themselves, so that help and mistakes are answered at once.
"""

import dataclasses
import importlib
from typing import Literal

from dino_tf.errors import UserError


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of picture.

    Args:
        about: What it shows, in one line of help.
        function: `module.function` in `dino_tf.pictures`. It takes a
            `dino_tf.pictures.request.Request` and the options by their names, and
            returns the paths of the pictures that it wrote.
        options: Arguments of the command line, as jsonargparse takes them.
    """

    about: str
    function: str
    options: dict

    def load(self):
        """The kind's function."""
        module, _, name = self.function.partition(".")
        return getattr(importlib.import_module(f"dino_tf.pictures.{module}"), name)

    def defaults(self):
        """{name of each option: value where a person gives none}."""
        names = (key.lstrip("-").replace("-", "_") for key in self.options)
        values = (argument.get("default") for argument in self.options.values())
        return dict(zip(names, values, strict=True))


def find_kind(name):
    """`Kind` of a name; UserError for an unknown one."""
    if name not in KINDS:
        raise UserError(f"picture: got {name!r}, allowed: {', '.join(KINDS)}")
    return KINDS[name]


PATHS = {"nargs": "*", "default": [], "metavar": "PATH"}
SPEC = {
    "--data": {
        "type": str,
        "metavar": "SPEC",
        "help": "photos, as in --data of train",
    },
    "--split": {"type": str, "default": "train", "help": "of --data"},
}


def _photos(count):
    """Photos by their paths, or some of a data set."""
    spec = {**SPEC["--data"], "help": "photos in place of PATH, as in --data of train"}
    return {
        "paths": {**PATHS, "help": "photos or folders"},
        **SPEC,
        "--data": spec,
        "--count": {
            "type": int,
            "default": count,
            "metavar": "N",
            "help": f"photos taken of --data, evenly spread; else {count}",
        },
    }


SIZE = {
    "--size": {
        "type": int,
        "default": 480,
        "metavar": "N",
        "help": "shorter side given to the network, in pixels; else 480",
    },
}
SQUARE = {
    "--size": {
        "type": int,
        "metavar": "N",
        "help": "side of the central square that the network sees, in pixels; else "
        "that of the run's own evaluation, or 224",
    },
}
ALL_OF = {
    **SPEC,
    "--data": {**SPEC["--data"], "required": True},
    "--cache": {
        "type": str,
        "default": "result/cache",
        "metavar": "DIR",
        "help": "folder of features kept for later; may be deleted; none keeps nothing",
    },
    **SQUARE,
}
GALLERY = "gallery"
KINDS = {
    "heads": Kind(
        "what each head of the last block attends to, all in one picture by colour",
        "of_photos.heads",
        {
            **_photos(8),
            **SIZE,
            "--keep-mass": {
                "type": float,
                "default": 0.6,
                "help": "share of each head's attention that is coloured; else 0.6",
            },
        },
    ),
    "overlay": Kind(
        "attention of the last block as heat on the photo, beside the photo",
        "of_photos.overlay",
        {**_photos(8), **SIZE},
    ),
    "layers": Kind(
        "attention of CLS in every block, from the first to the last",
        "of_photos.layers",
        {**_photos(8), **SIZE},
    ),
    "components": Kind(
        "principal components of patch features, colours alike in all photos",
        "of_photos.components",
        {
            **_photos(16),
            **SIZE,
            "--foreground": {
                "type": bool,
                "default": False,
                "help": "whether the first component tells objects from background, "
                "and colours are those of the objects alone",
            },
            "--save": {
                "type": str,
                "metavar": "FILE",
                "help": "new .npz file for the components, to be used for other photos",
            },
            "--use": {
                "type": str,
                "metavar": "FILE",
                "help": "components from --save, in place of those of these photos",
            },
        },
    ),
    "distance": Kind(
        "how far the heads of each block look, in pixels",
        "of_network.distance",
        {**_photos(32), **SQUARE},
    ),
    "positions": Kind(
        "how alike the position embeddings of patches are",
        "of_network.positions",
        {},
    ),
    "filters": Kind(
        "what the first layer looks for, as colours",
        "of_network.filters",
        {
            "--count": {
                "type": int,
                "default": 28,
                "metavar": "N",
                "help": "principal components of a patch projection; else 28",
            },
        },
    ),
    "neighbours": Kind(
        "photos beside those of a data set that are nearest to them",
        "of_data.neighbours",
        {
            "paths": {**PATHS, "help": "photos or folders; else some of --data itself"},
            **ALL_OF,
            "--count": {
                "type": int,
                "default": 8,
                "metavar": "N",
                "help": "photos, where they are of --data itself; else 8",
            },
            "--k": {"type": int, "default": 6, "help": "neighbours; else 6"},
        },
    ),
    "map": Kind(
        "photos as points of a plane, near each other where alike, classes in colour",
        "of_data.plane",
        {
            **ALL_OF,
            "--method": {
                "type": Literal["pca", "tsne", "umap"],
                "default": "tsne",
                "help": "tsne keeps neighbours together; umap as well, and needs pip "
                "install umap-learn; pca keeps distances; else tsne",
            },
            "--thumbnails": {
                "type": bool,
                "default": False,
                "help": "whether photos are drawn where there is room for them",
            },
            "--count": {
                "type": int,
                "default": 2000,
                "metavar": "N",
                "help": "photos taken of --data, evenly spread; else 2000",
            },
            "--seed": {"type": int, "default": 0, "help": "of tsne and umap"},
        },
    ),
    GALLERY: Kind(
        "all of these for one data set, on one page",
        "gallery.gallery",
        {
            **{key: ALL_OF[key] for key in ("--data", "--split", "--cache")},
            "--count": {
                "type": int,
                "default": 8,
                "metavar": "N",
                "help": "photos of each kind that draws single ones; else 8",
            },
        },
    ),
}
