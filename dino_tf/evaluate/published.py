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


_LOST, _TOKENCUT = "Siméoni et al. 2021, table 1", "Wang et al. 2022, table 1"
_DINO = "Caron et al. 2021"
FIGURES = (
    Figure("knn/top1_k20", "imagenet2012", "DINO ViT-S/16", 74.5, f"{_DINO}, table 2"),
    Figure("knn/top1_k20", "imagenet2012", "DINO ViT-B/16", 76.1, f"{_DINO}, table 2"),
    Figure("discover/lost_corloc", "voc2007", "DINO ViT-S/16", 61.9, _LOST),
    Figure("discover/lost_corloc", "voc2012", "DINO ViT-S/16", 64.0, _LOST),
    Figure("discover/attention_corloc", "voc2007", "DINO ViT-S/16", 45.8, _LOST),
    Figure("discover/attention_corloc", "voc2012", "DINO ViT-S/16", 46.2, _LOST),
    Figure("discover/tokencut_corloc", "voc2007", "DINO ViT-S/16", 68.8, _TOKENCUT),
    Figure("discover/tokencut_corloc", "voc2012", "DINO ViT-S/16", 72.1, _TOKENCUT),
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
