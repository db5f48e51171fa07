"""Several splits of a data set as one source."""

import numpy as np

from dino_tf.datasets.source import Source, digest
from dino_tf.errors import UserError


class Joined(Source):
    """Several splits one after the other.

    Args:
        splits: {name: `Source`}.

    Attributes:
        single: Whether no photo has more than one class.

    Raises:
        UserError: Their classes are not the same.
    """

    def __init__(self, splits):
        self.splits = splits
        first, *others = splits.values()
        self.name, self.class_names = first.name, tuple(first.class_names)
        if any(tuple(o.class_names) != self.class_names for o in others):
            raise UserError(
                "--split: got all, allowed here: one at a time, as their classes differ"
            )
        lengths = [len(source) for source in splits.values()]
        self._ends = np.cumsum(lengths)
        self.single = all(len(self.labels(i)) < 2 for i in range(len(self)))

    def __len__(self):
        return int(self._ends[-1])

    def _at(self, index):
        """(split, its source, place in it)."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        split, source = list(self.splits.items())[number]
        return split, source, index - int(self._ends[number]) + len(source)

    def id(self, index):
        # The same name may come in two splits.
        split, source, place = self._at(index)
        return (
            source.id(place) if len(self.splits) == 1 else f"{split}/{source.id(place)}"
        )

    def image_bytes(self, index):
        _, source, place = self._at(index)
        return source.image_bytes(place)

    def labels(self, index):
        _, source, place = self._at(index)
        return tuple(source.labels(place))

    def stamp(self):
        # Labels, too: they are looked up as late as the features are written.
        labels = digest(self.labels(i) for i in range(len(self)))
        parts = [(name, source.stamp()) for name, source in self.splits.items()]
        return digest([*parts, self.class_names, labels])

    def about(self, index):
        """(split, name in it, classes) of a photo."""
        split, source, place = self._at(index)
        return split, source.id(place), tuple(source.labels(place))
