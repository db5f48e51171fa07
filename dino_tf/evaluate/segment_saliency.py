"""Does TokenCut find what stands out? F, IoU and accuracy against binary masks."""

from functools import partial

import numpy as np
from PIL import Image

from dino_tf.analysis.bilateral import refine_mask
from dino_tf.analysis.overlap import VOID, enlarge_nearest
from dino_tf.analysis.saliency import (
    f_beta,
    mask_iou,
    max_f_beta,
    pixel_accuracy,
    precision_recall,
)
from dino_tf.analysis.tokencut import tokencut
from dino_tf.errors import UserError
from dino_tf.evaluate.last_block import LastBlock
from dino_tf.evaluate.masked import (
    check_shapes,
    judged_source,
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


def evaluate_saliency(
    backbone,
    source,
    tau=0.2,
    bilateral=False,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
):
    """How well TokenCut's object agrees with the masks of photos.

    Args:
        backbone: has "keys" among its results; see `dino_tf.models.backbones`.
        source: photos with masks, all objects of one being taken together; photos
            without any object are left out, void pixels do not count. A photo is
            seen in its own size, rounded to whole patches.
        tau: cosine above which two patches are joined.
        bilateral: whether the masks refined by the fast bilateral solver are judged
            as well.
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue in 0 to 1, as in training.

    Returns:
        Percentages: "segment/saliency_max_f" (the largest F, with beta squared of
        0.3, over 255 thresholds), "segment/saliency_iou", "segment/saliency_accuracy";
        with `bilateral` the same with "_bilateral" at the end.

    Raises:
        UserError: no photo that can be read has an object, or a mask has another
            shape than its photo.

    Reference:
        Wang et al. 2022, arXiv 2202.11539, section 4.2; YangtaoWANG95/TokenCut,
        unsupervised_saliency_detection/get_saliency.py and metric.py.
    """
    block = LastBlock(backbone, mean, std)
    return summarise(_judge(Subject(backbone), block, source, tau, bilateral))


def lacks(subject, data):
    """What is needed and not there, in words; None is nothing."""
    if "keys" not in getattr(subject.backbone, "result_names", ()):
        return "a network whose last block has attention"
    return None if judged_source(data) else "photos with masks"


def run_task(subject, data, tau=0.2, bilateral=False, split=None):
    """`evaluate_saliency` as a part of the task; see `dino_tf.tasks.Task`."""
    source = required_source(data, split)
    depends = subject.depends(source, tau=tau, bilateral=bilateral, version=VERSION)
    # One for numbers and pictures: it is traced but once.
    block = LastBlock(subject.backbone, subject.mean, subject.std)
    judge = partial(_judge, subject, block, source, tau, bilateral)
    found = subject.store.arrays("saliency", depends, judge)

    def write(folder):
        photos = found["index"][spread(len(found["index"]), SHOWN)]
        rows = [_tiles(block, source, int(i), tau, bilateral) for i in photos]
        sheet = draw.compose(rows, "what TokenCut finds, against masks")
        columns = {
            name: values
            for name, values in found.items()
            if values.ndim == 1 and name not in ("index", "unread")
        }
        table = folder / "saliency.csv"
        return [
            draw.save_png(sheet, folder / "saliency.png"),
            write_per_photo(table, source, found["index"], columns),
        ]

    details = {"split": source.name, "photos": len(found["index"])}
    notes = left_out(source, found, "saliency")
    return Outcome(summarise(found), details, write, notes)


def summarise(found):
    """The numbers of `evaluate_saliency` from those of single photos.

    Args:
        found: {"f" (P, thresholds), "iou" (P,), "accuracy" (P,)}, shares of 1, and
            the same with "_bilateral" at the end or not.
    """
    numbers = {}
    for end in ("", "_bilateral"):
        if f"f{end}" in found:
            means = {
                "max_f": max_f_beta(found[f"f{end}"]),
                "iou": found[f"iou{end}"].mean(),
                "accuracy": found[f"accuracy{end}"].mean(),
            }
            numbers |= {
                f"segment/saliency_{name}{end}": 100 * float(value)
                for name, value in means.items()
            }
    return numbers


def salient_patches(block, image, tau=0.2):
    """The patches of the one object that TokenCut finds in a photo.

    Args:
        block: `LastBlock`.
        image: uint8 (H, W, 3); its sides are rounded to whole patches.
        tau: cosine above which two patches are joined.

    Returns:
        bool (h, w), over the whole photo.
    """
    patch, (height, width) = block.patch_size, image.shape[:2]
    rows, columns = (max(1, round(side / patch)) for side in (height, width))
    resized = Image.fromarray(image).resize(
        (columns * patch, rows * patch), Image.Resampling.LANCZOS
    )
    keys = block.keys(np.asarray(resized))
    return tokencut(keys, (rows, columns), patch, (height, width), tau).mask


def saliency_maps(block, image, shape, tau=0.2, bilateral=False):
    """What TokenCut finds in a photo, in the pixels of its mask.

    Args:
        block: `LastBlock`.
        image: uint8 (H, W, 3).
        shape: (H', W') of the photo's mask.
        tau: cosine above which two patches are joined.
        bilateral: whether to refine.

    Returns:
        {"": bool (H', W')}, with `bilateral` also {"_bilateral": float64 (H', W')},
        the refined mask before it is cut at 0.5.
    """
    patches = salient_patches(block, image, tau)
    maps = {"": enlarge_nearest(patches, shape)}
    if bilateral:
        soft, _ = refine_mask(image, enlarge_nearest(patches, image.shape[:2]))
        maps["_bilateral"] = enlarge_nearest(soft, shape)
    return maps


def agreement(prediction, truth):
    """Numbers of one photo.

    Args:
        prediction: (H, W), object above 0.5; its values matter to F alone.
        truth: integers (H, W): 0 background, 255 void, else object.

    Returns:
        {"f": float64 (255,) at each threshold, "iou": float, "accuracy": float}.
    """
    judged = truth != VOID
    prediction, truth = prediction[judged], truth[judged] > 0
    return {
        "f": f_beta(*precision_recall(prediction, truth)),
        "iou": mask_iou(prediction, truth),
        "accuracy": pixel_accuracy(prediction, truth),
    }


def _judge(subject, block, source, tau, bilateral):
    """{"index", "f", "iou", "accuracy", ...} of all photos that show an object."""
    bar = subject.progress(len(source), f"TokenCut over {source.name}")
    found, unread = {}, []
    for index in range(len(source)):
        bar.add(1)
        truth = objects_of(source, index, "class")
        if truth is None:
            continue
        image = read_photo(source, index)
        if image is None:
            unread.append(index)
            continue
        check_shapes(image, truth, source.id(index))
        maps = saliency_maps(block, image, truth.shape, tau, bilateral)
        numbers = {"index": index}
        for end, prediction in maps.items():
            own = agreement(prediction, truth)
            numbers |= {f"{name}{end}": value for name, value in own.items()}
        for name, value in numbers.items():
            found.setdefault(name, []).append(value)
    if not found:
        raise UserError(
            f"no photo of {source.name!r} shows an object; allowed: masks with objects"
        )
    found = {name: np.array(values) for name, values in found.items()}
    return {**found, "unread": np.array(unread, np.int64)}


def _tiles(block, source, index, tau, bilateral):
    """A row of the sheet."""
    image, truth = read_photo(source, index), objects_of(source, index, "class")
    whole = np.where(truth == VOID, truth, truth > 0)
    maps = saliency_maps(block, image, truth.shape, tau, bilateral)
    names = {"": "TokenCut", "_bilateral": "refined"}
    captions = {
        f"{names[end]}: IoU {100 * agreement(found, truth)['iou']:.1f}": found > 0.5
        for end, found in maps.items()
    }
    masks = {caption: found[None] for caption, found in captions.items()}
    return object_tiles(image, whole, (source.id(index), "mask"), masks)
