"""Linear segmentation: do frozen patch tokens tell the class of what they show?

Like the linear protocol of Oquab et al. 2023 (arXiv 2304.07193, section 7.4, and
`dinov2/eval/segmentation`): the network is frozen; batch norm and a linear layer turn
the patch tokens of its last block, after the final norm, into logits; these are
enlarged bilinearly to the mask, void pixels do not count, and all classes and the
background are judged by the mean intersection over union.

Not like it: the photo is squeezed into one square, once, where the published program
slides over it at its own shape; nothing is augmented; and the layer is trained on the
shares that the classes have in every patch instead of on single pixels, so that all
tokens are computed once. Pixels are what is judged, at the mask's own size.
"""

from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from dino_tf.analysis.confusion import (
    VOID,
    class_ious,
    confusion_of,
    mean_iou,
    pixel_accuracy,
)
from dino_tf.analysis.patch_classes import check_mask, enlarge_bilinear, patch_shares
from dino_tf.analysis.softmax_regression import fit_softmax
from dino_tf.errors import UserError
from dino_tf.evaluate.masked import check_shapes
from dino_tf.evaluate.patch_tokens import MOST_BYTES, PatchTokens
from dino_tf.evaluate.splits import every_fifth, spread
from dino_tf.evaluate.subject import Outcome, Subject
from dino_tf.photo_headers import photo_header
from dino_tf.transforms.image import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    try_decode,
)
from dino_tf.visualize.class_masks import Masked, mask_sheet
from dino_tf.visualize.draw import save_png

# Masks are rare in some data sets: 632 of the 9,963 photos of VOC 2007 have one.
LOOKED_AT = 500
PICTURES = 6


def evaluate_linear_segmentation(
    backbone,
    train_source,
    test_source,
    size=224,
    epochs=10,
    batch_size=64,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
):
    """Segments test photos by a linear map of frozen patch tokens.

    Args:
        backbone: has `extract(images, ["tokens"])`, `grid_of`, `num_prefix_tokens`.
        train_source: photos with class masks, on which the layer is trained.
        test_source: photos with class masks that are judged, of the same classes.
        size: side of the square that every photo is squeezed into, in pixels.
        epochs: passes of the layer's training over all patches.
        batch_size: photos in one forward pass.
        mean: of red, green, blue in 0 to 1, as in training.
        std: of red, green, blue in 0 to 1, as in training.

    Returns:
        Percentages: `segment/linear_miou`, over the classes (with the background)
        that the judged photos show, and `segment/linear_pixel_accuracy`. Photos
        without a mask, and those that cannot be read, are left out.

    Raises:
        UserError: a source has no masks, the classes differ, a mask has a class that
            does not exist, is void everywhere or has another shape than its photo, a
            token is not finite, or `size` and `epochs` do not fit.
    """
    subject = Subject(backbone, mean, std, batch_size=batch_size)
    return _judge(subject, train_source, test_source, size, epochs).numbers


def lacks(subject, data):
    """What is needed and not found, in words; None is nothing."""
    if "tokens" not in getattr(subject.backbone, "result_names", ()):
        return "a network with patch tokens"
    if not data.train.class_names or not all(map(has_masks, _split(data)[:2])):
        return "photos with class masks, to learn from and to judge"
    return None


def run_task(subject, data, size=224, epochs=10):
    """`evaluate_linear_segmentation` as a task: see `dino_tf.tasks.Task`.

    Without a test split with masks of the same classes, every fifth photo is judged.
    """
    train, test, notes = _split(data)
    outcome = _judge(subject, train, test, size, epochs)
    outcome.notes[:0] = notes
    return outcome


def _split(data):
    """(photos that teach, photos that are judged, notes)."""
    train, test = data.train, data.test
    if test is not None and test.class_names == train.class_names and has_masks(test):
        return train, test, []
    note = (
        "no test split with masks of these classes: every fifth photo of the training "
        "split is judged, the others train"
    )
    return *every_fifth(train), [note]


def has_masks(source):
    """Whether any of some hundred photos has a class mask."""
    places = spread(len(source), LOOKED_AT).tolist()
    return any(source.mask(i) is not None for i in places)


