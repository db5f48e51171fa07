"""Figures that others published, to stand beside ours."""

import dataclasses
import re


@dataclasses.dataclass(frozen=True)
class Figure:
    """One published number.

    Args:
        name: As the task calls it, such as "discover/lost_corloc".
        data: Data set, as `data_name` gives it.
        network: What it was measured with.
        value: The number.
        source: Where it was published.
    """

    name: str
    data: str
    network: str
    value: float
    source: str


_DINO = "Caron et al. 2021"
FIGURES = (
    Figure("knn/top1_k20", "imagenet2012", "DINO ViT-S/16", 74.5, f"{_DINO}, table 2"),
    Figure("knn/top1_k20", "imagenet2012", "DINO ViT-B/16", 76.1, f"{_DINO}, table 2"),
    *(
        Figure("linear/top1", "imagenet2012", f"DINO {n}", v, f"{_DINO}, table 2")
        for n, v in (
            ("ViT-S/16", 77.0),
            ("ViT-S/8", 79.7),
            ("ViT-B/16", 78.2),
            ("ViT-B/8", 80.1),
            ("ResNet-50", 75.3),
        )
    ),
)


def figures_for(spec, names):
    """Published figures of a data set and of the numbers at hand, as a list."""
    data = data_name(spec)
    return [f for f in FIGURES if f.data == data and f.name in names]


def data_name(spec):
    """Name by which the literature knows the data of a SPEC, such as "voc2007"."""
    kind, _, argument = spec.partition(":")
    if kind in ("voc2007", "voc2012", "scenes"):
        return kind
    path = argument or kind
    name = path.split("/")[0] if kind == "tfds" else path.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^a-z0-9]+", "", name.lower()) or "data"
