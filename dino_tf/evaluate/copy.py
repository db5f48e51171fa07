"""Copy detection: is the original of a copy found? Copydays."""

from functools import partial

import numpy as np
from PIL import Image

from dino_tf.analysis.ranked import trapezoid_precision
from dino_tf.analysis.whitening import Moments
from dino_tf.datasets.copydays import ORIGINAL
from dino_tf.errors import UserError
from dino_tf.evaluate.ranking import Gallery, open_others, read_again
from dino_tf.evaluate.subject import Outcome
from dino_tf.evaluate.whole_photos import WholePhotos, unread_notes
from dino_tf.transforms.image import try_decode
from dino_tf.visualize.draw import save_png
from dino_tf.visualize.ranked import Found, Search, ranked_sheet

# Originals that come later in the list count as not found.
DEPTH = 20
GEM_EXPONENT, GEM_LEAST = 4, 1e-6
PUBLISHED_SIZE, PUBLISHED_FOR = 320, 224
PICTURE_ORIGINALS, PICTURE_COPIES = 8, 9
VERSION = 1  # to be raised when the same photos give other features than before


def lacks(subject, data):
    """What copy detection needs and does not find, in words; None is nothing."""
    if not getattr(data.train, "attacks", None):
        return "copies of photos: copydays:ROOT, or the generated copies"
    if _has_tokens(subject.backbone):
        return None
    return "a network with CLS and patch tokens, such as vit_small"


def run_task(subject, data, size=None, whiten=None, distractors=None):
    """Ranks the originals for each copy: see `dino_tf.tasks.Task`.

    Photos are squeezed into a square. A photo is described by CLS of the last block
    beside the generalised mean of its patch tokens, compared by their cosine, whitened
    where photos to learn it from are given. Originals that cannot be read are found by
    no copy; copies that cannot be read, or that have no original, are left out.

    Returns:
        `Outcome` of percentages `copy/map_ATTACK`, such as `copy/map_strong` and
        `copy/map_jpegqual_3`: mean average precision among the first 20 photos.
        `copy/map_original` searches for the originals themselves. The details hold
        the place of the original of every copy.

    Reference:
        facebookresearch/dino, eval_copy_detection.py.
    """
    source, size = data.train, _side(subject, size)
    photos, notes = _photos(subject, size), []
    change = None if whiten is None else _whitening(photos, whiten, notes)
    blocks = {**source.attacks, ORIGINAL: tuple((i, (i,)) for i in source.originals)}
    places = [place for block in blocks.values() for place, _ in block]
    features, index = photos.of(source, places, f"copies of {source.name}")
    rows = {place: row for row, place in enumerate(index.tolist())}
    asked = {
        name: [(place, found) for place, found in block if found and place in rows]
        for name, block in blocks.items()
    }
    queries = [query for block in asked.values() for query in block]
    if not queries:
        raise UserError(f"no copy in {source.name!r} can be read and has an original")
    others = open_others(distractors)
    gallery = Gallery(photos, source, len(source.originals), others, change)
    judged = [np.unique(found) for _, found in queries]
    ahead, _ = gallery.search(features[[rows[p] for p, _ in queries]], judged, keep=1)
    places = {p: ranks for (p, _), ranks in zip(queries, ahead, strict=True)}
    scores = {
        name: [_score(places[place], found) for place, found in block]
        for name, block in asked.items()
    }
    numbers = {
        f"copy/map_{name.replace('/', '_')}": 100 * float(np.mean(found))
        for name, found in scores.items()
        if found
    }
    notes += [*unread_notes(photos), *_notes(blocks, features)]
    details = {
        "size": size,
        "originals": len(source.originals),
        "distractors": len(others or ()),
        "places": {
            name: {source.id(place): _place(places[place]) for place, _ in block}
            for name, block in asked.items()
        },
    }
    write = partial(_write, source, asked, places)
    return Outcome(numbers, details, write, notes)


