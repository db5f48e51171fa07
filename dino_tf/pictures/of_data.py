"""Pictures of a data set as a network sees it: neighbours, and all of it as a map."""

import numpy as np

from dino_tf.analysis.embedding import embed_2d
from dino_tf.analysis.neighbours import nearest
from dino_tf.errors import UserError
from dino_tf.evaluate.features import normalize
from dino_tf.evaluate.splits import spread
from dino_tf.evaluate.store import Store
from dino_tf.evaluate.subject import Subject
from dino_tf.pictures.request import find_photos, read_photo
from dino_tf.progress import PhotoLine
from dino_tf.visualize import draw
from dino_tf.visualize.neighbours import Case, Neighbour, neighbour_sheet
from dino_tf.visualize.plane import plane_plot

METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


def neighbours(request, paths, data, split, cache, size, count, k):
    """Writes `neighbours.png`: photos beside the nearest ones of a data set."""
    gallery = find_photos((), data, split)
    if k < 1 or count < 1:
        raise UserError(f"--k, --count: got {k}, {count}, allowed: 1 or more")
    features, places = _features(request, gallery, size, cache)
    if paths:
        asked = find_photos(paths)
        own, rows = _features(request, asked, size, None)
        near = nearest(features, own, min(k, len(features)))
    else:
        asked, chosen = gallery, spread(len(places), count)
        rows = places[chosen]
        near = without_itself(features, chosen, k)
    cases = []
    for row, similarities, indices in zip(rows, *near, strict=True):
        found = zip(similarities, places[indices], strict=True)
        beside = tuple(Neighbour(*_shown(gallery, p), float(s)) for s, p in found)
        photo, classes = _shown(asked, row)
        name = asked.id(int(row)).rpartition("/")[2]
        cases.append(Case(photo, classes, None, beside, name))
    title = f"Photos (left) and those of {gallery.name} nearest to them"
    title += f" for {request.network}"
    if any(case.classes for case in cases) and gallery.class_names:
        title += "; green frames: of its class"
    sheet = neighbour_sheet(cases, title)
    path = draw.save_png(sheet, request.out / "neighbours.png")
    request.say(str(path))
    return [path]


def without_itself(features, chosen, k):
    """`nearest` for some of the features among all others.

    Args:
        features: (N, D), L2-normalised.
        chosen: int (T,), places of those that are asked for.
        k: neighbours; fewer where there are not as many others.

    Returns:
        As `nearest`: similarities and indices (T, k).

    Raises:
        UserError: There is no other.
    """
    if len(features) < 2:
        raise UserError("1 photo has no neighbours; allowed: 2 or more")
    k = min(k, len(features) - 1)
    similarities, indices = nearest(features, features[chosen], k + 1)
    other = indices != np.asarray(chosen)[:, None]
    # Among many equal photos one may itself not be found: then the last one goes.
    other[other.all(axis=1), -1] = False
    shape = (len(indices), k)
    return similarities[other].reshape(shape), indices[other].reshape(shape)


def _shown(source, place):
    """Photo and names of its classes."""
    names = tuple(source.class_names[c] for c in source.labels(int(place)))
    return read_photo(source, place), names


def plane(request, data, split, cache, size, method, thumbnails, count, seed):
    """Writes `map.png`: photos as points of a plane, classes in colour."""
    source = find_photos((), data, split, count)
    features, places = _features(request, source, size, cache)
    points = embed_2d(features, method, seed)
    classes = [single_class(source, place) for place in places.tolist()]
    known = classes if any(classes) else None
    photos = _Lazy(source, places) if thumbnails else None
    title = f"{METHODS[method]} of the features of {request.network}"
    note = f"{len(places)} photos of {source.name}; near is alike"
    picture = plane_plot(points, known, photos, title, note)
    path = draw.save_png(picture, request.out / "map.png")
    request.say(str(path))
    return [path]


def single_class(source, place):
    """Name of a photo's class; None for a photo without one, or with several."""
    labels = source.labels(place)
    return source.class_names[labels[0]] if len(labels) == 1 else None


class _Lazy:
    """Photos that are read when one is asked for."""

    def __init__(self, source, places):
        self.source, self.places = source, places

    def __len__(self):
        return len(self.places)

    def __getitem__(self, number):
        return read_photo(self.source, self.places[number])


def _features(request, source, size, cache):
    """L2-normalised features (N, D) of the readable photos, and their places."""
    store = Store(None if cache in (None, "none") else cache)
    subject = Subject(
        request.backbone,
        request.mean,
        request.std,
        request.square(size),
        store,
        PhotoLine,
    )
    found = subject.summaries(source, None)
    lost = len(source) - len(found["index"])
    if lost:
        request.say(f"{lost} photos of {source.name} cannot be read: passed over")
    return normalize(found["cls"]), found["index"]
