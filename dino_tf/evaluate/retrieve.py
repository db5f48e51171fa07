"""Retrieval: are photos of the same thing nearest? Revisited Oxford and Paris."""

import operator
from functools import partial

import numpy as np
from PIL import Image

from dino_tf.analysis.ranked import precision_within, trapezoid_precision, without
from dino_tf.errors import UserError, plain
from dino_tf.evaluate.ranking import Gallery, open_others, read_again
from dino_tf.evaluate.subject import Outcome
from dino_tf.evaluate.whole_photos import WholePhotos, least_side, unread_notes
from dino_tf.visualize.draw import save_png
from dino_tf.visualize.ranked import Found, Search, clipped_box, ranked_sheet

# What is looked for, and what is taken out of the lists, at each level.
LEVELS = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}
FIRST = (1, 5, 10)
SCALES = (1.0, 0.5**0.5, 0.5)
PICTURE_QUERIES, PICTURE_PHOTOS = 8, 10
VERSION = 1  # to be raised when the same photos give other features than before


def lacks(subject, data):
    """What retrieval needs and does not find in the data, in words; None is nothing."""
    if getattr(data.train, "queries", None):
        return None
    return "queries and what answers them: revisited:ROOT, or the generated instances"


def run_task(
    subject, data, size=None, multiscale=False, queries="whole", distractors=None
):
    """Ranks a gallery for each query: see `dino_tf.tasks.Task`.

    Photos keep their shape; the longer side is made `size` pixels, never longer. The
    features are those that `backbone(images)` gives, compared by their cosine. A photo
    of the gallery that cannot be read is found by no query; queries that cannot be read
    are left out.

    Returns:
        `Outcome` of percentages `retrieve/map_LEVEL` and `retrieve/mp1_LEVEL`,
        `mp5`, `mp10` for the levels easy, medium and hard: means over the queries that
        have an answer at that level. Levels at which none has are left out. The
        details hold the average precision of every query.

    Reference:
        facebookresearch/dino, eval_image_retrieval.py; Radenović et al. 2018, arXiv
        1803.11285, section 4 (the levels).
    """
    source = data.train
    size = subject.size if size is None else size
    if size < subject.backbone.patch_size:
        least = subject.backbone.patch_size
        raise UserError(f"--size: got {size}; allowed: a patch ({least}) or more")
    photos = _photos(subject, source, size, multiscale, queries)
    places = [query.photo for query in source.queries]
    features, index = photos.of(source, places, f"queries of {source.name}")
    if not len(index):
        raise UserError(f"no query of {source.name!r} can be read")
    asked = [query for query in source.queries if query.photo in set(index.tolist())]
    gallery = Gallery(photos, source, source.gallery, open_others(distractors))
    judged = [np.unique(np.concatenate([q.easy, q.hard, q.junk])) for q in asked]
    ahead, first = gallery.search(features, judged, PICTURE_PHOTOS)
    scores = [_scores(*each) for each in zip(asked, judged, ahead, strict=True)]
    numbers = _means(scores)
    if not numbers:
        raise UserError(f"no query of {source.name!r} has an answer in the gallery")
    notes = [*unread_notes(photos), *_notes(source, asked, scores, features)]
    names = [source.id(query.photo) for query in asked]
    details = {
        "size": size,
        "gallery": source.gallery,
        "distractors": len(gallery.distractors or ()),
        "queries": dict(zip(names, scores, strict=True)),
    }
    write = partial(_write, gallery, asked, scores, first)
    return Outcome(numbers, details, write, notes)


def thumbnail(image, size, least=1):
    """A photo made smaller as the published program does.

    Args:
        image: uint8 (H, W, 3).
        size: longest side in pixels that it may have.
        least: shortest side in pixels that it must have; only then its shape changes.

    Returns:
        uint8 (h, w, 3).

    Reference:
        facebookresearch/dino, eval_image_retrieval.py: Pillow's `thumbnail` with the
        filter "lanczos".
    """
    photo = Image.fromarray(image)
    photo.thumbnail((size, size), Image.Resampling.LANCZOS)
    if min(photo.size) < least:
        sides = tuple(max(side, least) for side in photo.size)
        photo = photo.resize(sides, Image.Resampling.LANCZOS)
    return np.asarray(photo)


