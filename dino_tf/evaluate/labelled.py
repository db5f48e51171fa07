"""The photos of a source that have labels."""

import dataclasses

import numpy as np

from dino_tf.errors import UserError


@dataclasses.dataclass
class Labelled:
    """Labelled photos of a source.

    Attributes:
        source: `Source` of those that have a label.
        labels: Of each, the tuple of its classes.
    """

    source: object
    labels: list

    @classmethod
    def of(cls, source, notes):
        """Those of a source that have a label; a line in `notes` counts the others.

        Raises:
            UserError: None has.
        """
        labels = [source.labels(i) for i in range(len(source))]
        kept = [i for i, label in enumerate(labels) if label]
        if not kept:
            raise UserError(
                f"{source.name!r} has no labels; allowed: photos with labels"
            )
        if len(kept) < len(source):
            without = len(source) - len(kept)
            notes.append(f"{source.name}: {without:,} photos without a label left out")
            source = source.subset(kept)
        return cls(source, [labels[i] for i in kept])

    @property
    def single(self):
        """Whether every photo has exactly one label."""
        return all(len(label) == 1 for label in self.labels)

    @property
    def classes(self):
        """Number of classes, those without a photo included."""
        return len(self.source.class_names)

    def targets(self, places=None):
        """float32 (N, C): one where a photo has a class, for all photos or some."""
        labels = self.labels if places is None else [self.labels[i] for i in places]
        return multi_hot(labels, self.classes)


def multi_hot(labels, classes):
    """float32 (N, classes): one where a photo has a label."""
    targets = np.zeros((len(labels), classes), np.float32)
    for row, label in zip(targets, labels, strict=True):
        row[list(label)] = 1
    return targets