def _judge(subject, train, test, size, epochs):
    if tuple(train.class_names) != tuple(test.class_names):
        raise UserError(
            f"received the classes of {train.name!r} and of {test.name!r}; allowed: "
            "two sources of the same classes"
        )
    if epochs < 1:
        raise UserError(f"epochs: got {epochs}, allowed: from 1")
    names, notes = ("background", *train.class_names), []
    places = [_masked(source, notes) for source in (train, test)]
    tokens = [
        PatchTokens(subject, source, some, size)
        for source, some in zip((train, test), places, strict=True)
    ]
    linear, taught = _fit(tokens[0], len(names), epochs, notes)
    confusion, shown = _confusion(tokens[1], linear, len(names), notes)
    ious = class_ious(confusion)
    unseen = [names[c] for c in np.flatnonzero(~np.isnan(ious) & ~taught)]
    if unseen:
        notes.append(f"no training photo shows {', '.join(unseen)}: IoU 0 counts")
    numbers = {
        "segment/linear_miou": mean_iou(confusion),
        "segment/linear_pixel_accuracy": pixel_accuracy(confusion),
    }
    details = {
        "per_class_iou": {
            names[c]: float(ious[c]) for c in np.flatnonzero(~np.isnan(ious))
        },
        "training_photos": len(places[0]),
        "test_photos": len(places[1]),
        "patches": list(tokens[0].grid),
    }
    return Outcome(numbers, details, partial(_write, test, names, shown), notes)


def _masked(source, notes):
    """Places of the photos that have a mask."""
    places = [i for i in range(len(source)) if source.mask(i) is not None]
    if not places:
        raise UserError(f"{source.name!r} has no class masks; they are needed here")
    if len(places) < len(source):
        notes.append(
            f"{len(source) - len(places)} photos of {source.name} without a mask are "
            "left out"
        )
    return np.array(places, np.int64)


def _mask(source, place, classes):
    place = int(place)
    try:
        mask = check_mask(source.mask(place), classes)
    except UserError as error:
        raise UserError(f"photo {source.id(place)!r}: {error}") from error
    # No pixel is decoded here: the tokens may have come from the store.
    header = photo_header(source.image_bytes(place))
    pixels = np.broadcast_to(0, (header.height, header.width))
    check_shapes(pixels, mask, source.id(place))
    return mask


def _fit(tokens, classes, epochs, notes):
    """(linear map, which classes the training photos show)."""
    source, count = tokens.source, tokens.grid[0] * tokens.grid[1]
    rng, features, shares, photos = np.random.default_rng(0), [], [], 0
    numbers = tokens.subject.backbone.embed_dim + classes
    keep = MOST_BYTES // (2 * len(tokens.places) * numbers)
    keep = min(count, max(1, keep))
    for index, some in tokens.batches():
        for place, found in zip(index, some, strict=True):
            mask = _mask(source, place, classes)
            share = patch_shares(mask, tokens.grid, classes).reshape(count, classes)
            rows = np.flatnonzero(share.any(axis=1))
            if len(rows) > keep:
                rows = np.sort(rng.choice(rows, keep, replace=False))
            features.append(found[rows])
            shares.append(share[rows].astype(np.float16))
            photos += 1
    if keep < count:
        notes.append(f"trained on {keep} of {count} patches of every photo, by lot")
    _note_unreadable(source, len(tokens.places) - photos, notes)
    features, shares = np.concatenate(features), np.concatenate(shares)
    if not len(shares):
        raise UserError(f"all masks of {source.name!r} are void; nothing to learn")
    bar = tokens.subject.progress(epochs * len(shares), "linear layer, patches:")
    # Thousands of small products: on a busy machine threads would wait for each other.
    with threadpool_limits(1, "blas"):
        linear = fit_softmax(features, shares, epochs, advance=bar.add)
    return linear, shares.any(axis=0)


def _confusion(tokens, linear, classes, notes):
    """(confusion of all judged photos, {place: predicted classes} of a few)."""
    source, confusion = tokens.source, np.zeros((classes, classes), np.int64)
    wanted = tokens.places[spread(len(tokens.places), PICTURES)]
    shown, photos = {}, 0
    for index, some in tokens.batches():
        logits = linear(some).reshape(len(some), *tokens.grid, classes)
        for place, one in zip(index, logits, strict=True):
            truth = _mask(source, place, classes)
            predicted = enlarge_bilinear(one, truth.shape).argmax(axis=2)
            confusion += confusion_of(predicted, truth, classes)
            if place in wanted:
                shown[int(place)] = predicted.astype(np.uint8)
            photos += 1
    _note_unreadable(source, len(tokens.places) - photos, notes)
    return confusion, shown


def _note_unreadable(source, count, notes):
    if count:
        notes.append(f"{count} photos of {source.name} cannot be read")


def _write(source, names, shown, folder):
    """The picture of some photos, their masks and what was predicted."""
    rows = []
    for place, predicted in shown.items():
        truth = source.mask(place)
        hits = truth[truth != VOID] == predicted[truth != VOID]
        share = f"{100 * hits.mean():.0f} % right" if hits.size else "all is void"
        image, _ = try_decode(partial(source.image_bytes, place))
        text = source.id(place)
        rows.append(Masked(image, truth, predicted, text, f"predicted, {share}"))
    title = "Linear segmentation of frozen patch tokens"
    return [save_png(mask_sheet(rows, names, title), folder / "segments.png")]
