"""Labelled photos and their features, as the linear protocols take them."""

import dataclasses

import numpy as np

from dino_tf.errors import UserError
from dino_tf.evaluate.features import summaries_of
from dino_tf.evaluate.labelled import Labelled
from dino_tf.models.xcit import XCiT

# From this width on the published protocol takes other features.
BASE_WIDTH = 768
RULES = {
    "small": ("blocks",),
    "base": ("cls", "mean_patch"),
    "cls": ("cls",),
}


def feature_rule(backbone, wanted="auto"):
    """Which features of a network the linear classifier sees.

    Args:
        backbone: Any backbone.
        wanted: "small": CLS of the last four blocks; "base": CLS and the mean patch
            token of the last block; "cls": what the network gives. "auto" takes the
            published choice: "base" for ViTs of width 768 and more, "small" for
            smaller ones, "cls" for XCiT and networks without CLS in their blocks.

    Returns:
        "small", "base" or "cls".

    Raises:
        UserError: The name is unknown or the network has no such features.

    Reference:
        facebookresearch/dino, eval_linear.py, `--n_last_blocks` and
        `--avgpool_patchtokens`; README, "Evaluation: Linear classification".
    """
    there = summaries_of(backbone)
    allowed = [rule for rule, names in RULES.items() if set(names) <= set(there)]
    if wanted == "auto":
        if "small" not in allowed or isinstance(backbone, XCiT):
            return "cls"
        return "base" if backbone.embed_dim >= BASE_WIDTH else "small"
    if wanted not in allowed:
        raise UserError(
            f"features {wanted!r} of {getattr(backbone, 'name', 'this network')}; "
            f"allowed: auto, {', '.join(allowed)}"
        )
    return wanted


def join_features(found, rule):
    """One row for each photo.

    Args:
        found: {name: (N, ...)} of the rule's names; see `summaries_of`.
        rule: From `feature_rule`.

    Returns:
        (N, D), the parts of the rule one behind the other.
    """
    parts = [found[name] for name in RULES[rule]]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


class LinearPhotos(Labelled):
    """Labelled photos that a linear classifier is fitted on, or judged by."""

    def strict_targets(self, places):
        """int64 (N, C): 1 shows, 0 does not, -1 shows the class only as difficult.

        Classes of which all boxes of a photo are difficult count for neither side.
        """
        targets = self.targets(places).astype(np.int64)
        for row, place in zip(targets, places, strict=True):
            boxes = self.source.boxes(int(place))
            for label in self.labels[int(place)] if boxes is not None else ():
                those = boxes.classes == label
                if those.any() and boxes.difficult[those].all():
                    row[label] = -1
        return targets

    def features(self, subject, size, rule, places=None):
        """Features of central squares, and which photos they are of.

        Args:
            subject: `Subject`.
            size: Side of the square in pixels.
            rule: From `feature_rule`.
            places: Which photos; None takes all.

        Returns:
            float32 (N, D) and int64 (N,), the places of the readable photos.
        """
        found = subject.summaries(self.source, size, RULES[rule], places)
        return join_features(found, rule), found["index"]


@dataclasses.dataclass(frozen=True)
class Problem:
    """What every protocol is given.

    Attributes:
        subject: `Subject`.
        train: `LinearPhotos` photos that teach.
        test: `LinearPhotos` photos that are judged.
        size: Side of the square that the network sees, in pixels.
        rule: From `feature_rule`.
        seed: Of everything drawn.
    """

    subject: object
    train: LinearPhotos
    test: LinearPhotos
    size: int
    rule: str
    seed: int

    @property
    def single(self):
        """Whether every photo has exactly one label."""
        return self.train.single and self.test.single

    @property
    def names(self):
        """Of the classes."""
        return self.train.source.class_names

    def features(self, photos, places=None):
        """`LinearPhotos.features` of photos that teach or are judged."""
        return photos.features(self.subject, self.size, self.rule, places)

    def targets(self, photos, places):
        """int64 (N,), or float32 (N, C) where a photo may have several classes."""
        if self.single:
            return np.array([photos.labels[i][0] for i in places], np.int64)
        return photos.targets(places)

    def unread(self, train_count, test_count):
        """Notes on photos of which no features came."""
        counts = ((self.train, train_count), (self.test, test_count))
        missing = [(p.source, len(p.labels) - count) for p, count in counts]
        return [
            f"{source.name}: {count:,} photos that cannot be read left out"
            for source, count in missing
            if count
        ]


def labelled_pair(train_source, test_source):
    """Labelled photos to fit on and to judge, and notes about them.

    Args:
        train_source: `Source` to fit on.
        test_source: `Source` that is judged, of the same classes.

    Returns:
        (`LinearPhotos`, `LinearPhotos`, list of lines).

    Raises:
        UserError: The classes differ, a source has no labels, or all training photos
            show the same.
    """
    names = [tuple(source.class_names) for source in (train_source, test_source)]
    if names[0] != names[1]:
        raise UserError(
            f"the classes of {train_source.name!r} ({_some(names[0])}) and "
            f"{test_source.name!r} ({_some(names[1])}) differ; allowed: the same "
            "classes in the same order"
        )
    notes = []
    train, test = (LinearPhotos.of(s, notes) for s in (train_source, test_source))
    known = {label for labels in train.labels for label in labels}
    if len(set(train.labels)) == 1:
        raise UserError(
            f"every photo of {train.source.name!r} shows the same, "
            f"{_some([names[0][i] for i in sorted(known)])}; allowed: photos of two or "
            "more classes"
        )
    unknown = {label for labels in test.labels for label in labels} - known
    if unknown:
        classes = _some([names[0][i] for i in sorted(unknown)])
        notes.append(f"classes that no training photo shows: {classes}")
    return train, test, notes


def _some(names):
    return ", ".join(names[:5]) + (f", ... ({len(names)})" if len(names) > 5 else "")