def gem(tokens):
    """Generalised mean of patch tokens, exponent 4.

    Args:
        tokens: float32 (B, N, D); what is below 1e-6 counts as that.

    Returns:
        float32 (B, D).

    Reference:
        facebookresearch/dino, eval_copy_detection.py; Radenović et al. 2018, arXiv
        1711.02512, section 3.2.
    """
    powers = np.maximum(tokens, np.float32(GEM_LEAST)) ** GEM_EXPONENT
    return powers.mean(axis=1) ** (1 / GEM_EXPONENT)


def _has_tokens(backbone):
    prefix = getattr(backbone, "num_prefix_tokens", 0)
    return bool(prefix) and "tokens" in getattr(backbone, "result_names", ())


def _side(subject, size):
    """Side in pixels, as published for networks of 224 pixels."""
    if size is None:
        patch = subject.backbone.patch_size
        size = PUBLISHED_SIZE * subject.size / PUBLISHED_FOR
        size = max(round(size / patch), 1) * patch
    return subject.side(size)


def _photos(subject, size):
    """`WholePhotos` in squares, described by CLS beside the pooled patches."""

    def prepare(image, source, place):
        square = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
        return np.asarray(square)

    def describe(found):
        return np.concatenate([found["cls"], gem(found["tokens"])], axis=1)

    depends = {"task": "copy", "size": size, "version": VERSION}
    return WholePhotos(subject, ("cls", "tokens"), prepare, describe, depends)


def _whitening(photos, spec, notes):
    """`Whitening` of the photos of a SPEC."""
    source, moments = open_others(spec), None
    label = f"photos to whiten by, of {source.name}"
    for features, index in photos.chunks(source, np.arange(len(source)), label):
        if len(index):
            moments = moments or Moments(features.shape[1])
            moments.add(features)
    if moments is None:
        raise UserError(f"--whiten: no photo of {source.name!r} can be read")
    width = features.shape[1]
    if moments.count < width:
        notes.append(
            f"whitened by {moments.count} photos, fewer than the {width} numbers of a "
            "feature: directions that they do not tell apart have one strength"
        )
    return moments.whitening()


def _score(ranks, originals):
    """Average precision in 0 to 1 of a copy by the photos before its originals."""
    return trapezoid_precision(ranks[ranks < DEPTH], len(originals))


def _place(ranks):
    """Place of the first original from 1; None where it cannot be read."""
    best = ranks.min()
    return int(best) + 1 if np.isfinite(best) else None


def _notes(blocks, features):
    notes = []
    for name, block in blocks.items():
        lost = sum(not found for _, found in block)
        if lost:
            notes.append(
                f"{name}: {lost} of {len(block)} copies have no original and are left "
                "out"
            )
    if len(features) > 1 and np.ptp(features, axis=0).max() == 0:
        notes.append("all copies have the same features")
    return notes


def _write(source, asked, places, folder):
    """The picture of the originals that are found worst, beside their copies."""
    copies = {}
    for name, block in asked.items():
        for place, found in block if name != ORIGINAL else ():
            best = places[place].min()
            copies.setdefault(found[0], []).append((best, name, place))
    worst = sorted(copies, key=lambda original: -_mean_place(copies[original]))
    searches = []
    for original in worst[:PICTURE_ORIGINALS]:
        found = []
        for best, name, place in sorted(copies[original], reverse=True)[
            :PICTURE_COPIES
        ]:
            rank = f"place {best + 1:.0f}" if np.isfinite(best) else "not found"
            photo = read_again(source, place)
            found.append(Found(photo, bool(best == 0), f"{name}: {rank}"))
        photo = _or_paper(source, original)
        searches.append(Search(photo, source.id(original), None, tuple(found)))
    if not searches:
        return []
    title = (
        f"The {len(searches)} originals found worst (left), and copies with the place "
        "at which each finds its original"
    )
    return [save_png(ranked_sheet(searches, title), folder / "copies.png")]


def _mean_place(copies):
    """Of the original among the first photos that count, for one original's copies."""
    return np.mean([min(best, DEPTH) for best, _, _ in copies])


def _or_paper(source, place):
    """A photo, or a grey one in the place of one that cannot be read."""
    image, _ = try_decode(lambda: source.image_bytes(place))
    return np.full((64, 64, 3), 200, np.uint8) if image is None else image
