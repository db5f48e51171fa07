"""Do the heads of the last block attend to objects? Jaccard with their masks."""

from functools import partial

import numpy as np
from PIL import Image

from dino_tf.analysis.attention import keep_mass_mask
from dino_tf.analysis.overlap import enlarge_nearest, jaccard, overlaps
from dino_tf.errors import UserError
from dino_tf.evaluate.last_block import LastBlock
from dino_tf.evaluate.masked import (
    check_shapes,
    judged_source,
    kind_of_objects,
    left_out,
    objects_of,
    read_photo,
    required_source,
    write_per_photo,
)
from dino_tf.evaluate.splits import spread
from dino_tf.evaluate.subject import Outcome, Subject
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD
from dino_tf.visualize import draw
from dino_tf.visualize.masks import object_tiles

# To be raised when the same photos and weights give other numbers than before.
VERSION = 1
SHOWN = 8
PUBLISHED_SIZE = 480


def evaluate_attention(
    backbone,
    source,
    size=PUBLISHED_SIZE,
    keep_mass=0.6,
    objects=None,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
):
    """Jaccard similarity of the thresholded attention of CLS with objects' masks.

    Args:
        backbone: has "attention" among its results; see `dino_tf.models.backbones`.
        source: photos with masks; those without any object are left out.
        size: side in pixels of the square that every photo is resized to; 0 takes
            each in its own size. What does not fill a patch at the right and lower
            edge is neither seen nor judged.
        keep_mass: share of each head's attention that its mask keeps, above 0 and
            at most 1.
        objects: "instance" or "class", what counts as one object; None: instances
            where the source tells them apart.
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue in 0 to 1, as in training.

    Returns:
        Percentages, means over the photos of means over their objects:
        "segment/jaccard_best_head" of the head that fits the object best,
        "segment/jaccard_fixed_head" of the one head that fits all photos best, and
        "segment/jaccard_mean_attention" of the mean over the heads.

    Raises:
        UserError: no photo that can be read has an object, or a mask has another
            shape than its photo, or an option is wrong.

    Reference:
        Caron et al. 2021, arXiv 2104.14294, section 4.2.2 and figure 4;
        facebookresearch/dino, visualize_attention.py and issue 54.
    """
    kind = kind_of_objects(source, objects)
    block = LastBlock(backbone, mean, std)
    found = _judge(Subject(backbone), block, source, size, keep_mass, kind)
    return summarise(found)


def lacks(subject, data):
    """What is needed and not there, in words; None is nothing."""
    if "attention" not in getattr(subject.backbone, "result_names", ()):
        return "a network whose last block has attention"
    return None if judged_source(data) else "photos with masks"


def run_task(subject, data, size=None, keep_mass=0.6, objects=None, split=None):
    """`evaluate_attention` as a part of the task; see `dino_tf.tasks.Task`."""
    source = required_source(data, split)
    size = size_of(subject) if size is None else size
    kind = kind_of_objects(source, objects)
    depends = subject.depends(
        source, size=size, keep_mass=keep_mass, objects=kind, version=VERSION
    )
    # One for numbers and pictures: it is traced but once.
    block = LastBlock(subject.backbone, subject.mean, subject.std)
    judge = partial(_judge, subject, block, source, size, keep_mass, kind)
    found = subject.store.arrays("jaccard", depends, judge)

    def write(folder):
        photos = found["index"][spread(len(found["index"]), SHOWN)]
        rows = [_tiles(block, source, int(i), size, keep_mass, kind) for i in photos]
        heading = f"attention that keeps {100 * keep_mass:g} %, against objects"
        sheet = draw.save_png(draw.compose(rows, heading), folder / "attention.png")
        columns = {"best_head": found["best"], "mean_attention": found["mean"]}
        columns |= {f"head_{i}": head for i, head in enumerate(found["heads"].T)}
        table = folder / "attention.csv"
        return [sheet, write_per_photo(table, source, found["index"], columns)]

    per_head = 100 * found["heads"].mean(axis=0)
    details = {
        "split": source.name,
        "size": size,
        "objects": kind,
        "photos": len(found["index"]),
        "jaccard_per_head": [round(float(value), 3) for value in per_head],
    }
    notes = left_out(source, found, "attention")
    return Outcome(summarise(found), details, write, notes)


