"""A fixed few photos, measured again and again while a network learns."""

import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from dino_tf.analysis.boxes import corloc
from dino_tf.analysis.feature_rank import effective_rank, feature_std
from dino_tf.analysis.lost import lost
from dino_tf.analysis.matching import matched_views
from dino_tf.analysis.neighbours import (
    average_precisions,
    class_shares,
    finite_rows,
    knn_accuracy,
    rank_classes,
)
from dino_tf.analysis.overlap import jaccard
from dino_tf.errors import UserError
from dino_tf.evaluate.features import compiled_summarizer, normalize, passes
from dino_tf.evaluate.labelled import multi_hot
from dino_tf.evaluate.masked import kind_of_objects, objects_of, read_photo
from dino_tf.evaluate.patch_pass import WORTH_ONE_FOR_ALL, PatchPass
from dino_tf.evaluate.splits import spread
from dino_tf.transforms.image import IMAGENET_MEAN, IMAGENET_STD, pillow_center_crop
from dino_tf.transforms.image import normalize as normalize_pixels
from dino_tf.transforms.multicrop import MultiCrop

NEIGHBOURS, TEMPERATURE = 10, 0.07
AT_ONCE = 64
# Photos with boxes, and with masks, that are looked at; photos asked for them.
OBJECTS, ASKED = 16, 200
OBJECTS_AT_ONCE = 8
# Photos of which two views are drawn, and what they are drawn from beside their place.
MATCHED, SEED = 128, 20210429