def _photos(subject, source, size, multiscale, queries):
    scales = SCALES if multiscale else (1.0,)
    least = least_side(subject.backbone, scales)
    boxes = {}
    if queries == "box":
        boxes = {query.photo: query.box for query in source.queries}

    def prepare(image, of, place):
        if of is source and boxes.get(place) is not None:
            image = _cut(image, boxes[place], source.id(place))
        return thumbnail(image, size, least)

    depends = {"task": "retrieve", "size": size, "version": VERSION}
    depends["boxes"] = sorted(boxes.items())
    describe = operator.itemgetter("cls")
    return WholePhotos(subject, ("cls",), prepare, describe, depends, scales)


def _cut(image, box, name):
    """What a box holds of a photo, as Pillow rounds boxes, without what is outside."""
    left, top, right, bottom = clipped_box(box, image.shape)
    if right <= left or bottom <= top:
        height, width = image.shape[:2]
        raise UserError(
            f"query {plain(name)}: its box {box} holds nothing of the photo of {width} "
            f"x {height} pixels; allowed: left < right and top < bottom, or --queries "
            "whole"
        )
    return np.ascontiguousarray(image[top:bottom, left:right])


def _scores(query, judged, ahead):
    """{level: {"ap", "p1", ...}} of the levels at which a query has an answer."""
    scores = {}
    for level, (wanted, ignored) in LEVELS.items():
        wanted, ignored = (
            np.concatenate([getattr(query, name) for name in names])
            for names in (wanted, ignored)
        )
        if not len(wanted):
            continue
        ranks = without(judged, ahead, np.unique(wanted), np.unique(ignored))
        found = ranks[np.isfinite(ranks)]
        scores[level] = {"ap": 100 * trapezoid_precision(found, len(wanted))}
        for k in FIRST:
            scores[level][f"p{k}"] = 100 * precision_within(ranks, k)
    return scores


def _means(scores):
    numbers = {}
    for level in LEVELS:
        known = [one[level] for one in scores if level in one]
        for key in known[0] if known else ():
            mean = float(np.mean([one[key] for one in known]))
            numbers[f"retrieve/m{key}_{level}"] = mean
    return numbers


def _notes(source, asked, scores, features):
    notes = []
    if len(asked) < len(source.queries):
        lost = len(source.queries) - len(asked)
        notes.append(f"{lost} of {len(source.queries)} queries are left out")
    for level in LEVELS:
        empty = sum(level not in one for one in scores)
        if empty:
            notes.append(f"{level}: {empty} queries without an answer are left out")
    if len(features) > 1 and np.ptp(features, axis=0).max() == 0:
        notes.append("all queries have the same features")
    own = {source.id(place): place for place in range(source.gallery)}
    undeclared = 0
    for query in asked:
        place = own.get(source.id(query.photo).removeprefix("query/"))
        lists = (query.easy, query.hard, query.junk)
        undeclared += place is not None and place not in np.concatenate(lists)
    if undeclared:
        notes.append(
            f"{undeclared} queries are in the gallery themselves and in none of their "
            "lists: they count as wrong answers, as the protocol has it"
        )
    return notes


def _write(gallery, asked, scores, first, folder):
    """The picture of the worst queries and the photos ranked first for them."""
    level = next(
        one for one in ("medium", "easy", "hard") if any(one in s for s in scores)
    )
    rows = [row for row, one in enumerate(scores) if level in one]
    rows.sort(key=lambda row: scores[row][level]["ap"])
    searches = []
    for row in rows[:PICTURE_QUERIES]:
        query = asked[row]
        found = []
        for similarity, place in zip(*first[row], strict=True):
            photo, _ = gallery.photo(place)
            found.append(Found(photo, _kind(query, place), f"{similarity:.3f}"))
        name = gallery.source.id(query.photo).removeprefix("query/")
        caption = f"AP {scores[row][level]['ap']:.1f}  {name}"
        photo = read_again(gallery.source, query.photo)
        searches.append(Search(photo, caption, query.box, tuple(found)))
    title = (
        f"The {len(searches)} queries with the lowest average precision ({level}) and "
        "what is ranked first: easy, hard (green), junk (grey), wrong (red)"
    )
    return [save_png(ranked_sheet(searches, title), folder / "ranked.png")]


def _kind(query, place):
    """True for an answer, False for a wrong one, None for junk."""
    if place in query.easy or place in query.hard:
        return True
    return None if place in query.junk else False