def size_of(subject):
    """Side in pixels of the square at which a subject's attention is judged.

    480 for networks evaluated at 224, as published; in proportion for others.
    """
    patch = subject.backbone.patch_size
    return max(round(subject.size * PUBLISHED_SIZE / 224 / patch), 1) * patch


def summarise(found):
    """The numbers of `evaluate_attention` from those of single photos.

    Args:
        found: {"best": (P,), "mean": (P,), "heads": (P, heads)}, shares of 1.
    """
    return {
        "segment/jaccard_best_head": 100 * float(found["best"].mean()),
        "segment/jaccard_fixed_head": 100 * float(found["heads"].mean(axis=0).max()),
        "segment/jaccard_mean_attention": 100 * float(found["mean"].mean()),
    }


def attention_over(block, image, objects, size=480):
    """Attention of one photo, and the part of its mask that the network sees.

    Args:
        block: `LastBlock`.
        image: uint8 (H, W, 3).
        objects: integers (H', W'), the photo's mask at any size.
        size: see `evaluate_attention`.

    Returns:
        maps: float32 (heads + 1, h, w); the last one is the mean over the heads.
        seen: the part of `objects` that the maps lie over.

    Raises:
        UserError: `size` or the photo is smaller than a patch.
    """
    patch = block.patch_size
    if size and size < patch:
        raise UserError(f"size: got {size}, allowed: 0 or at least a patch, {patch}")
    if size:
        square = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
        image = np.asarray(square)
    height, width = image.shape[:2]
    if min(height, width) < patch:
        raise UserError(
            f"a photo has {width} x {height} pixels, less than a patch of {patch}; "
            "allowed: another size than its own"
        )
    maps = block.attention(image)
    maps = np.concatenate([maps, maps.mean(axis=0, keepdims=True)])
    rows = round(len(objects) * patch * maps.shape[1] / height)
    columns = round(objects.shape[1] * patch * maps.shape[2] / width)
    return maps, objects[:rows, :columns]


def _judge(subject, block, source, size, keep_mass, kind):
    """{"index", "best", "mean", "heads"} of all photos that show an object."""
    bar = subject.progress(len(source), f"attention over {source.name}")
    names = ("index", "best", "mean", "heads", "unread")
    found = {name: [] for name in names}
    for index in range(len(source)):
        bar.add(1)
        objects = objects_of(source, index, kind)
        if objects is None:
            continue
        image = read_photo(source, index)
        if image is None:
            found["unread"].append(index)
            continue
        check_shapes(image, objects, source.id(index))
        maps, seen = attention_over(block, image, objects, size)
        shares = jaccard(maps, seen, keep_mass)
        if not len(shares):
            continue
        found["index"].append(index)
        found["best"].append(shares[:, :-1].max(axis=1).mean())
        found["mean"].append(shares[:, -1].mean())
        found["heads"].append(shares[:, :-1].mean(axis=0))
    if not found["index"]:
        raise UserError(
            f"no photo of {source.name!r} shows an object; allowed: masks with objects"
        )
    return {
        name: np.array(values, np.int64 if name in ("index", "unread") else None)
        for name, values in found.items()
    }


def _tiles(block, source, index, size, keep_mass, kind):
    """A row of the sheet."""
    image, objects = read_photo(source, index), objects_of(source, index, kind)
    maps, seen = attention_over(block, image, objects, size)
    masks = enlarge_nearest(keep_mass_mask(maps, keep_mass), seen.shape)
    numbers, shares = overlaps(masks, seen)
    heads = shares[:, :-1].argmax(axis=1)
    best = 100 * shares[:, :-1].max(axis=1).mean()
    which = ", ".join(str(head) for head in dict.fromkeys(heads.tolist()))
    rows = round(len(image) * len(seen) / len(objects))
    columns = round(image.shape[1] * seen.shape[1] / objects.shape[1])
    return object_tiles(
        image[:rows, :columns],
        seen,
        (source.id(index), f"{len(numbers)} object{'s' * (len(numbers) != 1)}"),
        {
            f"best head ({which}): IoU {best:.1f}": masks[heads],
            f"mean of heads: IoU {100 * shares[:, -1].mean():.1f}": masks[-1:],
        },
    )