class WatchedPhotos:
    """Photos spread evenly over a source, and what a network makes of them.

    They are read once and kept in 8 bits, 77 MB for 512 of 224 x 224 pixels, and 39 MB
    more for two strongly altered views of each of 128 of them.

    Args:
        source: `Source`.
        count: Photos whose features are looked at, or all.
        size: Side in pixels of the square that the network sees.
        mean: Of red, green, blue in 0 to 1, as in training.
        std: Of red, green, blue in 0 to 1, as in training.
        object_size: Side in pixels at which objects are looked for, a multiple of the
            patch; None is `size`.
    """

    def __init__(
        self,
        source,
        count,
        size,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        object_size=None,
    ):
        self.source, self.size = source, size
        self.object_size = object_size or size
        self._statistics = mean, std
        self._asked = spread(len(source), count).tolist()
        self._backbone = self._forward = self._last_block = None

    def measure(self, backbone):
        """Measures of the CLS features, from one forward pass.

        Returns:
            "feature_std" and "effective_rank" (see `analysis.feature_rank`) and, where
            photos have labels, "knn/watched_top1" in per cent, or with several labels
            a photo "knn/watched_map": each photo judged by the 10 nearest of the
            others. Both tell how a run goes, not how `evaluate knn` will judge it.

            Of two photos or more also "views/matched" in per cent, whether the network
            can do what it is trained for: how often, of two views of each of at most
            128 photos, one is the most similar to the other (see
            `analysis.matching`), and "views/chance", what guessing reaches. The views
            are drawn once, the same ones for every run and whatever it is trained
            with: by `strong_views`.

            A network without finite features has none of them.

        Raises:
            UserError: None of the photos can be read.
        """
        self._use(backbone)
        features, views = self._features(self._photos[0]), self._views_features()
        if not finite_rows(features).all() or not np.isfinite(views).all():
            return {}
        found = {
            "feature_std": feature_std(features),
            "effective_rank": effective_rank(features),
            **self._knn(features),
        }
        if len(views) > 1:
            found["views/matched"] = matched_views(views[:, 0], views[:, 1])
            found["views/chance"] = 100 / len(views)
        return found

    def objects(self, backbone):
        """Where the network sees objects, where photos have boxes or masks.

        Returns:
            "discover/corloc", of LOST, and "segment/jaccard", of the best head, in per
            cent over at most 16 photos each that are squashed to squares; quicker than
            `evaluate discover` and `evaluate segment`, and not comparable with them.
        """
        seen = set(getattr(backbone, "result_names", ()))
        if not {"keys", "attention"} <= seen or not len(self._annotated[0]):
            return {}
        self._use(backbone)
        squares, truths = self._annotated
        hits, shares = [], []
        for batch in self._batches(squares, OBJECTS_AT_ONCE):
            found = self._last_block(batch["image"])
            rows = zip(batch["index"], found["keys"], found["attention"], strict=True)
            for row, keys, maps in rows:
                hits += self._found_boxes(keys, maps, truths[row][0])
                shares += _overlaps(maps, truths[row][1])
        numbers = {}
        if hits:
            numbers["discover/corloc"] = corloc(*zip(*hits, strict=True))
        if shares:
            numbers["segment/jaccard"] = 100 * float(np.mean(shares))
        return numbers

    def _use(self, backbone):
        """Compiled passes, traced once for all epochs."""
        if self._backbone is not backbone:
            self._backbone = backbone
            self._forward = compiled_summarizer(backbone, ("cls",))
            names = set(getattr(backbone, "result_names", ())) & {"keys", "attention"}
            self._last_block = PatchPass(backbone, sorted(names)) if names else None
            if names:
                self._last_block.expect(WORTH_ONE_FOR_ALL)

    def _features(self, squares):
        """CLS (n, D) of squares (n, S, S, 3)."""
        # Photos and views come in batches of one size, for one trace.
        batches = self._batches(squares, min(AT_ONCE, len(self._photos[0])))
        found = [found["cls"] for _, found in passes(self._forward, batches)]
        return np.concatenate(found)

    def _views_features(self):
        """CLS (n, 2, D) of the two views of each of n photos; (0,) without any."""
        views = self._photos[2]
        if len(views) < 2:
            return np.empty(0, np.float32)
        features = self._features(views.reshape(-1, *views.shape[2:]))
        return features.reshape(len(views), 2, -1)

    def _batches(self, squares, at_once):
        for start in range(0, len(squares), at_once):
            part = squares[start : start + at_once]
            images = normalize_pixels(part, *self._statistics)
            yield {"image": images, "index": range(start, start + len(part))}

    @functools.cached_property
    def _photos(self):
        """uint8 (N, S, S, 3) of the readable photos, labels of each, views of some.

        The views are uint8 (n, 2, S, S, 3), n at most 128, or an empty tuple.
        """
        draw = strong_views(self.size).draw
        chosen = {self._asked[i] for i in spread(len(self._asked), MATCHED)}

        def read(place):
            image = read_photo(self.source, place)
            if image is None:
                return None
            square = pillow_center_crop(image, self.size)
            # While the whole photo is there.
            few = place in chosen
            return square, draw(image, (SEED, place))["global"] if few else None

        with ThreadPoolExecutor() as threads:
            found = list(threads.map(read, self._asked))
        kept = [i for i, pair in enumerate(found) if pair is not None]
        if not kept:
            raise UserError(
                f"none of {len(found)} photos of {self.source.name!r} can be read"
            )
        labels = [self.source.labels(self._asked[i]) for i in kept]
        squares, views = zip(*(found[i] for i in kept), strict=True)
        views = [pair for pair in views if pair is not None]
        return np.stack(squares), labels, np.stack(views) if views else ()

    def _knn(self, features):
        labels = self._photos[1]
        known = [row for row, label in enumerate(labels) if label]
        labels = [labels[row] for row in known]
        if len({c for label in labels for c in label}) < 2:
            return {}
        unit = normalize(features[known])
        similarities = unit @ unit.T
        # No photo is judged by itself.
        np.fill_diagonal(similarities, -np.inf)
        k = min(NEIGHBOURS, len(known) - 1)
        near = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        similarities = np.take_along_axis(similarities, near, axis=1)
        classes = len(self.source.class_names)
        if all(len(label) == 1 for label in labels):
            truth = np.array(labels)[:, 0]
            ranked = rank_classes(similarities, truth[near], TEMPERATURE, classes)
            return {"knn/watched_top1": knn_accuracy(ranked, truth)[0]}
        targets = multi_hot(labels, classes)
        scores = class_shares(similarities, near, targets, TEMPERATURE)
        precisions = average_precisions(scores, targets)
        return {"knn/watched_map": float(np.nanmean(precisions))}

    @functools.cached_property
    def _annotated(self):
        """uint8 (n, S, S, 3) of a few photos, and (boxes, objects) of each.

        Boxes are float64 (m, 4) in pixels of the square, objects integers (H, W);
        either may be None.
        """
        source = self.source
        places = spread(len(source), ASKED).tolist()
        boxed = [i for i in places if source.boxes(i)]
        masked = [i for i in places if source.mask(i) is not None]
        chosen = {f[i] for f in (boxed, masked) for i in spread(len(f), OBJECTS)}
        few, squares, truths = source.subset(sorted(chosen)), [], []
        kind = kind_of_objects(few)
        for place in range(len(few)):
            image = read_photo(few, place)
            if image is not None:
                side = (self.object_size, self.object_size)
                squares.append(np.asarray(Image.fromarray(image).resize(side)))
                boxes = few.boxes(place)
                stretch = np.tile(np.divide(side, image.shape[1::-1]), 2)
                boxes = boxes.xyxy * stretch if boxes else None
                truths.append((boxes, objects_of(few, place, kind)))
        return np.stack(squares) if squares else (), truths

    def _found_boxes(self, keys, maps, boxes):
        """[(box of LOST, boxes of the objects)], or nothing to judge."""
        if boxes is None or not np.isfinite(keys).all() or not keys.any():
            return []
        side, patch = self.object_size, self._backbone.patch_size
        box = lost(keys, maps.shape[1:], patch, (side, side)).box
        return [(box.astype(np.float64), boxes)]


def strong_views(size):
    """`MultiCrop` of two views that have little in common but what they show.

    Light and colours always change and half of the views are grey, or photos would be
    known by their colours alone.

    Args:
        size: Side S of the views in pixels. The blur is that of 224 pixels, scaled.
    """
    return MultiCrop(
        global_size=size,
        num_local=0,
        global_scale=(0.4, 1.0),
        flip=0.5,
        jitter=1.0,
        brightness=0.8,
        contrast=0.8,
        saturation=0.8,
        hue=0.2,
        grayscale=0.5,
        global_blur=(0.5, 0.5),
        blur_sigma=(0.1 * size / 224, 2.0 * size / 224),
        solarize=(0.0, 0.2),
    )


def _overlaps(maps, objects):
    """[share of the best head, mean over the objects], or nothing to judge."""
    if objects is None or not np.isfinite(maps).all():
        return []
    found = jaccard(maps, objects)
    return [found.max(axis=1).mean()] if len(found) else []
