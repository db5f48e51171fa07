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


_LOST = "Siméoni et al. 2021, table 1"
_DINO = "Caron et al. 2021"
_DINOV2 = "Oquab et al. 2023, table 10"
_TOKENCUT = "Wang et al. 2022, table 1"
_SALIENCY = "Wang et al. 2022, README of the program"
# Kinds of data that have one name, wherever they lie.
OWN_NAMES = (
    "voc2007",
    "voc2012",
    "scenes",
    "bdd100k",
    "davis2016",
    "davis2017",
    "films",
)
# How the folder of a data set may be called, apart from its own name.
_OTHER_NAMES = {
    "dutstest": "duts",
    "dutste": "duts",
    "dutomronimage": "dutomron",
    "imagenet1k": "imagenet2012",
    "gndroxford5kpkl": "roxford5k",
    "gndrparis6kpkl": "rparis6k",
}


def _jaccard(network, value):
    source = f"{_DINO}, figure 4"
    return Figure("segment/jaccard_best_head", "voc2012", network, value, source)


def _saliency(data, end, *values):
    """Largest F, IoU and accuracy of one data set."""
    network = "DINO ViT-S/16"
    names = zip(("max_f", "iou", "accuracy"), values, strict=True)
    return tuple(
        Figure(f"segment/saliency_{name}{end}", data, network, value, _SALIENCY)
        for name, value in names
    )


def _retrieval(network, *values):
    """mAP of revisited Oxford, medium and hard, then of Paris."""
    places = (("roxford5k", "medium"), ("roxford5k", "hard"))
    places += (("rparis6k", "medium"), ("rparis6k", "hard"))
    return tuple(
        Figure(f"retrieve/map_{level}", data, network, value, f"{_DINO}, table 3")
        for (data, level), value in zip(places, values, strict=True)
    )


FIGURES = (
    Figure("knn/top1_k20", "imagenet2012", "DINO ViT-S/16", 74.5, f"{_DINO}, table 2"),
    Figure("knn/top1_k20", "imagenet2012", "DINO ViT-B/16", 76.1, f"{_DINO}, table 2"),
    _jaccard("DINO ViT-S/16", 45.9),
    _jaccard("DINO ViT-S/8", 44.7),
    _jaccard("supervised ViT-S/16", 27.3),
    _jaccard("supervised ViT-S/8", 23.7),
    _jaccard("untrained ViT-S/16", 22.0),
    _jaccard("untrained ViT-S/8", 21.8),
    *_saliency("ecssd", "", 80.3, 71.2, 91.8),
    *_saliency("ecssd", "_bilateral", 87.4, 77.2, 93.4),
    *_saliency("duts", "", 67.2, 57.6, 90.3),
    *_saliency("duts", "_bilateral", 75.5, 62.4, 91.4),
    *_saliency("dutomron", "", 60.0, 53.3, 88.0),
    *_saliency("dutomron", "_bilateral", 69.7, 61.8, 89.7),
    Figure("finetune/top1", "cifar10", "DINO ViT-S/16", 99.0, f"{_DINO}, table 6"),
    Figure("finetune/top1", "cifar10", "DINO ViT-B/16", 99.1, f"{_DINO}, table 6"),
    Figure("finetune/top1", "cifar100", "DINO ViT-S/16", 90.5, f"{_DINO}, table 6"),
    Figure("finetune/top1", "cifar100", "DINO ViT-B/16", 91.7, f"{_DINO}, table 6"),
    Figure("segment/linear_miou", "voc2012", "DINO ViT-B/8", 66.4, _DINOV2),
    Figure("segment/linear_miou", "voc2012", "DINOv2 ViT-S/14", 81.1, _DINOV2),
    Figure("segment/linear_miou", "voc2012", "DINOv2 ViT-B/14", 82.5, _DINOV2),
    Figure("segment/linear_miou", "voc2012", "DINOv2 ViT-L/14", 82.1, _DINOV2),
    Figure("segment/linear_miou", "voc2012", "DINOv2 ViT-g/14", 83.0, _DINOV2),
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
    *_retrieval("DINO ViT-S/16", 41.8, 13.7, 63.1, 34.4),
    *_retrieval("DINO ViT-S/16, landmarks", 51.5, 24.3, 75.3, 51.6),
    *_retrieval("DINO ResNet-50", 35.4, 11.1, 55.9, 27.5),
    *_retrieval("supervised ViT-S/16", 33.5, 8.9, 63.0, 37.2),
    *(
        Figure("copy/map_strong", "copydays", network, value, f"{_DINO}, table 4")
        for network, value in (
            ("DINO ViT-B/16, 224 pixels", 81.7),
            ("DINO ViT-B/8, 320 pixels", 85.5),
            ("supervised ViT-B/16, 224 pixels", 76.4),
        )
    ),
    *(
        Figure("video/jf_mean", "davis2017", f"DINO {n}", v, f"{_DINO}, table 5")
        for n, v in (
            ("ViT-S/16", 61.8),
            ("ViT-B/16", 62.3),
            ("ViT-S/8", 69.9),
            ("ViT-B/8", 71.4),
        )
    ),
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
    if kind in OWN_NAMES:
        return kind
    path = argument or kind
    if kind == "coco":
        # The file tells the split and the year, as in instances_val2017.
        path = argument.removesuffix(".json").replace(":", "/")
    if kind == "masks":
        path = _root_of(argument.split(":"))
    name = path.split("/")[0] if kind == "tfds" else path.rstrip("/").rpartition("/")[2]
    name = re.sub(r"[^a-z0-9]+", "", name.lower()) or "data"
    return _OTHER_NAMES.get(name, name)


def _root_of(folders):
    """The folder that two folders lie in, or the first of them."""
    parents = {folder.rstrip("/").rpartition("/")[0] for folder in folders}
    only = parents.pop() if len(parents) == 1 else ""
    return only if len(folders) > 1 and only else folders[0]
